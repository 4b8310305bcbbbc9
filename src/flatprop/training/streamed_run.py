"""Training by an optimizer on samples that come a part at a time: a file, or batches."""

import math
from typing import Any

import numpy as np

from flatprop.kernels.network import training_loop as loop
from flatprop.samples.samples import Samples
from flatprop.training.optimizer_run import OptimizerRun
from flatprop.training.resolution import Watch, Watched, warn_of
from flatprop.training.trainer import Trainer


class StreamedRun(OptimizerRun[Samples]):
    """One call of `fit` with an `Optimizer` and samples in parts; between two parts is Python."""

    def _begin(self) -> None:
        if self.samples.batches_given:
            if not self.batch_size_left_out:
                raise ValueError(
                    "batch_size has no meaning with batches: each batch is one update; leave "
                    "batch_size out"
                )
            self.batch_size = None
        self.trainer = Trainer(
            self.network,
            self.optimizer,
            trainable=self.trainable_mask,
            clip_norm=self.clip_norm,
            learning_rate_factors=self.factors,
            ema=self.ema,
        )
        self.losses: list[float] = []
        self.cursor = np.zeros(3, np.int64)

    def _loop(self) -> str:
        self.trainer.updates = int(self.cursor[loop.UPDATES])
        self.trainer.mask_seed = np.uint64(self.seed)
        watch = Watch(self.network.inputs, self.network.dtype)
        for epoch in range(first := self.epochs_done, self.epochs):
            data = Watched(self.samples, watch) if epoch == first else self.samples
            self.trainer.learning_rate = float(self.rates[min(epoch, self.rates.size - 1)])
            # The epoch's number is in the seed, so that a resumed training takes the same order.
            self.trainer.rng = np.random.default_rng([self.seed, epoch])
            try:
                loss = self.trainer.go_through(data, self.batch_size, self.shuffle, self.safe)
            finally:
                self.cursor[loop.UPDATES] = self.trainer.updates
            if epoch == first:
                warn_of(watch, self.network.dtype)
            if not math.isfinite(loss):
                return "diverged"
            self.losses.append(loss)
            self.cursor[loop.EPOCH] = epoch + 1
            self._show()
            if reason := self._after_epoch(None):
                return reason
        return "epochs"

    @property
    def _data_at_hand(self) -> Any:
        return self.trainer.data_at_hand or self.samples

    @property
    def _average_array(self) -> Any:
        return self.trainer.average

    @property
    def optimizer_state(self) -> Any:
        return self.trainer.state

    def _settings_of_samples(self) -> dict[str, Any]:
        if self.samples.batches_given:
            return {"batches": "from an iterable"}
        return {
            "batch_size": self.batch_size,
            "shuffle": "by parts" if self.shuffle else False,
            "rows": self.samples.rows,
        }
