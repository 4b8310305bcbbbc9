"""What the layers of a network have in common, as descriptions."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from flatprop.kernels.loops.addresses import here
from flatprop.validation.arrays import Array


class Layer:
    """A layer of a network: how wide it is, where it may stand, what its parameters are."""

    units: int
    """How many outputs it has."""
    activation: Any = "identity"
    """The f of its outputs f(z)."""

    @property
    def name(self) -> str:
        """What tables and drawings call it."""
        raise NotImplementedError

    @property
    def own_functions(self) -> list[Callable[..., Any]]:
        """The user's own functions in it."""
        return [self.activation] if callable(self.activation) else []

    @property
    def title(self) -> str:
        """What it is called in a line that names all layers."""
        return self.name

    def parts(self) -> list["Layer"]:
        """The layers that it stands for: itself, or those of a block."""
        return [self]

    def placed(self, inputs: int) -> Self:
        """The layer in a network, where it has so many inputs."""
        raise NotImplementedError

    def check_place(self, l: int, layers: "Sequence[Layer]") -> None:
        """Raise if ``layers[l]`` cannot be such a layer."""

    def n_params(self, inputs: int) -> int:
        """How many parameters it has."""
        raise NotImplementedError

    def record(
        self, inputs: int, start: int, units_before: int, dtype: np.dtype[Any], l: int
    ) -> tuple[Any, ...]:
        """A `LAYER` of the kernels, for ``layers[l]``, whose parameters begin at `start`."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, params: Array) -> None:
        """Initial values into the parameters of the layer."""


@dataclass(frozen=True)
class SameWidth(Layer):
    """A layer with as many outputs as inputs. Outside of a network it has no width."""

    units: int = field(default=0, init=False, compare=False, repr=False)

    kind: ClassVar[int]
    """The kind of its record."""
    parameter_rows: ClassVar[int] = 0
    """How many parameters each of its units has."""

    def __post_init__(self) -> None:
        """Nothing to check here."""

    def operations(self) -> Callable[..., None]:
        """What the kernels call; see `kernels.network.layer_call`."""
        raise NotImplementedError

    def partner(self, l: int) -> int:
        """The layer that this one, ``layers[l]``, works together with; 0 if there is none."""
        return 0

    def placed(self, inputs: int) -> Self:
        made = copy(self)
        object.__setattr__(made, "units", inputs)
        return made

    def check_place(self, l: int, layers: Sequence[Layer]) -> None:
        if l == len(layers) - 1:
            raise ValueError(
                f"the last layer is {self!r}, but the loss needs the outputs of a dense layer; "
                "add one, such as fp.Dense(1)"
            )

    def n_params(self, inputs: int) -> int:
        return self.parameter_rows * inputs

    def record(
        self, inputs: int, start: int, units_before: int, dtype: np.dtype[Any], l: int
    ) -> tuple[Any, ...]:
        from flatprop.kernels.network.layer_call import layer_address

        address = layer_address(self.operations(), dtype)
        b_start = start + self.n_params(inputs) // 2
        shape = inputs, inputs, start, b_start, here(), units_before, address
        return *shape, self.kind, self.partner(l), self.rate_of_record

    @property
    def rate_of_record(self) -> float:
        """The field `rate` of the record."""
        return 0.0
