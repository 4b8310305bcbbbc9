"""Validation and patience within the compiled loop, for trainings that ask for nothing else.

An epoch that ends the training, or whose validation loss is not finite, is left to `run`.
"""

import math
from typing import Any

import numpy as np

from flatprop.evaluation import calls
from flatprop.evaluation.values import loss_over, scale_of
from flatprop.kernels.network.epoch_end import (
    EPOCH_END,
    compiled_sum_of_losses,
    epoch_end_address,
    machine_words,
)
from flatprop.kernels.network.workspace import Block
from flatprop.model.model import Model
from flatprop.samples.samples import Samples
from flatprop.validation.arrays import Array

Validation = tuple[Samples, Block]


def suits(network: Model, rows: int, validation: Validation | None) -> bool:
    """Whether the compiled loop can measure the validation data after each epoch of so many rows.

    It has one thread for that. And Ctrl-C waits for one call, in which only the rows that are
    trained on are counted.
    """
    if validation is None:
        return True
    data, block = validation
    blocks = data.rows / block.rows
    threads = calls.threads_worth(network, block.rows, calls.PREDICT, blocks)
    if threads > 1 or not data.in_memory or data.rows > calls.GRADIENT * rows:
        return False
    if not compiled_sum_of_losses(network.dtype):
        loss_over(network, data, block)  # compiles it
    return compiled_sum_of_losses(network.dtype) != 0


class EpochEnds:
    """What the compiled loop does at the end of each epoch.

    Attributes
    ----------
    function, address : int
        What `training_loop.Plan` is given.
    measured_at : ndarray
        The parameters at which the loss of the next epoch is measured, if that is before its
        update.
    """

    def __init__(
        self,
        network: Model,
        params: Array,
        epochs: int,
        validation: Validation | None,
        patience: int | None,
        before_update: bool,
    ) -> None:
        self.patience = patience
        self.measured_at = params.copy() if before_update else params
        self.best = params[:0] if patience is None else params.copy()
        self.val_losses = np.empty(epochs if validation else 0)  # takes memory as epochs end
        self.record = np.zeros(1, EPOCH_END)
        self.function, self.address = epoch_end_address(), self.record.ctypes.data
        self._write(
            val_losses=self.val_losses,
            params=params,
            words=params.nbytes // 4,
            measured_at=self.measured_at,
            best=self.best,
            patience=epochs if patience is None else patience,
        )
        if validation is None:
            return
        data, block = validation
        self.losses, self.answer = np.zeros(-(-data.rows // block.rows)), np.zeros(2)
        self.given = *network._arrays, data, 0, data.rows, self.losses, block
        answer = self.answer.ctypes.data  # where a function that fails says so
        self.words = np.array([answer, answer + 8, *machine_words(self.given)], np.int64)
        self._write(
            function=compiled_sum_of_losses(network.dtype),
            arguments=self.words,
            losses=self.losses,
            blocks=self.losses.size,
            scale=scale_of(network, data),
        )

    def _write(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.record[name] = value.ctypes.data if isinstance(value, np.ndarray) else value

    def begin(self, loss: float, epoch: int | None, params: Array | None) -> None:
        """Before a call of the compiled loop: the best epoch so far, if `patience` asks for it."""
        if params is not None and params is not self.best:
            self.best[:] = params
        self._write(best_loss=-math.inf if self.patience is None else loss, best_epoch=epoch or 0)

    def best_so_far(self) -> tuple[float, int, Array]:
        """The loss, the number and the parameters of the best epoch."""
        return float(self.record["best_loss"][0]), int(self.record["best_epoch"][0]), self.best

    @property
    def done(self) -> int:
        """How many epochs there are up to the last one that the compiled loop has seen to."""
        return int(self.record["done"][0])
