"""`Ensemble.fit`: its arguments, and which way of training them the members are given to."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import crew
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import Schedule
from flatprop.many import one_by_one, side_by_side
from flatprop.many.ensemble_history import EnsembleHistory
from flatprop.many.ensemble_task import EnsembleTask
from flatprop.many.members import Members
from flatprop.solvers import Solver
from flatprop.training import fit as training
from flatprop.training.optimizer_words import optimizer_words
from flatprop.validation import checks, other_names

Rate = float | Schedule
PASSED_ON = frozenset(training.OPTIONS) - {"resume", "communicator"}
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
        `class_weight`, `validation_split` and `metrics`; not `resume` and `communicator`.

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
    if side_by_side.suits(task):
        from flatprop.many import lane_run  # few programs need it

        history = lane_run.train(task)
    else:
        history = one_by_one.train(task)
    if task.samples.rows is not None:
        history.bootstrap_rows = task.samples.rows
    history.seconds = time.perf_counter() - began
    return history
