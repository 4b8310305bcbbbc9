"""An estimator's network, of which `coefs_` and `intercepts_` are views."""

import inspect
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from flatprop.model.dense_layer import Dense
from flatprop.model.layers import checked_loss
from flatprop.network import Network
from flatprop.sklearn import settings
from flatprop.validation.arrays import Array


class Fitted(BaseEstimator, ABC):
    """Keeps network and attributes together, also through pickling and replaced weights."""

    coefs_: list[Array]
    intercepts_: list[Array]
    n_outputs_: int
    n_layers_: int
    out_activation_: str
    _network: Network

    @abstractmethod
    def _last_layer(self, units: int) -> tuple[Dense, Any]:
        """The output layer and the loss."""

    @property
    def network_(self) -> Network:
        """The fitted `fp.Network`: to save, export, embed or draw; shares its parameters."""
        check_is_fitted(self, "coefs_")
        return self._current()

    def _new_network(self, inputs: int, units: int, dtype: Any, random: Any) -> None:
        """Begin with a new network, as the parameters describe it, and initial weights."""
        layers, loss = self._description(units)
        net = Network(inputs, layers, loss, dtype, 0)
        drawn = settings.initial_weights(layers, inputs, random)
        if None in drawn:
            net.reset(random.randint(2**31))
        for number, values in enumerate(drawn):
            if values is not None:
                net.weights[number], net.biases[number] = values
        last = layers[-1]
        self.n_outputs_ = last.units
        self.n_layers_ = len(layers) + 1
        self.out_activation_ = "logistic" if last.name == "sigmoid" else last.name
        self._attach(net)

    def _check_unchanged(self, units: int) -> None:
        """Raise unless the parameters still describe the network that there is."""
        net: Network | None = self.__dict__.get("_network")
        if net is None:  # somebody has set `coefs_` on an estimator without one
            return
        layers, loss = self._description(units)
        if tuple(layers) != net.dense or checked_loss(loss, layers[-1]) != net.loss_function:
            raise ValueError(
                "hidden_layer_sizes, activation, loss or the targets now ask for another network "
                f"than the fitted {net!r}; to begin anew call fit with warm_start=False"
            )

    def _description(self, units: int) -> tuple[list[Dense], Any]:
        last, loss = self._last_layer(units)
        return [*settings.hidden_layers(self), last], loss

    def _attach(self, net: Network) -> None:
        self._network = net
        self.coefs_ = list(net.weights)
        self.intercepts_ = list(net.biases)

    def _current(self) -> Network:
        """The network with the weights that `coefs_` and `intercepts_` have now."""
        net: Network | None = self.__dict__.get("_network")
        if net is not None and self._attached(net):
            return net
        coefs, intercepts = self.coefs_, self.intercepts_
        if net is None:
            layers, loss = self._description(self.n_outputs_)
            dtype = np.float32 if np.asarray(coefs[0]).dtype == np.float32 else np.float64
            net = Network(len(coefs[0]), layers, loss, dtype, 0)
        else:
            net = net.copy()  # a shallow copy of the estimator may have the other
        if not len(coefs) == len(intercepts) == len(net.dense):
            raise ValueError(
                f"coefs_ has {len(coefs)} and intercepts_ {len(intercepts)} arrays, but the "
                f"network has {len(net.dense)} layers"
            )
        for number, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            net.weights[number], net.biases[number] = W, b
        self._attach(net)
        return net

    def _attached(self, net: Network) -> bool:
        """Whether `coefs_` and `intercepts_` are views of this network, as they were made."""
        pairs = (self.coefs_, net.weights), (self.intercepts_, net.biases)
        return all(
            len(given) == len(views) and all(a is b for a, b in zip(given, views, strict=True))
            for given, views in pairs
        )

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        net = state.get("_network")
        if net is not None and self._attached(net):
            del state["coefs_"], state["intercepts_"]  # views, made again
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for parameter in inspect.signature(type(self)).parameters.values():
            # What was pickled by a version that did not have this parameter yet.
            self.__dict__.setdefault(parameter.name, parameter.default)
        if "_network" in state and "coefs_" not in state:
            self._attach(state["_network"])
