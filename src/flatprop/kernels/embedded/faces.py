"""An embedded function is written once, over arrays: its body. Here are the functions made of it.

| made of the body of `forward` | what it does |
| --- | --- |
| `C_FUNCTIONS["forward"]` | makes arrays of what C passes, and has the body compiled into it |
| `kernels.forward` | ``def forward(layers, ...): return call((layers, ...))`` |
| `kernels.checked.forward` | the same, with ``refuse(find((layers, ...)))`` before it |

`call` and `find` are intrinsics that call C functions: `call` the body, `find` `faults.find`.
So the body is compiled once for each dtype, and compiled code that calls it holds the call.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from flatprop.kernels.compile import arguments_of, entry_point, intrinsic, kernel
from flatprop.kernels.embedded.linking import C_FUNCTIONS, CFunction, Passed, expected_dtype
from flatprop.kernels.embedded.roles import ARRAYS, FUNCTIONS, ArrayRole, EmbeddedFunction


def embedded(result: Any, **arrays: ArrayRole) -> Callable[[Callable[..., Any]], Any]:
    """Let compiled code and C call a function; `arrays` are roles that are not the usual ones."""

    def decorate(body: Callable[..., Any]) -> Any:
        names, known = arguments_of(body), ARRAYS | arrays
        if "optimizer" in names:
            names += ("settings", "state")
        roles = {name: known[name] for name in names if name in known}
        FUNCTIONS[body.__name__] = function = EmbeddedFunction(body, result, roles)
        C_FUNCTIONS[function.name] = CFunction(partial(_for_c, function), function.c_signature)
        return _for_numba(function, ["return call({})"], body.__module__, body.__doc__)

    return decorate


def size(body: Callable[..., Any]) -> Any:
    """Let compiled code and C call a function that gives a size; Python computes it itself.

    It is one of layers and rows, or of directions too.
    """
    function = embedded(types.int64)(body)
    if "n_directions" in arguments_of(body):
        overload(body)(
            lambda layers, rows, n_directions: (
                lambda layers, rows, n_directions: function(layers, rows, n_directions)
            )
        )
    else:
        overload(body)(lambda layers, rows: lambda layers, rows: function(layers, rows))
    return body


def checked(name: str, module: str) -> Any:
    """An embedded function with a check of its arguments before it."""
    lines = ["refuse(find({}))", "return call({})"]
    refuse = _faults().refuse
    return _for_numba(FUNCTIONS[name], lines, module, f"`kernels.{name}`, checked.", refuse=refuse)


def _faults() -> Any:
    from flatprop.kernels.embedded import faults  # most programs need none of it

    return faults


@cache
def _for_c(function: EmbeddedFunction) -> Any:
    """The function that C calls. That of `forward`::

        def forward(network, rows, x, out, workspace):
            layers = layers_of(network)
            inputs = layers[0].inputs
            outputs = layers[layers.size - 1].units
            params = params_of(network, x)
            return body(layers, params, matrix_at(x, rows, inputs), ...)

    Lengths have the names of `roles.SIZES` here.
    """
    from flatprop.kernels.embedded import pointers

    lines = []
    like = next(name for name in (*function.c_arguments, "") if name in (*ARRAYS, ""))
    if "layers" in function.arguments:
        lines += ["layers = layers_of(network)", "inputs = layers[0].inputs"]
        lines += ["outputs = layers[layers.size - 1].units"]
    if "params" in function.arguments:
        lines += [f"params = params_of(network, {like})"]
    views = {
        "layers": "layers",
        "params": "params",
        "objectives": "loss_records_of(network)",
        "optimizer": f"optimizer_at(optimizer, params.size, {like})",
        "workspace": "flat_at(workspace, 0)",  # nobody asks how large it is
    }
    for name, role in function.arrays.items():
        rows, *columns = role.shape
        rows = f"length_at({name}, {rows})" if role.absent else rows
        place, lengths = ("matrix_at", f"{rows}, {columns[0]}") if columns else ("flat_at", rows)
        views.setdefault(name, f"{place}({name}, {lengths})")
    lines += [f"return body({', '.join(views.get(name, name) for name in function.arguments)})"]
    made = _made(function, function.c_arguments, lines, __name__, vars(pointers))
    made.__globals__["body"] = kernel(function.body)
    made.__qualname__ = f"c.{function.name}"
    return made


def _for_numba(
    function: EmbeddedFunction, lines: list[str], module: str, doc: str | None, **known: Any
) -> Any:
    """A function of these lines, where {} stands for the tuple of its arguments."""

    @intrinsic
    def call(typing_context: Any, given: Any) -> Any:
        dtype = expected_dtype(function, given)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            passed = Passed(function, context, builder, given, *values)
            return passed.call(function.name, dtype, [*map(passed.as_c, function.c_arguments)])

        return function.result(given), codegen

    @intrinsic
    def find(typing_context: Any, given: Any) -> Any:
        expected_dtype(function, given)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            passed = Passed(function, context, builder, given, *values)
            structs = passed.network(), passed.size("objectives"), passed.optimizer()
            return passed.call("find", np.dtype("float64"), [*structs, *passed.described()])

        return types.int64(given), codegen

    passed = f"({', '.join(function.arguments)},)"
    lines = [line.format(passed) for line in lines]
    known |= {"call": call, "find": find}
    made = _made(function, function.arguments, lines, module, known)
    made.__doc__ = doc
    return entry_point(made)


def _made(function: Any, arguments: Any, lines: list[str], module: str, known: Any) -> Any:
    """A function that these lines define. In caches its module and its name tell it apart."""
    text = "\n    ".join([f"def {function.name}({', '.join(arguments)}):", *lines])
    namespace = {**known, "__name__": module}
    exec(compile(text, f"<{module}>", "exec"), namespace)
    return namespace[function.name]


C_FUNCTIONS["find"] = CFunction(lambda: _faults().find, lambda dtype: _faults().FIND_TYPES)
