"""One call of `Ensemble.fit`: its arguments, checked, and what they mean for each member."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import Schedule
from flatprop.many.member_samples import (
    MemberSamples,
    bootstrapped,
    member_samples,
    naming_member,
)
from flatprop.many.members import Members
from flatprop.many.shared_out import OneAtATime
from flatprop.samples.equation import checked_equations
from flatprop.training import seeds
from flatprop.training.callbacks import Checkpoint, checked_callbacks
from flatprop.training.choice import optimizer_or_solver
from flatprop.validation import checks, over_parameters


class EnsembleTask:
    """One call of `fit`: every argument as each member has it."""

    def __init__(
        self, ensemble: Members, X: Any, y: Any, sample_weight: Any, validation_data: Any
    ) -> None:
        if y is None:
            raise TypeError(
                "y is missing; an ensemble takes samples as arrays. Batches are for one network: "
                "ens[i].fit(batches)"
            )
        self.ensemble, self.members, self.model = ensemble, len(ensemble), ensemble[0]
        self.samples = member_samples(self.model, self.members, X, y, sample_weight)
        self.given = X
        self.validation: MemberSamples | None = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (
                2,
                3,
            ):
                raise TypeError("validation_data must be (X, y) or (X, y, sample_weight)")
            try:
                self.validation = member_samples(self.model, self.members, *validation_data)
            except (TypeError, ValueError) as error:
                raise type(error)(f"validation_data: {error}") from None

    def set_options(
        self,
        options: dict[str, Any],
        optimizer: Any,
        learning_rate: Any,
        epochs: Any,
        patience: Any,
        trainable: Any,
    ) -> None:
        """What `Network.fit` is given, for all members or for each."""
        self.options = options | {"epochs": checks.count("epochs", epochs)}
        if isinstance(optimizer, list | tuple):
            raise TypeError(
                "optimizer is the same for all members of an ensemble. For rates of their own "
                "pass learning_rate=[...], for optimizers of their own "
                "fp.fit_many(list(ens), X, y, optimizer=[...])."
            )
        self.optimizer = optimizer_or_solver(optimizer)
        one_for_all = learning_rate is not None and np.ndim(learning_rate) == 0
        if one_for_all and isinstance(self.optimizer, Optimizer):
            self.optimizer = replace(self.optimizer, learning_rate=learning_rate)
            learning_rate = None
        self.rates = self._of_members("learning_rate", learning_rate, (float, Schedule))
        self.optimizers = [self.optimizer] * self.members
        if isinstance(self.optimizer, Optimizer):
            for i, rate in enumerate(self.rates or ()):
                with naming_member(i):
                    self.optimizers[i] = replace(self.optimizer, learning_rate=rate)
        elif self.rates is not None:
            raise ValueError(f"{type(self.optimizer).__name__} has no learning_rate; leave it out")
        self.patience = self._of_members("patience", patience, (int, type(None)))
        for one in self.patience or ():
            if one is not None:
                checks.count("patience", one)
        self.trainable = trainable
        self.own_trainable = np.ndim(trainable) == 2
        if self.own_trainable and len(trainable) != self.members:
            raise ValueError(
                f"trainable has {len(trainable)} rows, but there are {self.members} members"
            )
        size = self.model.params.size
        for mask in trainable if self.own_trainable else [trainable]:
            over_parameters.trainable_ranges(mask, size)
        if options.get("equations") is not None and any(
            equation.unknowns for equation in checked_equations(options["equations"])
        ):
            raise ValueError(
                "the unknowns of equations would be shared by all members; train each with "
                "equations of its own, ens[i].fit(...) or fp.fit_many"
            )

    def _of_members(self, what: str, given: Any, kinds: tuple[type, ...]) -> list[Any] | None:
        """One value for each member; None if none is given."""
        if given is None:
            return None
        if np.ndim(given) == 0:
            return [given] * self.members
        each = list(given.tolist() if isinstance(given, np.ndarray) else given)
        if len(each) != self.members:
            raise ValueError(
                f"{what} must be one for all, or one for each of the {self.members} members, but "
                f"it has {len(each)}"
            )
        return each

    def set_more(self, derivatives: Any, callbacks: Any, progress: bool, threads: Any) -> None:
        """What says how the members are trained, and what is called meanwhile."""
        self.derivatives, self.own_derivatives = derivatives, np.ndim(derivatives) == 4
        self.callbacks = checked_callbacks(callbacks)
        if any(isinstance(callback, Checkpoint) for callback in self.callbacks):
            raise ValueError(
                "fp.Checkpoint writes the training of one network, and each member would replace "
                "the file of the one before; write ens.save(path) after fit"
            )
        lock = threading.Lock()
        self.called = tuple(OneAtATime(callback, lock) for callback in self.callbacks)
        self.progress, self.threads = progress, threads

    def set_rng(self, rng: Any, bootstrap: bool) -> None:
        """The order of the samples, and which are drawn by a bootstrap."""
        self.source = None if rng is None else checks.generator(rng)
        if not bootstrap:
            return
        if self.options.get("validation_split") is not None:
            raise ValueError(
                "with bootstrap the same sample could be in both parts of a validation_split; "
                "pass validation_data"
            )
        if not isinstance(self.samples.x, np.ndarray):
            raise ValueError("bootstrap needs all samples in memory")
        self.samples = bootstrapped(self.samples, enumerate(self._next_seeds()))

    def _next_seeds(self) -> Iterator[int]:
        """What `seeds.drawn` will draw for each member."""
        for generator in self.ensemble.generators:
            yield seeds.next_drawn(self.source or generator)
