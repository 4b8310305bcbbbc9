"""How compiled code calls a C function of this package: by a symbol that the loader resolves.

While a caller is compiled, the types of its arguments are checked. Its machine code then holds
only the call: the structs of `pointers` on its stack, and the name of an external function.

`link` tells the loader where that function lies. It runs

| when a caller is | because |
| --- | --- |
| compiled | `Passed.call` calls `link` |
| loaded from a cache | Numba unpickles its constants first; `mark` put a call of `link` there |

So a caller never runs before its function is there. Running it looks up, compiles and locks
nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.np.numpy_support import as_dtype, from_dtype

from flatprop.formulas.optimizer import OptimizerState
from flatprop.kernels.cache import mark
from flatprop.kernels.compile import c_address
from flatprop.kernels.embedded.roles import NUMBERS, SIZES, ArrayRole, EmbeddedFunction
from flatprop.kernels.network.records import LAYER, LOSS_RECORD

INT64, POINTER = ir.IntType(64), ir.IntType(8).as_pointer()
DTYPES = {
    "layers": (from_dtype(LAYER), "records, net.layers"),
    "objectives": (from_dtype(LOSS_RECORD), "records, net.objectives"),
    "settings": (types.float64, "float64"),
}
"""The arrays that have another dtype than the parameters: that dtype, and its name in messages."""

REAL = types.Integer, types.Float, types.Boolean
"""The types of what may be passed as a number."""


class CFunction(NamedTuple):
    """A function that is compiled once for each dtype, to be called as C does."""

    make: Callable[[], Callable[..., Any]]
    """Gives the function, always the same."""
    signature: Callable[[np.dtype[Any]], tuple[Any, tuple[Any, ...]]]
    """The types of its result and of its arguments, for numbers of a dtype."""

    def address(self, dtype: np.dtype[Any]) -> int:
        """Where C finds it."""
        return c_address(self.make(), *self.signature(dtype))


C_FUNCTIONS: dict[str, CFunction] = {}


@global_compiler_lock
def link(name: str, dtype: str) -> str:
    """Tell the loader where a function of `C_FUNCTIONS` lies, and return its symbol."""
    symbol = f"flatprop_{name}_{dtype}"
    if symbol not in _linked:
        binding.add_symbol(symbol, C_FUNCTIONS[name].address(np.dtype(dtype)))
        _linked.add(symbol)
    return symbol


_linked: set[str] = set()


def expected_dtype(function: EmbeddedFunction, given: Any) -> np.dtype[Any]:
    """The dtype of the parameters; a TypingError if the types given do not suit the roles."""
    kinds = dict(zip(function.arguments, given, strict=True))
    optimizer = kinds.get("optimizer")
    if optimizer and getattr(optimizer, "fields", None) != OptimizerState._fields:
        raise TypingError(f"flatprop expected what Optimizer.start gives, got {optimizer}")
    kinds = _named(function, given, tuple)
    params = kinds.get("params", types.float64[:])  # sizes are the same for both dtypes
    dtype = getattr(params, "dtype", None)
    if dtype not in (types.float32, types.float64):
        raise TypingError(f"flatprop expected params of float32 or float64, got {params}")
    for name, role in function.arrays.items():
        if not (role.absent == "None" and isinstance(kinds[name], types.NoneType)):
            _expect(name, kinds[name], role, *DTYPES.get(name, (dtype, f"{dtype}, as params are")))
    for name, number in NUMBERS.items():
        if not isinstance(kinds.get(name, number), REAL):
            raise TypingError(f"flatprop expected {name} to be a real number, got {kinds[name]}")
    return as_dtype(dtype)


def _expect(name: str, array: Any, role: ArrayRole, dtype: Any, named: str) -> None:
    shape = {1: "flat", 2: "two-dimensional, (rows, columns)"}[len(role.shape)]
    expected = f"flatprop expected {name} to be"
    if not isinstance(array, types.Array) or array.ndim != len(role.shape):
        raise TypingError(f"{expected} an array that is {shape}, got {array}")
    if array.layout != "C":
        raise TypingError(f"{expected} a C-contiguous array, got {array}")
    if array.dtype != dtype:
        raise TypingError(f"{expected} an array of {named}, got {array}")
    if role.written and not array.mutable:
        raise TypingError(f"flatprop would write into {name}, which is read-only: {array}")


def _named(function: EmbeddedFunction, given: Any, parts: Callable[[Any], Any]) -> dict[str, Any]:
    """Types or values by the names of the arguments, and of the fields of an optimizer."""
    named = dict(zip(function.arguments, given, strict=True))
    if "optimizer" in named:
        named |= zip(OptimizerState._fields, parts(named["optimizer"]), strict=True)
    return named


class Passed:
    """What a caller passes to an embedded function, as LLVM's values for C functions."""

    def __init__(
        self, function: EmbeddedFunction, context: Any, builder: Any, given: Any, values: Any
    ) -> None:
        def parts(value: Any) -> Any:
            return cgutils.unpack_tuple(builder, value)

        self.function, self.context, self.builder = function, context, builder
        self.kinds = _named(function, given, tuple)
        self.values = _named(function, parts(values), parts)
        self.arrays = {
            name: context.make_array(kind)(context, builder, self.values[name])
            for name, kind in self.kinds.items()
            if isinstance(kind, types.Array)
        }

    def call(self, name: str, dtype: np.dtype[Any], values: list[Any]) -> Any:
        """The result of one of `C_FUNCTIONS`."""
        context, builder = self.context, self.builder
        mark(context.environment, link, name, dtype.name)
        result, kinds = C_FUNCTIONS[name].signature(dtype)
        returned = ir.VoidType() if result == types.void else context.get_value_type(result)
        kind = ir.FunctionType(returned, [context.get_value_type(kind) for kind in kinds])
        external = cgutils.get_or_insert_function(builder.module, kind, link(name, dtype.name))
        value = builder.call(external, values)
        return context.get_dummy_value() if result == types.void else value

    def as_c(self, name: str) -> Any:
        """One of the `c_arguments` of the function."""
        builder, context = self.builder, self.context
        if name in ("network", "optimizer"):
            return getattr(self, name)()
        if name in NUMBERS and name in self.values:
            return context.cast(builder, self.values[name], self.kinds[name], NUMBERS[name])
        if name == "rows":
            return self.shape("x")[0]
        if name == "n_directions":
            return self.shape("directions")[0]
        if name == "y_columns":
            return self.shape("y")[1]
        null = ir.Constant(self.arrays["params"].data.type, None)
        array = self.arrays.get(name)
        if array is None or not self.function.arrays[name].absent:
            return array.data if array else null
        return builder.select(builder.icmp_signed(">", array.nitems, INT64(0)), array.data, null)

    def shape(self, name: str) -> list[Any]:
        """Rows and columns of an array, one column where it is flat."""
        sizes = cgutils.unpack_tuple(self.builder, self.arrays[name].shape)
        return [*sizes, INT64(1)][:2]

    def size(self, name: str) -> Any:
        """How many elements an array has; -1 where the function takes no such array."""
        return self.arrays[name].nitems if name in self.arrays else INT64(-1)

    def start(self, name: str) -> Any:
        """The address of an array, 0 where the function takes no such array."""
        if name not in self.arrays:
            return INT64(0)
        return self.builder.ptrtoint(self.arrays[name].data, INT64)

    def network(self) -> Any:
        """The struct `pointers.NETWORK`."""
        layers = self.start("layers"), self.size("layers")
        params = self.start("params"), self.size("params")
        return self._struct(*layers, self.start("objectives"), *params)

    def optimizer(self) -> Any:
        """The struct `pointers.OPTIMIZER`, NULL where the function takes none."""
        if "optimizer" not in self.kinds:
            return ir.Constant(POINTER, None)
        code = self.context.cast(
            self.builder, self.values["code"], self.kinds["code"], types.int64
        )
        settings = self.start("settings"), self.size("settings")
        return self._struct(code, *settings, self.start("state"), self.shape("state")[0])

    def described(self) -> tuple[Any, Any]:
        """An array of `faults.ARGUMENT`, and how many there are."""
        from flatprop.kernels.embedded.faults import ARGUMENT, OF_ARRAYS, OUT

        found = []
        for name, role in self.function.arrays.items():
            if name in self.arrays and name not in ("layers", "objectives"):
                kind, start = self.kinds[name].dtype, self.start(name)
                itemsize = self.context.get_abi_sizeof(self.context.get_data_type(kind))
                size = self.builder.mul(self.size(name), INT64(itemsize))
                places = [SIZES.index(length) for length in (*role.shape, "1")[:2]]
                fault = OF_ARRAYS.get(name, OUT)
                constants = *places, fault, role.written, role.absent == "empty"
                end = self.builder.add(start, size)
                found += [start, end, *self.shape(name), *map(INT64, map(int, constants))]
        return self._struct(*found), INT64(len(found) // len(ARGUMENT.names or ()))

    def _struct(self, *values: Any) -> Any:
        """The address of so many int64 on the stack."""
        place = cgutils.alloca_once(self.builder, ir.ArrayType(INT64, len(values)))
        for number, value in enumerate(values):
            self.builder.store(value, cgutils.gep_inbounds(self.builder, place, 0, number))
        return self.builder.bitcast(place, POINTER)
