"""`Trainer`: one optimizer for samples that come a part at a time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import crew
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import as_schedule, check_rate
from flatprop.kernels.network import training_loop as loop
from flatprop.kernels.network.records import DROPOUT
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.samples.samples import Samples, samples_of
from flatprop.training import divergence
from flatprop.training.choice import optimizer_only
from flatprop.training.optimizer_words import optimizer_words
from flatprop.training.snapshot import Snapshot
from flatprop.training.stepper import Stepper
from flatprop.validation import checks, other_names, over_parameters
from flatprop.validation.alerts import DivergenceWarning, warn


class Trainer(metaclass=other_names.Answering, answers=other_names.TRAINER_ATTRIBUTES):
    """Trains a network on data as they come.

    `Network.fit` begins with a new optimizer every time. A Trainer has one optimizer for all
    the data that it is given: momentum, Adam's moments and the count of updates go on from
    one part of a stream to the next.

    Parameters
    ----------
    network
        Trained in place.
    optimizer
        As for `Network.fit`, but no solver. A schedule only gives the first learning rate:
        assign `learning_rate` to change it.
    trainable, clip_norm, learning_rate_factors
        As for `Network.fit`.
    ema
        As for `Network.fit`, but the network keeps the parameters that are trained; `average`
        has their moving average.
    penalty
        α: each batch's loss has the term α/2 Σ W² / Σ wᵢ. Σ W² is over all weights, without
        the biases; the wᵢ are the sample weights, or 1 without sample weights. With a loss
        that is a sum, the term is not divided by Σ wᵢ. This is scikit-learn's ``alpha``.
    rng, threads
        As for `Network.fit`.

    Attributes
    ----------
    rng : numpy.random.Generator
        It draws the order of the samples.

    Raises
    ------
    TypeError, ValueError
        If a setting is not possible.

    Examples
    --------
    >>> import numpy as np, flatprop as fp
    >>> net = fp.Network(1, [fp.Dense(8, "tanh"), fp.Dense(1)], rng=0)
    >>> trainer = fp.Trainer(net, fp.SGD(0.1, momentum=0.9))
    >>> for x in np.random.default_rng(0).uniform(-1, 1, (100, 32, 1)):
    ...     loss = trainer.partial_fit(x, x**2)
    """

    mask_seed: Any = None
    """uint64: what the masks of dropout are drawn with; None before the first update."""
    _threads: int | None = None
    """As it was asked for; a pickle of version 0.1 has none."""

    @other_names.suggests(other_names.TRAINER, optimizer_words)
    def __init__(
        self,
        network: Model,
        optimizer: str | Optimizer = "adam",
        *,
        trainable: ArrayLike | None = None,
        clip_norm: float | None = None,
        learning_rate_factors: ArrayLike | None = None,
        ema: float | None = None,
        penalty: float = 0.0,
        rng: int | np.random.Generator | None = None,
        threads: int | None = None,
    ) -> None:
        network.require_writable()
        self._threads = crew.check_threads(threads)
        self._network = network
        self._optimizer = optimizer_only(optimizer)
        self._rng = network.rng if rng is None else checks.generator(rng)
        self._rate = float(as_schedule(self.optimizer.learning_rate).rates(1)[0])
        size = network.params.size
        factors = over_parameters.rate_factors(learning_rate_factors, size, network.dtype)
        self._stepper = Stepper(
            network,
            self.optimizer,
            self._rate,
            over_parameters.trainable_ranges(trainable, size, factors),
            None if clip_norm is None else checks.positive("clip_norm", clip_norm),
            checks.positive("penalty", penalty, or_zero=True),
            factors,
            None if ema is None else checks.fraction("ema", ema),
        )
        self._progress = loop.progress(np.zeros(1))
        self._seed = np.uint64(0)
        self._watch = divergence.FrozenWatch()

    @property
    def network(self) -> Any:  # a Network, which this floor does not know
        """The network that is trained."""
        return self._network

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer as it was given; `learning_rate` may have been changed since."""
        return self._optimizer

    @property
    def rng(self) -> np.random.Generator:
        """It draws the order of the samples; assign a seed or a generator."""
        return self._rng

    @rng.setter
    def rng(self, value: int | np.random.Generator | None) -> None:
        self._rng = checks.generator(value)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update; assign to change it."""
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        check_rate(value)
        self._rate = float(value)

    @property
    def penalty(self) -> float:
        """α, the factor of the term with Σ W²; assign to change it."""
        return self._stepper.rule.penalty

    @penalty.setter
    def penalty(self, value: float) -> None:
        self._stepper.penalise(checks.positive("penalty", value, or_zero=True))

    def release(self) -> None:
        """Let go of the last samples and of all scratch; the next call makes new scratch."""
        self._stepper.release()

    @property
    def data_at_hand(self) -> Any:
        """The samples of the last part; None before the first and after `release`."""
        return getattr(self._stepper, "data", None)

    @property
    def updates(self) -> int:
        """How many updates there were; assign it with `state`, and `average`, to restore them."""
        return int(self._progress.cursor[loop.UPDATES])

    @updates.setter
    def updates(self, value: int) -> None:
        self._progress.cursor[loop.UPDATES] = checks.count("updates", value, least=0)

    @property
    def state(self) -> Any:
        """(slots, parameters): the optimizer's state, writable."""
        state: Any = self._stepper.rule.state
        return state.view()

    @property
    def average(self) -> Any:
        """(parameters,): with `ema`, the moving average of the parameters, writable; else None."""
        average: Any = self._stepper.averages
        return average.view() if average.size else None

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = state.copy()
        # Version 0.1 wrote these names without the underscore.
        for name in ("network", "optimizer", "rng"):
            if name in state:
                state[f"_{name}"] = state.pop(name)
        if "_updates" in state:
            state["_stepper"] = state.pop("_updates")
        before = state.pop("_progress")
        self._watch = divergence.FrozenWatch()  # which version 0.1 did not have
        self.__dict__.update(state)
        self._progress = loop.progress(np.zeros(1))
        self.updates = int(before.cursor[loop.UPDATES])

    @other_names.suggests(other_names.PARTIAL_FIT)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        batch_size: int | None = None,
        shuffle: bool = False,
    ) -> float:
        """Go through these samples once.

        Parameters
        ----------
        X, y, sample_weight
            As for `Network.loss`.
        batch_size
            Samples per update; None for one update with all samples, which are then taken
            into memory.
        shuffle
            Whether mini-batches are drawn in a random order.

        Returns
        -------
        float
            The mean of the batches' losses, each with its penalty and before its update. A
            batch counts with its Σ w; if the loss is a sum, all batches count alike. NaN or
            infinite if the training has diverged: the network then has the last parameters
            that are known to be finite.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit the network or each other.
        RuntimeError
            If another call is at work, in another thread or further up in this thread.
        """
        whole = batch_size is None
        if batch_size is not None:
            batch_size = checks.count("batch_size", batch_size)
        samples = samples_of(self.network, X, y, sample_weight, whole=whole)
        # One update with all samples has nothing to shuffle and draws no random number.
        loss = self.go_through(samples, batch_size, shuffle and not whole)
        if math.isfinite(loss) and (frozen := self.frozen()):
            warn(frozen, DivergenceWarning)
        return loss

    def frozen(self) -> str:
        """What to say if the optimizer's state has overflowed; "" otherwise.

        An overflow is told once. The first call looks at the state, later calls only as often
        as takes next to no time.
        """
        rule = self._stepper.rule
        return self._watch.message(self.network, self.optimizer, rule.state, rule.clip_norm)

    def go_through(
        self,
        data: Samples,
        batch_size: int | None = None,
        shuffle: bool = False,
        safe: Snapshot | None = None,
        *,
        by_rows: bool = False,
    ) -> float:
        """`partial_fit` for samples that are checked already, without its warning.

        `safe` has the parameters that come back after a divergence; None keeps those that the
        network has when this call begins. With `by_rows` a batch counts in the mean with its
        rows instead of its Σ w, as in scikit-learn.
        """
        self.network.require_writable()
        with self._stepper.alone(None):
            params, progress = self.network._arrays.params, self._progress
            parts = data.parts(batch_size, self.rng if shuffle else None)
            safe = safe or Snapshot(params, self.average)
            progress.sums[:] = 0.0
            finite = False
            try:
                finite = all(
                    self._train_on(part, batch_size, shuffle, safe, by_rows) for part in parts
                )
            finally:
                fell_back = safe.fall_back(params)
            return float(progress.losses[0]) if finite and not fell_back else math.nan

    def epochs(
        self,
        data: Data,
        first: int,
        stop: int,
        batch_size: int,
        shuffle: bool,
        *,
        by_rows: bool = False,
    ) -> Iterator[float]:
        """Train from epoch `first` to `stop`, without Python between them; yields their losses.

        The result does not depend on how a training is divided into calls. If the loss or the
        parameters are no longer finite, the last loss is NaN.
        """
        self.network.require_writable()
        params, stepper = self.network._arrays.params, self._stepper
        progress = self._progress._replace(losses=np.zeros(stop))
        with stepper.alone(None):
            turn = stepper.begin_turn()
            progress.sums[:] = 0.0
            if first == 0:
                self._seed = self._drawn()
            plan = self._plan(data, batch_size, shuffle, by_rows, first)
            safe = Snapshot(params, self.average)
        done, status = first, loop.RUNNING
        while status == loop.RUNNING:
            crew.end_if_asked()
            with stepper.alone(turn):
                try:
                    with crew.using(self._threads):
                        status = stepper.advance(plan, progress, safe)
                finally:
                    fell_back = safe.fall_back(params)
            before, done = done, int(progress.cursor[loop.EPOCH])
            yield from progress.losses[before:done].tolist()
            if status == loop.DIVERGED or fell_back:
                yield math.nan
                return

    def _train_on(
        self, data: Data, batch_size: int | None, shuffle: bool, safe: Snapshot, by_rows: bool
    ) -> bool:
        """Go once through these samples; False if something was seen not to be finite."""
        if shuffle:
            self._seed = self._drawn()
        plan = self._plan(data, batch_size, shuffle, by_rows)
        status = loop.RUNNING
        while status == loop.RUNNING:
            crew.end_if_asked()
            with crew.using(self._threads):
                status = self._stepper.advance(plan, self._progress, safe)
        return status != loop.DIVERGED

    def _plan(
        self, data: Data, batch_size: int | None, shuffle: bool, by_rows: bool, epoch: int = 0
    ) -> loop.Plan:
        """Make ready for these samples; returns the plan for the compiled loop."""
        self._stepper.take(data, batch_size, shuffle)
        cursor = self._progress.cursor
        cursor[loop.EPOCH], cursor[loop.ROW] = epoch, 0
        size = self._stepper.batch_size
        if self.mask_seed is None:
            drops = (self.network.layers["kind"] == DROPOUT).any()
            self.mask_seed = self._drawn() if drops else np.uint64(0)
        rates = np.array([self._rate])
        return loop.Plan(rates, size, self._seed, -1.0, False, 0, 0, by_rows, self.mask_seed)

    def _drawn(self) -> np.uint64:
        return self.rng.integers(0, 2**64, dtype=np.uint64)
