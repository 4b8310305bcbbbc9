"""Training on the rows of all ranks of a communicator, each of which calls `fit` with its own.

The compiled loop adds up gradients and losses. Here is what happens around it.
"""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from flatprop.evaluation.values import sum_over
from flatprop.formulas.optimizer import Optimizer
from flatprop.model.model import Model
from flatprop.samples.class_weights import BALANCED
from flatprop.samples.in_memory import Data
from flatprop.samples.samples import Samples, total_weight
from flatprop.solvers import Solver
from flatprop.training import seeds
from flatprop.training.batches_of_ranks import RankStepper
from flatprop.training.callbacks import Epoch
from flatprop.training.history import History
from flatprop.training.in_memory_run import InMemoryRun
from flatprop.training.metrics import Metric, Metrics
from flatprop.training.ranks import Ranks
from flatprop.validation.arrays import Array


class RankedMetrics(Metrics):
    """Metrics of the samples of all ranks, which rank 0 computes."""

    def __init__(self, ranks: Ranks, *given: Any) -> None:
        super().__init__(*given)
        self._ranks = ranks
        self._y_of_all: Array | None = None

    def _targets_and_outputs(self) -> tuple[Array, Array]:
        y, outputs = self._ranks.agreed(super()._targets_and_outputs)
        if self._y_of_all is None:
            gathered = self._ranks.on_first(y)
            self._y_of_all = y if gathered is None else gathered
        of_all = self._ranks.on_first(outputs)
        return self._y_of_all, outputs if of_all is None else of_all

    def _values(self, epoch: int, y: Array, outputs: Array) -> dict[str, float]:
        of_all = super()._values
        return self._ranks.from_first(lambda: of_all(epoch, y, outputs))


