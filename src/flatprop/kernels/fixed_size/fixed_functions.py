"""Functions of one network, compiled with its sizes as constants.

The functions that `functions` makes close over a string only. Numba finds a function in its cache
on disk only if it closes over no other function.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba.extending
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from flatprop.kernels.cache import keep_out_of_caches
from flatprop.kernels.compile import entry_point
from flatprop.kernels.fixed_size import row_tiles
from flatprop.kernels.fixed_size.row_tiles import TileSamples
from flatprop.kernels.fixed_size.sizes import Sizes
from flatprop.kernels.loops.vector_loops import DOUBLE, INT64, wide
from flatprop.kernels.network.records import CROSS_ENTROPY
from flatprop.numbers.lanes import Lanes


@cache
def functions(text: str) -> tuple[Any, ...]:
    """`forward`, `loss_and_gradient`, `sgd_step`, `sgd_steps` for what `Sizes.text` gave."""

    @entry_point
    def forward(params, x, out):
        write_outputs(text, params, x, out)

    @entry_point
    def loss_and_gradient(params, x, y, weight, gradient):
        return write_gradient(text, params, x, y, weight, gradient)

    @entry_point
    def sgd_step(params, x, y, weight, learning_rate):
        return descend(text, params, x, y, weight, learning_rate, 1)

    @entry_point
    def sgd_steps(params, x, y, weight, learning_rate, steps):
        return descend(text, params, x, y, weight, learning_rate, steps)

    return forward, loss_and_gradient, sgd_step, sgd_steps


def literal_intrinsic(function: Callable[..., Any]) -> Any:
    """As `compile.intrinsic`; what is constant comes with its value."""
    return numba.extending.intrinsic(prefer_literal=True)(function)


@literal_intrinsic
def write_outputs(typing_context: Any, text: Any, params: Any, x: Any, out: Any) -> Any:
    """out ← the outputs for x."""

    def emit(call: "Call") -> None:
        row_tiles.write_outputs(
            call.builder, call.sizes, call["params"], call["x"], call.rows, call["out"]
        )

    arrays = {"params": params, "x": x, "out": out}
    return with_sizes(emit, types.void, text, arrays, "out")


@literal_intrinsic
def write_gradient(
    typing_context: Any, text: Any, params: Any, x: Any, y: Any, weight: Any, gradient: Any
) -> Any:
    """The loss; gradient ← its gradient."""

    def emit(call: "Call") -> ir.Value:
        samples, scale = call.samples()
        total = row_tiles.write_gradient(
            call.builder, call.sizes, call["params"], samples, call["gradient"]
        )
        return call.builder.fmul(total, scale)

    arrays = {"params": params, "x": x, "y": y, "weight": weight, "gradient": gradient}
    return with_sizes(emit, types.float64, text, arrays, "gradient")


@literal_intrinsic
def descend(
    typing_context: Any,
    text: Any,
    params: Any,
    x: Any,
    y: Any,
    weight: Any,
    learning_rate: Any,
    steps: Any,
) -> Any:
    """params ← params - rate · gradient, so many times; the loss before the last of them."""

    def emit(call: "Call") -> ir.Value:
        samples, scale = call.samples()
        steps = call["steps"]
        call.require(call.builder.icmp_signed(">", steps, INT64(0)), "steps must be at least 1")
        rate = call.rounded(call["learning_rate"])
        total = row_tiles.descend(call.builder, call.sizes, call["params"], samples, rate, steps)
        return call.builder.fmul(total, scale)

    arrays = {"params": params, "x": x, "y": y, "weight": weight}
    numbers = {"learning_rate": types.float64, "steps": types.int64}
    return with_sizes(emit, types.float64, text, arrays, "params", numbers)


# ---- arguments: their types are checked when a call is compiled, their shapes when it runs


def with_sizes(
    emit: Callable[["Call"], ir.Value | None],
    result: types.Type,
    text: Any,
    arrays: dict[str, Any],
    overwritten: str,
    numbers: dict[str, Any] | None = None,
) -> Any:
    """The signature and code generator of an intrinsic with these types of arguments."""
    if not isinstance(text, types.StringLiteral):
        return None  # which Numba tries, too, where the literal met an error
    sizes = Sizes.of_text(text.literal_value)
    for name, kind in arrays.items():
        if name != "weight" or kind != types.none:
            _check_type(sizes, name, kind)
        if name == overwritten and not kind.mutable:
            raise TypingError(f"{name} is read-only, and would be overwritten")
    kinds = arrays | (numbers or {})

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        # In a later process a caller's global name may stand for another network, and Numba's
        # cache would not notice.
        keep_out_of_caches(context, builder)
        outcome = emit(Call(context, builder, sizes, kinds, values[1:]))
        return context.get_dummy_value() if outcome is None else outcome

    return result(text, *kinds.values()), codegen


def _shape(sizes: Sizes, name: str, dimensions: int) -> tuple[int | str, ...]:
    """What shape an argument must have."""
    rows, inputs, outputs = sizes.rows or "rows", sizes.units[0], sizes.units[-1]
    classes = sizes.loss == CROSS_ENTROPY
    match name:
        case "x":
            return rows, inputs
        case "y" if dimensions == 1 and (classes or outputs == 1):
            return (rows,)
        case "y" | "out":
            return rows, outputs
        case "weight":
            return (rows,)
        case _:
            return (sizes.parameters,)


def _check_type(sizes: Sizes, name: str, kind: Any) -> None:
    dtype = types.float32 if sizes.bits == 32 else types.float64
    if isinstance(kind, types.Array):
        shape = _shape(sizes, name, kind.ndim)
        integers = _are_indices(sizes, name, kind) and isinstance(kind.dtype, types.Integer)
        fits = kind.dtype == dtype or integers
        if fits and kind.layout == "C" and kind.ndim == len(shape):
            return
    shape = _shape(sizes, name, 2)
    raise TypingError(
        f"{name} must be a C-contiguous array of {dtype}, {_written(shape)}, but it is {kind}"
    )


def _are_indices(sizes: Sizes, name: str, kind: Any) -> bool:
    return name == "y" and sizes.loss == CROSS_ENTROPY and kind.ndim == 1


def _written(shape: tuple[int | str, ...]) -> str:
    return str(shape).replace("'", "")


class Call:
    """The arguments of one call, as LLVM sees them: arrays by where they begin."""

    def __init__(
        self, context: Any, builder: Any, sizes: Sizes, kinds: dict[str, Any], values: Any
    ) -> None:
        self.context = context
        self.builder: ir.IRBuilder = builder
        self.sizes = sizes
        self.kinds = kinds
        self.given: dict[str, Any] = {}
        shapes = {}
        for (name, kind), value in zip(kinds.items(), values, strict=True):
            self.given[name] = value
            if kind == types.none:
                self.given[name] = None
            elif isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, value)
                self.given[name] = array.data
                shapes[name] = cgutils.unpack_tuple(builder, array.shape, kind.ndim)
        self.rows = INT64(sizes.rows) if sizes.rows else shapes["x"][0]
        self.require(builder.icmp_signed(">", self.rows, INT64(0)), "x has no rows")
        for name, actual in shapes.items():
            shape = _shape(sizes, name, kinds[name].ndim)
            for size, expected in zip(actual, shape, strict=True):
                wanted = self.rows if expected == "rows" else INT64(expected)
                same = builder.icmp_signed("==", size, wanted)
                self.require(same, f"{name} must have shape {_written(shape)}")

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def require(self, condition: ir.Value, message: str) -> None:
        """Raise ValueError unless the condition holds."""
        with self.builder.if_then(self.builder.not_(condition), likely=False):
            self.context.call_conv.return_user_exc(self.builder, ValueError, (message,))

    def rounded(self, number: ir.Value) -> ir.Value:
        """A float64 in the network's dtype."""
        return (
            number if self.sizes.bits == 64 else self.builder.fptrunc(number, self.sizes.element)
        )

    def samples(self) -> tuple[TileSamples, ir.Value]:
        """x, y and weight; what Σ w ℓ is multiplied by, in float64."""
        builder, divisor = self.builder, self.sizes.divisor
        scale: ir.Value = DOUBLE(1.0)
        total = self._sum_of_weights()
        if divisor:
            scale = builder.fdiv(scale, builder.fmul(total, DOUBLE(divisor)))
        indices = _are_indices(self.sizes, "y", self.kinds["y"])
        data = TileSamples(
            self["x"], self["y"], indices, self["weight"], self.rows, self.rounded(scale)
        )
        return data, scale

    def _sum_of_weights(self) -> ir.Value:
        builder = self.builder
        if self["weight"] is None:
            return builder.sitofp(self.rows, DOUBLE)
        total = cgutils.alloca_once_value(builder, DOUBLE(0.0))
        with cgutils.for_range(builder, self.rows) as loop:
            weight = Lanes(builder, builder.load(builder.gep(self["weight"], [loop.index])))
            builder.store(builder.fadd(builder.load(total), wide(weight).value), total)
        found = builder.load(total)
        if self.sizes.divisor:  # NaN passes, as everywhere
            positive = builder.fcmp_unordered(">", found, DOUBLE(0.0))
            self.require(positive, "weight must add up to more than 0")
        return found
