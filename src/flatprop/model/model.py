"""A network as data: its description, its one flat parameter vector, and views into it.

Everything else is functions over a `Model`: what it computes, how it is trained, where it is
written. `flatprop.Network` has these functions as methods.
"""

import math
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from flatprop.formulas.losses import Loss
from flatprop.kernels.network.backprop import workspace_size
from flatprop.kernels.network.records import NetworkArrays
from flatprop.model.layers import (
    Dense,
    Summary,
    checked_dtype,
    checked_layers,
    checked_loss,
    layer_records,
    objective_record,
    summary,
)
from flatprop.validation import checks
from flatprop.validation.arrays import Array, Views, aligned_copy, aligned_empty

_DESCRIPTION = frozenset(
    ("inputs", "dense", "dtype", "outputs", "loss_function", "layers", "objectives", "_arrays")
)
_MADE_ANEW = ("_arrays", "outputs", "_weights", "_biases", "_shown", "_row_workspace")
"""Views, records, which may hold addresses of this process, and what follows from the rest."""


class Model:
    """The description of a dense network, its parameters and the views of its layers."""

    inputs: int
    dense: tuple[Dense, ...]
    dtype: np.dtype[Any]
    outputs: int
    loss_function: Loss
    _arrays: NetworkArrays
    """As kernels take it; of this package only, for their dtypes and sizes must not change."""

    def __init__(
        self, inputs: Any, layers: Any, loss: Any, dtype: Any, rng: Any, params: Any = None
    ) -> None:
        """Check the description, and take these parameters; None takes memory for some."""
        self.inputs = checks.count("inputs", inputs)
        self.dense = checked_layers(layers)
        self.outputs = self.dense[-1].units
        self.loss_function = checked_loss(loss, self.dense[-1])
        self.dtype = checked_dtype(dtype)
        self.rng = rng
        records, size = layer_records(self.inputs, self.dense, self.dtype)
        objective = objective_record(self.loss_function, self.outputs, self.dtype)
        # What `predict` of one row would spend a seventh of its time on.
        self._row_workspace = workspace_size(records, 1)
        if params is None:
            params = aligned_empty(size, self.dtype)
        elif params.shape != (size,) or params.dtype != self.dtype:
            raise ValueError(
                f"the network needs {size} parameters of {self.dtype}, but it was given "
                f"{params.shape} of {params.dtype}"
            )
        self._shown: Array = params.view()
        self._weights = Views(
            "weights",
            [params[r["weights"] : r["biases"]].reshape(r["inputs"], r["units"]) for r in records],
        )
        self._biases = Views(
            "biases", [params[r["biases"] : r["biases"] + r["units"]] for r in records]
        )
        self._arrays = NetworkArrays(records, objective, params)

    @classmethod
    def with_params(
        cls, inputs: int, layers: Any, loss: Any, dtype: Any, rng: Any, params: Array
    ) -> Self:
        """A network that has these parameters and draws none; `params` is taken as it is."""
        network = cls.__new__(cls)
        Model.__init__(network, inputs, layers, loss, dtype, rng, params)
        return network

    # ---- what describes it

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_description(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_description(name)
        object.__delattr__(self, name)

    def _refuse_description(self, name: str) -> None:
        # Kernels go by it. Properties would take longer to read; so would all attributes of an
        # object whose `__dict__` was asked for.
        if name in _DESCRIPTION and hasattr(self, "_arrays"):
            raise AttributeError(
                f"{name} describes the network and cannot be changed; make a new fp.Network"
            )

    @property
    def layers(self) -> Array:
        """The network as the kernels see it, one record per layer; read-only."""
        view: Array = self._arrays.layers.view()  # of which shape and dtype can be assigned
        return view

    @property
    def objectives(self) -> Array:
        """The loss as the kernels see it, one record; read-only."""
        view: Array = self._arrays.objectives.view()
        return view

    @property
    def rng(self) -> np.random.Generator:
        """Where random numbers come from; assigning takes a seed or a generator."""
        return self._rng

    @rng.setter
    def rng(self, value: int | np.random.Generator | None) -> None:
        self._rng = checks.generator(value)

    # ---- parameters

    def reset(self, rng: int | np.random.Generator | None = None) -> Self:
        """Draw new initial weights and set the biases to 0.

        Parameters
        ----------
        rng
            A seed or a generator; None goes on with the network's own.

        Returns
        -------
        Network
            The network itself.
        """
        self.require_writable()
        source = self.rng if rng is None else checks.generator(rng)
        for layer, W, b in zip(self.dense, self.weights, self.biases, strict=True):
            fan_in, fan_out = W.shape
            match layer.initialisation:
                case "he":
                    W[:] = source.normal(0, math.sqrt(2 / fan_in), W.shape)
                case "lecun":
                    W[:] = source.normal(0, math.sqrt(1 / fan_in), W.shape)
                case _:
                    limit = math.sqrt(6 / (fan_in + fan_out))
                    W[:] = source.uniform(-limit, limit, W.shape)
            b[:] = 0
        return self

    @property
    def params(self) -> Array:
        """Every parameter, flat: per layer W (inputs × units, row-major), then b.

        Writing into it changes the network at once; assigning copies into it. Where its flag
        `writeable` is cleared, training is refused.
        """
        shown, params = self._shown, self._arrays.params
        # It is a view, so that no assignment to its shape or dtype reaches the kernels.
        if (
            shown.shape != params.shape
            or shown.dtype != params.dtype
            or shown.strides != (params.strides)
        ):
            shown = self._shown = params.view()
        return shown

    @params.setter
    def params(self, value: ArrayLike) -> None:
        array = checks.numbers("params", value, self.dtype)
        if array.shape != self.params.shape:
            raise ValueError(
                f"params must have shape {self.params.shape}, but it has {array.shape}"
            )
        self.params[:] = array

    @property
    def weights(self) -> Views:
        """Per layer W, (inputs, units): views of `params`; assigning one copies into it."""
        return self._weights

    @property
    def biases(self) -> Views:
        """Per layer b, (units,): views of `params`; assigning one copies into it."""
        return self._biases

    def require_writable(self) -> None:
        """Raise if `params`, or a view of a part of them, says that it must not be changed."""
        checks.writable("net.params", self.params)
        for views in (self._weights, self._biases):
            views.require_writable("net.")

    # ---- as a Python object

    def copy(self) -> Self:
        """An independent network with the same parameters and random state."""
        return deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"params": self._arrays.params}
        for name in _MADE_ANEW:
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Version 0.1 wrote some names with an underscore, and two more.
        rest = {k: v for k, v in state.items() if k not in ("_outputs", "_row_workspace")}
        inputs, dense, loss, dtype, rng, params = (
            rest.pop(name) if name in rest else rest.pop(f"_{name}")
            for name in ("inputs", "dense", "loss_function", "dtype", "rng", "params")
        )
        for name, value in rest.items():
            setattr(self, name, value)
        # Checked as if it were new. A copy of the parameters: what was unpickled may be mapped
        # read-only from a file, or belong to another.
        Model.__init__(self, inputs, dense, loss, dtype, rng, aligned_copy(np.asarray(params)))

    def __repr__(self) -> str:
        layers = " -> ".join(f"{layer.units} {layer.name}" for layer in self.dense)
        return (
            f"{type(self).__name__}({self.inputs} -> {layers}; {self.loss_function.name}, "
            f"{self.dtype.name}, {self.params.size:,} parameter{'s' * (self.params.size != 1)})"
        )

    def summary(self) -> Summary:
        """A table of the layers, for printing."""
        return summary(self.dense, self.layers, self.loss_function, self.dtype)


def checked_model(function: str, given: object) -> Model:
    """The first argument of the function of this name, if it is a network."""
    if isinstance(given, Model):
        return given
    hint = ""
    if hasattr(given, "network_"):
        hint = "; of an estimator of flatprop.sklearn, pass estimator.network_"
    elif hasattr(given, "coefs_"):
        hint = "; from_sklearn makes one of an estimator"
    elif hasattr(given, "state_dict"):
        hint = "; from_torch makes one of a module"
    raise TypeError(f"{function} takes an fp.Network, got {type(given).__name__}{hint}")