class RankedRun(InMemoryRun):
    """One call of `fit` with an `Optimizer` and a communicator.

    The constructor checks what concerns this process alone, and must not wait for others: they may
    have raised. `run` begins by comparing what all ranks were given.
    """

    ends_need_python = True  # losses are added up over the ranks

    def __init__(
        self, network: Model, samples: Data, optimizer: Optimizer, *, ranks: Ranks, **given: Any
    ) -> None:
        self.ranks = ranks
        self.writes = ranks.is_first
        self.rows = [samples.rows]
        """How many samples each rank has, once they have told each other."""
        super().__init__(network, samples, optimizer, **given)

    def _new_metrics(self, functions: Mapping[str, Metric] | None, samples: Samples) -> Metrics:
        return RankedMetrics(self.ranks, self.network, functions, samples)

    def _new_stepper(self) -> Any:
        return self._stepper_of(RankStepper, self.network)

    def _begin(self) -> None:
        super()._begin()
        cursor = np.zeros(4, np.int64)
        self.kernel_progress = self.kernel_progress._replace(cursor=cursor)
        self.cursor = cursor

    def _start(self, source: np.random.Generator, resume: str | PathLike[str] | None) -> None:
        self.seed = 0 if resume is not None else seeds.drawn(source)
        self._resume = resume

    # ---- the run

    def run(self) -> History:
        self._meet()
        with self.ranks.listening():
            history = super().run()
        if self.ranks.asked[0] and history.stopped_by != "interrupted":
            raise KeyboardInterrupt  # which came too late for the loop
        return history

    def _meet(self) -> None:
        """Compare what the ranks were given, and begin with the parameters and seed of rank 0."""
        ranks, data = self.ranks, self.samples
        told = ranks.gathered(
            lambda: (self._described(), data.rows, data.weight.size > 0, self._attention())
        )
        described, rows, weighted, attention = map(list, zip(*told, strict=True))
        ranks.agreed(lambda: _check_alike(described))
        self.rows = rows
        self.called_back, self.each_epoch = (any(each) for each in zip(*attention, strict=True))
        size = sum(rows) if self.batch_size is None else min(self.batch_size, sum(rows))
        self.stepper.share(data, rows, size, self.shuffle, any(weighted), ranks)
        ranks.take_from_first(self.params)
        self.seed = ranks.from_first(lambda: self.seed)
        if self._resume is not None:
            path = self._resume
            self._restore(ranks.from_first(lambda: self._state_in(path)))
        self.safe = self._snapshot()

    def _described(self) -> dict[str, Any]:
        """What has to be alike on all ranks, by name."""
        network = self.network
        description = {
            "a network": f"{network.inputs} inputs, {list(network.dense)}",
            "the loss": repr(network.loss_function),
            "dtype": str(network.dtype),
        }
        settings = self.settings() | {"rows": None, "rows_of_ranks": None}
        return {
            **description,
            **settings,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "tol": self.tol,
            "patience": self.patience,
            "resume": self._resume is not None,
        }

    def _attention(self) -> tuple[bool, bool]:
        return self.called_back, self.each_epoch

    def _already_stopped_by(self) -> str:
        rules = self.ranks.gathered(super()._already_stopped_by)  # callbacks may differ
        return next(filter(None, rules), "")

    def _loop(self) -> str:
        # Before anything else on the way out could wait for the others.
        with self.ranks.ending_all():
            return super()._loop()

    def _conclude(self) -> None:
        super()._conclude()
        # After a divergence each rank falls back on its own last finite parameters. And ranks on
        # different kinds of processors may differ by rounding.
        for array in (self.params, self.raw_params, self.best_params):
            if array is not None:
                self.ranks.take_from_first(array)

    def _warn(self, alarm: str) -> None:
        warn_once = super()._warn
        self.ranks.agreed(lambda: warn_once(alarm) if self.ranks.is_first else None)

    def _interruption(self) -> BaseException:
        return self.ranks.agreed_on(KeyboardInterrupt())

    def _divergence_message(self) -> str:
        told = self.ranks.gathered(super()._divergence_message)
        by_message = {message: rank for rank, message in reversed(list(enumerate(told)))}
        if len(by_message) == 1:
            return told[0]
        first = sorted((rank, message) for message, rank in by_message.items())[:3]
        return "\n".join(f"Rank {rank}: {message}" for rank, message in first)

    # ---- after each epoch

    def _validation_loss(self) -> float:
        assert self.validation is not None
        samples, block = self.validation
        network = self.network
        total, weight = self.ranks.added(
            lambda: [sum_over(network, samples, block), total_weight(samples)]
        )
        return total * float(network.loss_function.scale(network.outputs, weight))

    def _stoppers(self, report: Epoch) -> list[str]:
        call, before = super()._stoppers, self.params.copy()

        def called() -> tuple[list[str], bool]:
            stoppers = call(report)
            self.network.require_writable()
            return stoppers, not np.array_equal(before, self.params, equal_nan=True)

        told = self.ranks.gathered(called)
        if any(changed for _, changed in told):
            self.ranks.take_from_first(self.params)
        return [name for names, _ in told for name in names]

    def _write_again(self, stoppers: list[str]) -> None:
        write = super()._write_again
        self.ranks.agreed(lambda: write(stoppers))

    # ---- what depends on where the samples are

    @property
    def _order_seed(self) -> int:
        return seeds.of_rank(self.seed, self.ranks.rank)

    @property
    def _full_batch(self) -> bool:
        return bool(self.stepper.batches == 1)

    def _settings_of_samples(self) -> dict[str, Any]:
        rows = sum(self.rows)
        return {
            "batch_size": rows if self.batch_size is None else min(self.batch_size, rows),
            "shuffle": self.shuffle,
            "rows": rows,
            "rows_of_ranks": self.rows,
        }


def refuse(
    optimizer: Optimizer | Solver,
    y: Any,
    derived: bool,
    validation_split: float | None,
    class_weight: Any,
) -> None:
    """Raise for arguments of `fit` that do not go with a communicator."""
    own = "for each rank knows its own samples only"
    for found, why in (
        (isinstance(optimizer, Solver), 'a solver does not; take an optimizer such as "adam"'),
        (y is None, "batches from an iterable do not; give each rank arrays X and y"),
        (derived, "derivatives and equations do not"),
        (
            validation_split is not None,
            f"validation_split does not, {own}; hold some of them back and pass validation_data",
        ),
        (
            isinstance(class_weight, str) and class_weight == BALANCED,
            f'class_weight="balanced" does not, {own}; pass an array with a factor for each class',
        ),
    ):
        if found:
            raise ValueError(f"not everything goes with a communicator: {why}")


def _anywhere(value: Any) -> Any:
    """A text without the addresses that functions have in one process."""
    return re.sub(" at 0x[0-9a-fA-F]+", "", value) if isinstance(value, str) else value


def _check_alike(described: list[dict[str, Any]]) -> None:
    """Raise if a rank was given something else than rank 0."""
    first = described[0]
    for rank, other in enumerate(described):
        for name in {**first, **other}:
            if _anywhere(first.get(name)) != _anywhere(other.get(name)):
                raise ValueError(
                    f"all ranks call fit alike, but rank {rank} was given {name} = "
                    f"{other.get(name)}, and rank 0 {first.get(name)}"
                )
