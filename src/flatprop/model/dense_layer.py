"""The dense layer as a description: what is particular to it, beside the loops over layers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from flatprop.formulas import custom_check
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.kernels.loops.addresses import here
from flatprop.kernels.network.records import DENSE
from flatprop.model.layer import Layer
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array


@other_names.suggesting(other_names.DENSE)
@dataclass(frozen=True)
class Dense(Layer):
    """One fully connected layer: a = f(x W + b).

    Parameters
    ----------
    units
        How many outputs it has.
    activation
        The name of f: "identity", "sigmoid", "tanh", "relu", "leaky_relu",
        "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "exp", or,
        in the last layer, "softmax". Or your own: a scalar function compiled by
        ``@numba.njit`` that takes z and returns (a, da/dz). Its arithmetic is carried
        over from float64 to the network's dtype; where it would raise, the result is
        NaN. It is tried at points from -4 to 4, none of them a whole number. Weights
        before it start as for tanh. After ``activation.recompile()`` new networks and
        copies use the new code; existing networks keep the old code.
    l1, l2
        In training, l1 Σ |W| + l2 Σ W² is added to the loss of each batch, as in Keras; not
        divided by the number of samples, and without the biases. The slope of |W| at 0 is taken
        for 0. `History.loss` and what `Trainer.partial_fit` returns hold these terms;
        `Network.loss`, validation losses and all derivatives are those of the data alone.
        L-BFGS takes l2; other solvers, and l1, are refused.
    max_norm
        After each update, the weights of a unit (a column of W) whose norm √Σ W² is larger are
        scaled down to this norm (Srebro & Shraibman 2005). Not with a solver.

    Raises
    ------
    TypeError, ValueError
        If `units` is not a positive whole number, the name is unknown, or l1, l2 or max_norm are
        no such numbers; if your own
        function does not return two numbers, is not finite somewhere from -4 to 4, or
        its slope is not that of its values there.
    """

    units: int
    activation: "str | Callable[[float], tuple[float, float]]" = "identity"
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            value = checks.positive(name, getattr(self, name), or_zero=True)
            object.__setattr__(self, name, value)
        if self.max_norm is not None:
            limit = checks.positive("max_norm", self.max_norm)
            object.__setattr__(self, "max_norm", limit)
        object.__setattr__(self, "units", checks.count("units", self.units))
        if callable(self.activation):
            custom_check.checked_activation(self.activation)
        else:
            checks.choice("activation", self.activation, ACTIVATIONS)

    def __repr__(self) -> str:
        parts = [f"units={self.units}", f"activation={self.activation!r}"]
        parts += [f"{name}={value!r}" for name, value in self.regularisation.items()]
        return f"Dense({', '.join(parts)})"

    @property
    def regularisation(self) -> dict[str, float]:
        """l1, l2 and max_norm, those that are given."""
        given = {"l1": self.l1, "l2": self.l2, "max_norm": self.max_norm}
        return {name: value for name, value in given.items() if value}

    @property
    def name(self) -> str:
        """The name of the activation."""
        given = self.activation
        return given if isinstance(given, str) else str(given.__name__)

    @property
    def initialisation(self) -> str:
        """How W starts: "he", "glorot" or "lecun"."""
        custom = callable(self.activation)
        return "glorot" if custom else ACTIVATIONS[self.name].initialisation

    @property
    def title(self) -> str:
        """What it is called in a line that names all layers."""
        return f"{self.units} {self.name}"

    def placed(self, inputs: int) -> Self:
        """The layer itself: it is as wide in every network."""
        return self

    def check_place(self, l: int, layers: Sequence[Layer]) -> None:
        """Raise if ``layers[l]`` cannot be such a layer."""
        if self.activation == "softmax" and l < len(layers) - 1:
            raise ValueError(
                f"layers[{l}] is a softmax, which only the last layer can be; "
                'hidden layers take "relu", "tanh", ...'
            )

    def n_params(self, inputs: int) -> int:
        """How many parameters the layer has: W and b."""
        return (inputs + 1) * self.units

    def record(
        self, inputs: int, start: int, units_before: int, dtype: np.dtype[Any], l: int
    ) -> tuple[Any, ...]:
        """A `LAYER` of the kernels, for ``layers[l]``, whose parameters begin at `start`."""
        if callable(self.activation):
            from flatprop.kernels.loops.custom import activation_address

            code, function = here(), activation_address(self.activation, dtype)
        else:
            code, function = ACTIVATIONS[self.activation].code, 0
        b_start = start + inputs * self.units
        shape = inputs, self.units, start, b_start, code, units_before, function
        return *shape, DENSE, 0, 0.0

    def draw(self, rng: np.random.Generator, params: Array) -> None:
        """Initial weights into W, as the activation suggests; 0 into b."""
        W, b = params[: -self.units].reshape(-1, self.units), params[-self.units :]
        fan_in, fan_out = W.shape
        match self.initialisation:
            case "he":
                W[:] = rng.normal(0, math.sqrt(2 / fan_in), W.shape)
            case "lecun":
                W[:] = rng.normal(0, math.sqrt(1 / fan_in), W.shape)
            case _:
                limit = math.sqrt(6 / (fan_in + fan_out))
                W[:] = rng.uniform(-limit, limit, W.shape)
        b[:] = 0
