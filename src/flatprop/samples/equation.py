"""A differential equation that a network is to satisfy at points of its domain."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.model.model import Model
from flatprop.validation import checks
from flatprop.validation.arrays import Array


class Equation:
    """A residual r that `fit` makes small: `weight` times the mean over points of Σ r² is added.

    Parameters
    ----------
    residual
        Your own function ``(x, u, du, d2u)``, or ``(x, u, du, d2u, *unknowns)``, compiled by
        ``@numba.njit``, of one point. It returns r, or a tuple of several residuals.
        ``x[i]`` is an input, ``u`` the output, ``du[k]`` and ``d2u[k]`` are its first and second
        derivatives along direction k. A network with several outputs has ``u[j]``, ``du[k][j]``
        and ``d2u[k][j]``. Derivatives that r does not use are not computed. Slopes of r are
        derived from its instructions if it is plain arithmetic, branches and functions of `math`,
        with constants as indices. Any other function needs `slopes`.
    points
        (n, inputs): the collocation points.
    directions
        (directions, inputs). None takes the axes: ``du[k]`` is then ∂u/∂xₖ.
    weight
        How much the residual counts beside the loss of the samples.
    unknowns
        A dict from names to numbers from which to start: further parameters of the equation that
        are trained with the network, such as a viscosity. They are passed to `residual` in this
        order. Training changes the numbers in `Equation.unknowns`.
    slopes
        Your own function of the same arguments as `residual`, compiled by ``@numba.njit``, that
        gives the derivatives of r with respect to them: ``(r_u, r_du, r_d2u, *r_unknowns)``, each
        laid out as the argument. Where there are several residuals, a tuple with one such tuple
        for each. None: they are derived. `fit` compares them with differences of r at a few
        points, and raises if they are others.

    Attributes
    ----------
    unknowns : dict
        The numbers as they are now.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. What depends on the network is checked by `fit`.
    """

    def __init__(
        self,
        residual: Callable[..., Any],
        points: ArrayLike,
        *,
        directions: ArrayLike | None = None,
        weight: float = 1.0,
        unknowns: Mapping[str, float] | None = None,
        slopes: Callable[..., Any] | None = None,
    ) -> None:
        from numba.core.registry import CPUDispatcher

        for name, given in (("residual", residual), ("slopes", slopes)):
            if not isinstance(given, CPUDispatcher) and (given is not None or name == "residual"):
                raise TypeError(
                    f"{name} must be a function (x, u, du, d2u) that is compiled by @numba.njit, "
                    f"got {given!r}"
                )
        double = np.dtype(np.float64)
        self.residual: Any = residual
        self.slopes: Any = slopes
        self.points = checks.numbers("points", points, double)
        if self.points.ndim != 2 or not len(self.points):
            raise ValueError(
                f"points must be (n, inputs), with one point at least, not {self.points.shape}"
            )
        self.directions: Array | None = None
        if directions is not None:
            self.directions = checks.numbers("directions", directions, double)
        self.weight = checks.positive("weight", weight)
        self.unknowns: dict[str, float] = {}
        for name, value in dict(unknowns or {}).items():
            if not isinstance(name, str) or not checks.is_number(value) or not np.isfinite(value):
                raise TypeError(f"unknowns must have names and finite numbers, got {unknowns!r}")
            self.unknowns[name] = float(value)

    def along(self, network: Model) -> Array:
        """The directions in the network's dtype, after a check of all that depends on it."""
        if self.points.shape[1] != network.inputs:
            raise ValueError(
                f"points have {self.points.shape[1]} columns, but the network has "
                f"{network.inputs} inputs"
            )
        if self.directions is None:
            return np.eye(network.inputs, dtype=network.dtype)
        if self.directions.ndim != 2 or self.directions.shape[1:] != (network.inputs,):
            raise ValueError(
                f"directions must be (directions, {network.inputs}), not {self.directions.shape}"
            )
        return self.directions.astype(network.dtype)

    def compiled(self, network: Model) -> Any:
        """The `EquationResidual` that kernels call for networks like this one."""
        from flatprop.kernels.loops.residuals import residual_of  # few programs need it

        count = len(self.along(network))
        sizes = network.inputs, network.outputs, count, len(self.unknowns)
        return residual_of(self.residual, self.slopes, *sizes, network.dtype)

    def __repr__(self) -> str:
        name = getattr(self.residual, "__name__", "residual")
        found = "".join(f", {key}={value:.6g}" for key, value in self.unknowns.items())
        return f"Equation({name}, {len(self.points)} points{found})"


def checked_equations(value: object) -> tuple[Equation, ...]:
    """One equation or several, as a tuple."""
    if value is None:
        return ()
    given = (value,) if isinstance(value, Equation) else value
    if not isinstance(given, Sequence) or not all(isinstance(e, Equation) for e in given):
        raise TypeError(f"equations must be an fp.Equation or a list of them, got {value!r}")
    names = [name for equation in given for name in equation.unknowns]
    if len({id(equation) for equation in given}) < len(given):
        raise ValueError("equations has the same equation twice")
    if len(set(names)) < len(names):
        raise ValueError(f"two unknowns have the same name: {', '.join(sorted(names))}")
    return tuple(given)
