"""Networks of one architecture whose parameters are the rows of one array.

Training, prediction and files are functions over `Members`. `flatprop.Ensemble` has them as
methods.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from flatprop.kernels.network.records import DENSE
from flatprop.many.ensemble_history import place_of
from flatprop.model.layers import Summary, chain, starts_in_params
from flatprop.network import Network
from flatprop.validation import checks
from flatprop.validation.arrays import Array, Views, aligned_copy, aligned_empty


class Members:
    """The members, their parameters and the views of their layers."""

    def __init__(
        self, inputs: Any, layers: Any, loss: Any, dtype: Any, rng: Any, members: Any
    ) -> None:
        members = checks.count("members", members)
        described = Network(inputs, layers, loss, dtype, rng=0)
        generators = checks.generator(rng).spawn(members)
        params = aligned_empty(members * described.params.size, described.dtype)
        self._take(described, params.reshape(members, -1), generators)
        self.reset()

    def _take(
        self, described: Network, params: Array, generators: list[np.random.Generator]
    ) -> None:
        """The members whose parameters are the rows of `params`; nothing is drawn."""
        self._description = (
            described.inputs,
            described.dense,
            described.loss_function,
            described.dtype,
        )
        self._params, self._generators = params, generators
        self._networks: list[Network | None] = [None] * len(params)
        self._shown = params.view()

    @classmethod
    def with_params(
        cls, described: Network, params: Array, generators: list[np.random.Generator]
    ) -> Self:
        """An ensemble of networks like `described`, whose parameters are the array `params`."""
        ensemble = cls.__new__(cls)
        ensemble._take(described, params, generators)
        return ensemble

    # ---- the members

    def __len__(self) -> int:
        return len(self._params)

    @overload
    def __getitem__(self, i: int) -> Network: ...

    @overload
    def __getitem__(self, i: slice) -> list[Network]: ...

    def __getitem__(self, i: int | slice) -> Network | list[Network]:
        if isinstance(i, slice):
            return [self._network(place) for place in range(len(self))[i]]
        return self._network(place_of(i, len(self)))

    def _network(self, i: int) -> Network:
        found = self._networks[i]
        if found is None:
            generator, params = self._generators[i], self._params[i]
            found = Network.with_params(*self._description, generator, params)
            self._networks[i] = found
        return found

    def __iter__(self) -> Iterator[Network]:
        return (self._network(i) for i in range(len(self)))

    # ---- what they have in common

    inputs = property(lambda self: self[0].inputs, doc="The number of input features.")
    outputs = property(lambda self: self[0].outputs, doc="The units of the last layer.")
    targets = property(lambda self: self[0].targets, doc="The columns of y.")
    dtype = property(lambda self: self[0].dtype, doc="Of the parameters and all arithmetic.")
    layers = property(lambda self: self[0].layers, doc="One record per layer, for kernels.")
    objectives = property(lambda self: self[0].objectives, doc="The record of the loss.")
    dense = property(lambda self: self[0].dense, doc="The layers as they were given.")
    loss_function = property(lambda self: self[0].loss_function, doc="The loss.")

    # ---- parameters

    @property
    def params(self) -> Array:
        """(members, parameters): row i holds those of ``ens[i]``; assigning copies into it."""
        shown, params = self._shown, self._params
        if shown.shape != params.shape or shown.dtype != params.dtype:
            shown = self._shown = params.view()
        return shown

    @params.setter
    def params(self, value: ArrayLike) -> None:
        array = checks.numbers("params", value, self.dtype)
        if array.shape not in (self._params.shape, self._params.shape[1:]):
            raise ValueError(
                f"params must have shape {self._params.shape}, or {self._params.shape[1:]} for "
                f"the same in all members, but it has {array.shape}"
            )
        self._params[:] = array

    @property
    def weights(self) -> Views:
        """W of each dense layer, (members, inputs, units): views of `params`."""
        return Views("weights", [W for W, _ in self._parts()])

    @property
    def biases(self) -> Views:
        """b of each dense layer, (members, units): views of `params`."""
        return Views("biases", [b for _, b in self._parts()])

    def _parts(self) -> Iterator[tuple[Array, Array]]:
        for record in self.layers:
            if record["kind"] == DENSE:
                start, middle, units = (int(record[n]) for n in ("W_start", "b_start", "units"))
                W = self._params[:, start:middle].reshape(len(self), -1, units)
                yield W, self._params[:, middle : middle + units]

    def reset(self, rng: int | np.random.Generator | None = None) -> Self:
        """Draw new initial weights for all members and set the biases to 0.

        Parameters
        ----------
        rng
            A seed or a generator, from which each member gets a new generator of its own, as when
            an ensemble is made; None goes on with the generators of the members.

        Returns
        -------
        Ensemble
            The ensemble itself.
        """
        checks.writable("ens.params", self.params)
        if rng is not None:
            self._generators = checks.generator(rng).spawn(len(self))
            for network, generator in zip(self._networks, self._generators, strict=True):
                if network is not None:
                    network.rng = generator
        inputs, dense = self._description[:2]
        starts = starts_in_params(inputs, dense)
        for params, generator in zip(self._params, self.generators, strict=True):
            for layer, start, stop in zip(dense, starts, starts[1:], strict=False):
                layer.draw(generator, params[start:stop])
        return self

    @property
    def generators(self) -> list[np.random.Generator]:
        """The generators of the members; ``ens[i].rng`` is one of them."""
        pairs = zip(self._networks, self._generators, strict=True)
        return [own if network is None else network.rng for network, own in pairs]

    # ---- as a Python object

    def copy(self) -> Self:
        """An independent ensemble with the same parameters and random states."""
        return deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "description": self._description,
            "params": self._params,
            "generators": self.generators,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        inputs, dense, loss, dtype = state["description"]
        # Checked like a new network; the parameters may be mapped read-only from a file.
        described = Network(inputs, dense, loss, dtype, rng=0)
        params = aligned_copy(np.asarray(state["params"], described.dtype))
        if params.ndim != 2 or params.shape[1] != described.params.size:
            raise ValueError(f"these are no parameters of {described!r}: {params.shape}")
        self._take(described, params, list(state["generators"]))

    def __repr__(self) -> str:
        size = self._params.shape[1]
        return (
            f"{type(self).__name__}({len(self):,} x {self.inputs} -> {chain(self.dense)}; "
            f"{self.loss_function.name}, {self.dtype.name}, {size:,} "
            f"parameter{'s' * (size != 1)} each)"
        )

    def summary(self) -> Summary:
        """A table of the layers of each member, for printing."""
        return Summary(f"{self[0].summary()}\n{len(self):,} members")
