"""`Ensemble.fit`: what its arguments mean for each member, and how the members are trained."""

import threading
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import crew
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import Schedule
from flatprop.many.ensemble_history import EnsembleHistory
from flatprop.many.member_samples import (
    MemberSamples,
    bootstrapped,
    member_samples,
    naming_member,
)
from flatprop.many.members import Members
from flatprop.many.shared_out import OneAtATime, train_each, warn_together
from flatprop.samples.equation import checked_equations
from flatprop.solvers import Solver
from flatprop.training import fit as training
from flatprop.training import seeds
from flatprop.training.callbacks import Checkpoint, checked_callbacks
from flatprop.training.choice import optimizer_or_solver
from flatprop.training.history import History
from flatprop.training.optimizer_words import optimizer_words
from flatprop.validation import checks, other_names

Rate = float | Schedule
PASSED_ON = frozenset(training.OPTIONS) - {"resume"}
"""The options of `Network.fit`: those that `fit` does not name mean the same for every member."""


@other_names.suggests(other_names.FIT, optimizer_words, also=PASSED_ON)
def fit(
    ensemble: Members,
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: str | Optimizer | Solver = "adam",
    learning_rate: Rate | Sequence[Rate] | ArrayLike | None = None,
    epochs: int = 100,
    sample_weight: ArrayLike | None = None,
    bootstrap: bool = False,
    validation_data: tuple[Any, ...] | None = None,
    derivatives: ArrayLike | None = None,
    trainable: ArrayLike | None = None,
    patience: int | Sequence[int | None] | None = None,
    callbacks: Any = (),
    progress: bool = False,
    rng: int | np.random.Generator | None = None,
    threads: int | None = None,
    **options: Any,
) -> EnsembleHistory:
    """Train all members in place.

    The training of a member is, up to rounding, the one of ``ens[i].fit`` with the same options.

    Parameters
    ----------
    X, y, sample_weight
        As for `Network.fit`, for all members: (n, inputs), (n, targets) or (n,), and (n,). Each
        may instead have a first axis of members, as (members, n, inputs) has, with samples for
        each member.
    optimizer, epochs
        As for `Network.fit`.
    learning_rate
        Takes the place of the optimizer's: a number or a schedule, or one for each member.
    bootstrap
        Whether each member is trained on n samples that are drawn with replacement from the n
        samples (Breiman 1996). `EnsembleHistory.bootstrap_rows` says which they are.
    validation_data
        (X, y) or (X, y, sample_weight), each for all members or with a first axis of members.
    derivatives
        As for `Network.fit`; or (members, n, outputs, inputs).
    trainable
        A boolean mask over the parameters of a network; or (members, parameters).
    patience
        As for `Network.fit`; or one for each member. A member that has stopped takes no more time.
    callbacks
        Functions that are called after each epoch of each member with its `fp.Epoch`, one at a
        time, from several threads. ``epoch.network`` is ``ens[i]``. A function that returns True
        stops that member.
    progress
        Whether to show a progress bar of the members.
    rng
        Decides the order of the samples, as it does for ``ens[i].fit``. None takes the generator
        of each member. From a seed follows one order for all members, and so from a generator,
        which moves on once: for each member it counts as it was.
        The rows of a bootstrap differ between members in any case.
    threads
        How many threads take one member, or one block of members, after the other; None as many
        as this process has processors. Results are the same bit for bit whatever it is.
    **options
        All other options of `Network.fit`, such as `batch_size`, `shuffle`, `tol`, `clip_norm`,
        `class_weight`, `validation_split` and `metrics`; not `resume`.

    Returns
    -------
    EnsembleHistory
        The loss of each epoch and member, and which rule ended the training of each.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the ensemble is then unchanged.

    Warns
    -----
    DivergenceWarning
        If the loss of members became NaN or infinite. Each of them has the last parameters that
        are known to be finite. The other members are not concerned.
    ResolutionWarning
        As by `Network.fit`.

    Notes
    -----
    Tiny networks are trained side by side, a member in each lane of the processor's registers.
    All others take the kernels of `Network.fit`, one member after the other. Which is faster is
    decided by their size. Ctrl-C stops all members within a fraction of a second and returns the
    history so far.
    """
    began = time.perf_counter()
    checks.writable("ens.params", ensemble.params)
    crew.check_threads(threads)
    task = EnsembleTask(ensemble, X, y, sample_weight, validation_data)
    task.set_options(options, optimizer, learning_rate, epochs, patience, trainable)
    task.set_more(derivatives, callbacks, bool(progress), threads)
    task.set_rng(rng, bootstrap)
    history = task.run()
    history.seconds = time.perf_counter() - began
    return history


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
        self.optimizer = optimizer_or_solver(optimizer)
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
            checks.trainable_ranges(mask, size)
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

    # ---- how

    def run(self) -> EnsembleHistory:
        """Train."""
        return self._one_by_one()

    def _one_by_one(self) -> EnsembleHistory:
        """Train each member by `Network.fit`."""
        began = time.perf_counter()
        trainings = [partial(self._train, i) for i in range(self.members)]
        results, warned = train_each(trainings, self.threads, self.progress, "member")
        errors = [error for error in results if isinstance(error, Exception)]
        if self.source is not None:
            seeds.drawn(self.source)
        if errors:
            raise errors[0]
        histories = [history for history in results if isinstance(history, History)]
        warn_together(warned, "member")
        history = EnsembleHistory.of(histories, time.perf_counter() - began)
        if self.samples.rows is not None:
            history.bootstrap_rows = self.samples.rows
        return history

    def _train(self, i: int) -> History:
        X, y, weight = self.samples.of(i)
        each = self.options | {"optimizer": self.optimizers[i], "callbacks": self.called}
        if self.validation is not None:
            data = self.validation.of(i)
            each["validation_data"] = data[: 2 if data[2] is None else 3]
        if self.patience is not None:
            each["patience"] = self.patience[i]
        if self.derivatives is not None:
            each["derivatives"] = self.derivatives[i] if self.own_derivatives else self.derivatives
        each["trainable"] = self.trainable[i] if self.own_trainable else self.trainable
        rng = None if self.source is None else deepcopy(self.source)
        with naming_member(i):
            return training.fit(self.ensemble[i], X, y, sample_weight=weight, rng=rng, **each)
