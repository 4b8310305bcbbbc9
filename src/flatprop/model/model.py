"""A network as data: its description, its one flat parameter vector, and views into the vector.

Prediction, training and export are functions over a `Model`. `flatprop.Network` has them as
methods.
"""

from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from flatprop.formulas.loss import Loss
from flatprop.kernels.network.records import DENSE, NetworkArrays
from flatprop.kernels.network.workspace import workspace_size
from flatprop.model.dense_layer import Dense
from flatprop.model.layer import Layer
from flatprop.model.layers import (
    Summary,
    chain,
    checked_dtype,
    checked_layers,
    checked_loss,
    layer_records,
    loss_records,
    starts_in_params,
    summary,
)
from flatprop.validation import checks
from flatprop.validation.arrays import Array, Views, aligned_copy, aligned_empty

_RECORDS = "layers", "objectives", "_arrays"
_DESCRIPTION = frozenset(
    ("inputs", "dense", "dtype", "outputs", "targets", "loss_function", *_RECORDS)
)
_MADE_ANEW = ("_arrays", "outputs", "targets", "_weights", "_biases", "_shown", "_row_workspace")
"""What a pickle leaves out: views, records (they may hold addresses of this process), and what
follows from the rest."""


class Model:
    """The description of a dense network, its parameters and the views of its layers."""

    inputs: int
    dense: tuple[Layer, ...]
    """All layers, also those that are not dense; of a `Residual`, the layers in it."""
    dtype: np.dtype[Any]
    outputs: int
    targets: int
    """How many columns y has; `outputs` for most losses."""
    loss_function: Loss
    _arrays: NetworkArrays
    """What kernels take. Only this package uses it, for dtypes and sizes must not change."""

    def __init__(
        self, inputs: Any, layers: Any, loss: Any, dtype: Any, rng: Any, params: Any = None
    ) -> None:
        """Check the description and take `params`; None allocates parameters without values."""
        self.inputs = checks.count("inputs", inputs)
        self.dense = checked_layers(layers, self.inputs)
        self.outputs = self.dense[-1].units
        self.loss_function = checked_loss(loss, self.dense[-1])
        self.targets = self.loss_function.target_count(self.outputs)
        self.dtype = checked_dtype(dtype)
        self.rng = rng
        records, size = layer_records(self.inputs, self.dense, self.dtype)
        losses = loss_records(self.loss_function, self.outputs, self.dtype)
        # Kept, for `predict` of one row would spend a seventh of its time on computing it.
        self._row_workspace = workspace_size(records, 1)
        if params is None:
            params = aligned_empty(size, self.dtype)
        elif params.shape != (size,) or params.dtype != self.dtype:
            raise ValueError(
                f"the network needs {size} parameters of {self.dtype}, but it was given "
                f"{params.shape} of {params.dtype}"
            )
        self._shown: Array = params.view()
        dense = records[records["kind"] == DENSE]
        W = [params[r["W_start"] : r["b_start"]].reshape(r["inputs"], -1) for r in dense]
        b = [params[r["b_start"] : r["b_start"] + r["units"]] for r in dense]
        self._weights, self._biases = Views("weights", W), Views("biases", b)
        self._arrays = NetworkArrays(records, losses, params)

    @classmethod
    def with_params(
        cls, inputs: int, layers: Any, loss: Any, dtype: Any, rng: Any, params: Array
    ) -> Self:
        """A network whose parameters are the array `params` itself; nothing is drawn."""
        network = cls.__new__(cls)
        Model.__init__(network, inputs, layers, loss, dtype, rng, params)
        return network

    # ---- the description

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_description(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_description(name)
        object.__delattr__(self, name)

    def _refuse_description(self, name: str) -> None:
        # Kernels rely on the description. Properties would protect it, but take longer to read.
        # Reading `__dict__` here would make all attributes of the object slower.
        if name in _DESCRIPTION and hasattr(self, "_arrays"):
            raise AttributeError(
                f"{name} describes the network and cannot be changed; make a new fp.Network"
            )

    @property
    def layers(self) -> Array:
        """The network as the kernels see it, one record per layer; read-only."""
        view: Array = self._arrays.layers.view()  # a user can assign shape and dtype of a view
        return view

    @property
    def objectives(self) -> Array:
        """The loss as the kernels see it, one record; read-only."""
        view: Array = self._arrays.loss_records.view()
        return view

    @property
    def rng(self) -> np.random.Generator:
        """The network's generator; assign a seed or a generator."""
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
            A seed or a generator; None takes the network's generator.

        Returns
        -------
        Network
            The network itself.
        """
        self.require_writable()
        source = self.rng if rng is None else checks.generator(rng)
        starts = starts_in_params(self.inputs, self.dense)
        for layer, start, stop in zip(self.dense, starts, starts[1:], strict=False):
            layer.draw(source, self.params[start:stop])
        return self

    @property
    def params(self) -> Array:
        """All parameters, flat: per layer W (inputs × units, row-major), then b.

        Writing into this array changes the network at once; assigning copies into it. If its
        flag `writeable` is cleared, training is refused.
        """
        shown, params = self._shown, self._arrays.params
        # Users get a view, and a new one once they have assigned to its shape or dtype: the
        # kernels' own array stays as it is.
        as_it_was = shown.shape == params.shape and shown.dtype == params.dtype
        if not (as_it_was and shown.strides == params.strides):
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
        """W of each layer, (inputs, units): views of `params`; assigning to one copies into it."""
        return self._weights

    @property
    def biases(self) -> Views:
        """b of each layer, (units,): views of `params`; assigning to one copies into it."""
        return self._biases

    @property
    def dense_layers(self) -> list[Dense]:
        """Those of the layers that are dense."""
        return [layer for layer in self.dense if isinstance(layer, Dense)]

    def layer_params(self, l: int, array: Array | None = None) -> Array:
        """The parameters of layer l, flat: a view.

        Parameters
        ----------
        l
            The place of the layer in `dense`; negative numbers count from the end.
        array
            An array that is laid out as `params`, such as a mask; the view is then one of this
            array.

        Examples
        --------
        >>> import numpy as np, flatprop as fp
        >>> net = fp.Network(2, [fp.Dense(8, "tanh"), fp.Dense(1)], rng=0)
        >>> factors = np.ones_like(net.params)
        >>> net.layer_params(0, factors)[:] = 0.1
        >>> history = net.fit(np.eye(2), [0, 1], learning_rate_factors=factors, epochs=2)
        """
        starts = starts_in_params(self.inputs, self.dense)
        l = range(len(self.dense))[l]
        return (self.params if array is None else array)[starts[l] : starts[l + 1]]

    def parameter_pairs(self, array: Array | None = None) -> list[tuple[Array, Array]]:
        """W and b of each dense layer, scale and shift of each other layer that has parameters.

        They are views of `array`, which is laid out as `params`; None takes `params`.
        """
        pairs, source = [], self.params if array is None else array
        starts = starts_in_params(self.inputs, self.dense)
        for record, start, stop in zip(self.layers, starts, starts[1:], strict=False):
            if stop > start:
                rows = source[start:stop].reshape(-1, record["units"])
                dense = record["kind"] == DENSE
                pairs.append((rows[:-1] if dense else rows[0], rows[-1]))
        return pairs

    def require_writable(self) -> None:
        """Raise if `params`, or one of the views `weights` and `biases`, is marked read-only."""
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
        # Version 0.1 wrote some names with an underscore, and two names that are dropped here.
        rest = {k: v for k, v in state.items() if k not in ("_outputs", "_row_workspace")}
        inputs, dense, loss, dtype, rng, params = (
            rest.pop(name) if name in rest else rest.pop(f"_{name}")
            for name in ("inputs", "dense", "loss_function", "dtype", "rng", "params")
        )
        for name, value in rest.items():
            setattr(self, name, value)
        # Checked like a new network. The parameters are copied: an unpickled array may be mapped
        # read-only from a file, or belong to somebody else.
        Model.__init__(self, inputs, dense, loss, dtype, rng, aligned_copy(np.asarray(params)))

    def __repr__(self) -> str:
        layers = chain(self.dense)
        return (
            f"{type(self).__name__}({self.inputs} -> {layers}; {self.loss_function.name}, "
            f"{self.dtype.name}, {self.params.size:,} parameter{'s' * (self.params.size != 1)})"
        )

    def summary(self) -> Summary:
        """A table of the layers, for printing."""
        return summary(self.dense, self.layers, self.loss_function, self.dtype)


def checked_dense(function: str, model: Model) -> None:
    """Raise if the network has other layers than dense ones, which `function` does not know."""
    for l, layer in enumerate(model.dense):
        if model.layers[l]["kind"] != DENSE:
            raise ValueError(
                f"{function} knows dense layers only, but layer {l + 1} of the network is "
                f"{layer.name}: {model!r}"
            )


def checked_model(function: str, given: object) -> Model:
    """`given`, if it is a network; else an error that names `function`, which was called."""
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
