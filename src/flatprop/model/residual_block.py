"""A residual block, as a description: for kernels it is a layer before it and one behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flatprop.kernels.network.records import FORK, SUM
from flatprop.model.layer import Layer, SameWidth


@dataclass(frozen=True)
class Residual(Layer):
    """A residual block, x + f(x), where f is one or more layers (He et al. 2016).

    The last of its layers has as many units as the block has inputs. Blocks may hold blocks. In
    ``Network.dense`` a block is its layers, with a `ResidualBegin` before them and a `ResidualEnd`
    behind them.

    Parameters
    ----------
    layers
        The layers of f in order.

    Raises
    ------
    TypeError, ValueError
        If these are no layers, or none.

    Examples
    --------
    >>> import flatprop as fp
    >>> block = fp.Residual([fp.LayerNorm(), fp.Dense(64, "relu"), fp.Dense(16)])
    >>> net = fp.Network(4, [fp.Dense(16, "relu"), block, fp.Dense(1)], rng=0)
    """

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        given = self.layers
        if isinstance(given, Layer) or not isinstance(given, Sequence):
            raise TypeError(f"fp.Residual takes a list of layers, got {given!r}")
        for l, layer in enumerate(given):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{l}] of fp.Residual must be a layer, got {layer!r}")
        if not given:
            raise ValueError("fp.Residual needs at least one layer")
        object.__setattr__(self, "layers", tuple(given))

    @property
    def name(self) -> str:
        return "residual"

    def parts(self) -> list[Layer]:
        inner = [part for layer in self.layers for part in layer.parts()]
        return [ResidualBegin(len(inner)), *inner, ResidualEnd(len(inner))]


@dataclass(frozen=True)
class ResidualBegin(SameWidth):
    """The begin of a `Residual`, before its layers. Its outputs are its inputs.

    Parameters
    ----------
    count
        How many layers there are up to the end of the block.
    """

    count: int
    kind = FORK

    @property
    def name(self) -> str:
        return "residual begin"

    @property
    def title(self) -> str:
        return "x + ["

    def operations(self) -> Callable[..., None]:
        from flatprop.kernels.network.residual import fork

        function: Callable[..., None] = fork
        return function

    def partner(self, l: int) -> int:
        return l + self.count + 1

    def check_place(self, l: int, layers: Sequence[Layer]) -> None:
        super().check_place(l, layers)
        end = layers[self.partner(l)] if self.partner(l) < len(layers) else None
        if not isinstance(end, ResidualEnd) or end.count != self.count:
            raise ValueError(f"layers[{l}] begins a residual block that does not end; {_WRITE}")


@dataclass(frozen=True)
class ResidualEnd(SameWidth):
    """The end of a `Residual`, behind its layers. It adds the inputs of the block.

    Parameters
    ----------
    count
        How many layers there are since the begin of the block.
    """

    count: int
    kind = SUM

    @property
    def name(self) -> str:
        return "residual end"

    @property
    def title(self) -> str:
        return "]"

    def operations(self) -> Callable[..., None]:
        from flatprop.kernels.network.residual import residual_sum

        function: Callable[..., None] = residual_sum
        return function

    def partner(self, l: int) -> int:
        return l - self.count - 1

    def check_place(self, l: int, layers: Sequence[Layer]) -> None:
        super().check_place(l, layers)
        begin = layers[self.partner(l)] if self.partner(l) >= 0 else None
        if not isinstance(begin, ResidualBegin) or begin.count != self.count:
            raise ValueError(f"layers[{l}] ends a residual block that does not begin; {_WRITE}")
        if begin.units != self.units:
            raise ValueError(
                f"a residual block adds its {begin.units} inputs to the {self.units} outputs of "
                f"its last layer, so these must be equally many; end it with "
                f"fp.Dense({begin.units})"
            )


_WRITE = "write fp.Residual([...])"
