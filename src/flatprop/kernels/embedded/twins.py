"""An embedded function is written once, over arrays; here are the functions made of it.

For `forward`, whose `body` is what was written:

| made of it | its text |
| --- | --- |
| `flatprop_forward_float32`, ..., compiled once for each dtype | what `_in_c` writes, for C |
| `kernels.forward` | ``def forward(layers, ...): return call((layers, ...))`` |
| `kernels.checked.forward` | the same, with ``refuse(find((layers, ...)))`` before it |

`call` and `find` are intrinsics that call the C function, and that of `faults.find`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from flatprop.kernels.compile import entry_point, intrinsic, kernel
from flatprop.kernels.embedded import faults, pointers
from flatprop.kernels.embedded.calls import C_FUNCTIONS, CFunction, Passed, expected_dtype
from flatprop.kernels.embedded.roles import (
    ARRAYS,
    FUNCTIONS,
    ArrayRole,
    EmbeddedFunction,
    register,
)


def for_c(body: Callable[..., Any], result: Any, **arrays: ArrayRole) -> EmbeddedFunction:
    """Let C call a function over arrays; `arrays` are the roles that are not the usual ones."""
    function = register(body, result, **arrays)
    known = vars(pointers) | {"body": kernel(body)}
    made = _made(_in_c(function), function.name, __name__, f"c.{function.name}", known)
    C_FUNCTIONS[function.name] = CFunction(
        body.__module__, function.name, made, function.c_signature
    )
    return function


def embedded(result: Any, **arrays: ArrayRole) -> Callable[[Callable[..., Any]], Any]:
    """Let compiled code and C call a function over arrays."""

    def decorate(body: Callable[..., Any]) -> Any:
        function = for_c(body, result, **arrays)
        return _for_numba(function, "return call(({0},))", body.__module__, body.__doc__)

    return decorate


def size(body: Callable[..., Any]) -> Any:
    """Let compiled code and C call a function of layers and rows; Python computes it itself."""
    function = embedded(types.int64)(body)
    overload(body)(lambda layers, rows: lambda layers, rows: function(layers, rows))
    return body


def checked(name: str, module: str) -> Any:
    """An embedded function with a check of its arguments before it."""
    text = "refuse(find(({0},)))\n    return call(({0},))"
    return _for_numba(FUNCTIONS[name], text, module, f"`kernels.{name}`, checked.")


def _in_c(function: EmbeddedFunction) -> str:
    """The text of a function that makes arrays of what C passes, and calls the body.

    The lengths of the arrays are written as their names in `roles.SIZES`.
    """
    lines = [f"def {function.name}({', '.join(function.c_arguments)}):"]
    like = next((name for name in function.c_arguments if name in ARRAYS), "")
    if "layers" in function.arguments:
        lines += ["layers = layers_of(network)", "inputs = layers[0].inputs"]
        lines += ["outputs = layers[layers.size - 1].units"]
    if "params" in function.arguments:
        lines += [f"params = params_of(network, {like})"]
    views = {
        "objectives": "objectives_of(network)",
        "optimizer": f"optimizer_at(optimizer, params.size, {like})",
        "workspace": "array_at(workspace, workspace, 0)",  # how large it is nobody asks
    }
    for name, role in function.arrays.items():
        rows, *columns = role.shape
        rows = f"length_at({name}, {rows})" if role.absent else rows
        if columns:
            views.setdefault(name, f"matrix_at({name}, {rows}, {columns[0]})")
        elif name not in ("layers", "params"):
            views.setdefault(name, f"array_at({name}, {name}, {rows})")
    passed = ", ".join(views.get(name, name) for name in function.arguments)
    return "\n    ".join([*lines, f"return body({passed})"])


def _for_numba(function: EmbeddedFunction, text: str, module: str, doc: str | None) -> Any:
    """A function whose text has the names of the arguments where it says {0}."""

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

    arguments = ", ".join(function.arguments)
    known = {"call": call, "find": find, "refuse": faults.refuse}
    source = f"def {function.name}({arguments}):\n    {text.format(arguments)}"
    made = _made(source, function.name, module, function.name, known)
    made.__doc__ = doc
    return entry_point(made)


def _made(text: str, name: str, module: str, qualified: str, known: dict[str, Any]) -> Any:
    """The function that a text defines; module and qualified name tell it apart in caches."""
    namespace = known | {"__name__": module}
    exec(compile(text, f"<{module}>", "exec"), namespace)
    made: Any = namespace[name]
    made.__qualname__ = qualified
    return made


C_FUNCTIONS["find"] = CFunction(__name__, "find", faults.find, lambda dtype: faults.FIND_TYPES)
