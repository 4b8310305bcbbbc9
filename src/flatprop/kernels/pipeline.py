"""Numba's compiler, without the work that finds nothing to improve in this package's kernels.

The first call compiles the whole training loop. Nearly half of its time would go there.
"""

from functools import partial
from typing import Any

from numba.core import ir
from numba.core.bytecode import ByteCode, FunctionIdentity
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.interpreter import Interpreter
from numba.core.ir_utils import guard, simplify_CFG
from numba.core.transforms import canonicalize_cfg
from numba.core.typed_passes import IRLegalization, NopythonRewrites, PreLowerStripPhis
from numba.core.untyped_passes import InlineInlinables, IRProcessing, ReconstructSSA

_UNNEEDED: tuple[Any, ...] = (
    InlineInlinables,
    ReconstructSSA,
    PreLowerStripPhis,
    NopythonRewrites,
    IRLegalization,
)
"""
| the pass | is for |
| --- | --- |
| `InlineInlinables` | kernels; `_Inlining` does it at less cost |
| `ReconstructSSA`, `PreLowerStripPhis` | variables that have several types one after the other |
| `NopythonRewrites` | expressions of whole arrays |
| `IRLegalization` | references that are to be given back |
"""


class Library(JITCodeLibrary):
    """Machine code that LLVM improves once, and not by looking for vectors.

    What loops have to compute is written for vectors already, and in order.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(
            opt=1, loop_vectorize=False, slp_vectorize=False
        )
        passes.run(self._final_module, builder)


class Pipeline(CompilerBase):
    """How Numba compiles an entry point.

    A variable has one type. Where it is assigned several times, a global number is not assigned to
    it: the type of a global number is that one value.
    """

    library: type[JITCodeLibrary] = Library

    def define_pipelines(self) -> list[Any]:
        """The passes, in their order."""
        codegen = self.state.targetctx.codegen()
        self.state.library = self.library(codegen, self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        passes = PassManager("flatprop")
        for step, description in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            if step not in _UNNEEDED:
                passes.add_pass(step, description)
            if step is IRProcessing:
                passes.add_pass(_Inlining, "inline kernels")
        passes.finalize()
        return [passes]


class PipelineOfC(Pipeline):
    """How Numba compiles what C calls: LLVM improves it as thoroughly as it does by default.

    A call of such a function may take 50 ns, a tenth of which is gained so.
    """

    library = JITCodeLibrary


def _statements_of(function: Any) -> Any:
    """A kernel as it is written, for the place of one call."""
    identity = FunctionIdentity.from_function(function)
    statements: Any = Interpreter(identity).interpret(ByteCode(func_id=identity))
    statements.blocks = canonicalize_cfg(statements.blocks)
    for block in statements.blocks.values():
        # Numba would copy it twice, lest other calls have it: each gets its own here.
        block.__deepcopy__ = partial(_itself, block)
    return statements


def _itself(block: Any, memo: Any) -> Any:
    return block


@register_pass(mutates_CFG=True, analysis_only=False)
class _Inlining(InlineInlinables):
    """Kernels in the place of calls, as they are written.

    Numba would run all passes on a kernel before it is inlined, at every level of calls anew. Here
    they run once, on the entry point with all that is inlined into it.
    """

    _name = "inline_kernels"

    def run_pass(self, state: Any) -> bool:
        """Inline call after call, also those in what was inlined."""
        from numba.core.inline_closurecall import InlineWorker  # which imports half of Numba

        blocks = state.func_ir.blocks
        inliner: Any = InlineWorker()
        inliner.run_untyped_passes = _statements_of
        left = list(blocks.items())
        while left:
            _, block = left.pop()
            for i, statement in enumerate(block.body):
                call = getattr(statement, "value", None)
                if (
                    isinstance(call, ir.Expr)
                    and call.op == "call"
                    and guard(self._do_work, state, left, block, i, call, inliner)
                ):
                    break  # what follows in this block is another block now
        state.func_ir.blocks = simplify_CFG(blocks)
        return True
