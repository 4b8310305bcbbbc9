"""An optimizer at work on a network: its state, its scratch, and its calls of the compiled loop.

The samples may change from one pass to the next; the optimizer's state stays.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls, crew
from flatprop.formulas.optimizer import Optimizer, check_state
from flatprop.kernels.loops.special_updates import average_address, factors_address
from flatprop.kernels.network import training_loop as loop
from flatprop.kernels.network.records import DENSE, most_units
from flatprop.kernels.network.regularisation import max_norm_address, penalties_address
from flatprop.kernels.network.training_records import Special
from flatprop.kernels.threads.team import SHARED_ROWS
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.training.snapshot import Snapshot
from flatprop.validation import over_parameters
from flatprop.validation.arrays import Array, aligned_copy, aligned_empty

PANEL_PARAMETERS = 2**17
"""How many entries of the gradient exist at once with PER_PANEL: as many as the second cache
holds."""


class Stepper:
    """Everything that `training_loop.train` takes besides data, plan and progress.

    Attributes
    ----------
    rule : Rule
        The optimizer as the kernel sees it, with its state.
    batch_size : int
        Samples per update, for the samples that `take` was given.
    shuffle : bool
        Whether these samples are taken in a new order each epoch.
    factors, averages : ndarray
        As in `training_records.Special`.
    """

    ranked: Any = None
    """The `RankedBatches` of a training over ranks."""
    _message = 0
    """How many numbers lie behind the gradient."""
    _MADE_ANEW = ("data", "buffers", "special", "model")
    """The attributes that `take` makes anew."""

    def __init__(
        self,
        network: Model,
        optimizer: Optimizer,
        learning_rate: float,
        trainable: NDArray[np.int64],
        clip_norm: float | None = None,
        penalty: float = 0.0,
        factors: Array | None = None,
        ema: float | None = None,
    ) -> None:
        self.network = network
        self._linear = optimizer.linear
        self._whole = trainable.tolist() == [[0, network.params.size]]
        params = network._arrays.params
        start = optimizer.start(params, learning_rate, factors)
        self.rule = loop.Rule(
            *start,
            trainable,
            clip_norm or 0.0,
            penalty,
            loop.AFTER_GRADIENT,
        )
        self.factors = aligned_copy(params[:0] if factors is None else factors)
        self.averages = aligned_copy(params[:0] if ema is None else params)
        self._decay = ema or 0.0
        self._shape: tuple[int, ...] = ()
        self._blocks = 0
        self._pace = crew.Pace()
        self._make_lock()

    def take(self, data: Data, batch_size: int | None, shuffle: bool) -> None:
        """Make ready for these samples; scratch is kept if all sizes are as before."""
        rows = data.rows
        self.data = data
        self.batch_size = rows if batch_size is None else min(batch_size, rows)
        self.shuffle = bool(shuffle) and self.batch_size < rows
        shape = (rows, data.y.size // rows, data.weight.size, self.batch_size, self.shuffle)
        if shape != self._shape:
            self._shape = shape
            self._allocate()
            # `advance` measures and takes more.
            self._blocks = self._blocks_in_time()

    def _make_lock(self) -> None:
        self._lock = threading.Lock()
        self._turn: object = None

    @contextlib.contextmanager
    def alone(self, turn: object) -> Iterator[None]:
        """Raise if another call is at work: both would write into the same scratch.

        A training that makes several calls passes the `turn` that `begin_turn` gave it. This
        raises, too, if another training has been at work since the turn began. None is for a
        training that is a single call.
        """
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "this optimizer is at work already, in another thread or below this call; give "
                "each thread a Trainer, or an estimator, of its own"
            )
        try:
            if self._turn is not turn:
                if turn is not None:
                    raise RuntimeError(
                        "this optimizer has been at work elsewhere in the middle of a training; "
                        "give each training a Trainer, or an estimator, of its own"
                    )
                self._turn = None
            yield
        finally:
            self._lock.release()

    def begin_turn(self) -> object:
        """A new turn, which the later calls of one training pass to `alone`."""
        self._turn = object()
        return self._turn

    def advance(self, plan: loop.Plan, progress: loop.Progress, safe: Snapshot) -> int:
        """One call of the loop, of about `calls.SECONDS` at most; returns why the call ended.

        `safe` is renewed if it is time. DIVERGED also says that the parameters were then seen not
        to be finite.
        """
        buffers = self.buffers
        worth = self._threads_worth(self._blocks_left(plan, progress))
        size, part = self._pace.next_size(crew.size_for(worth), self._blocks)
        blocks = max(1, int(part * self._blocks))
        more = self.special, self.ranked, blocks
        given = self.model, self.data, self.rule, plan, progress, buffers, *more
        cursor, rows = progress.cursor, self.data.rows
        row = cursor[loop.EPOCH] * rows + cursor[loop.ROW]
        began = time.perf_counter()
        numbers = count()
        status, size = crew.together(
            size, loop.train, given, lambda: self._of_helper(next(numbers), *given)
        )
        seconds = time.perf_counter() - began
        self._pace.note(size, seconds, int(cursor[loop.EPOCH] * rows + cursor[loop.ROW] - row))
        if status == loop.RUNNING:
            ratio = calls.SECONDS / max(seconds, 1e-9) * blocks / self._blocks
            self._blocks = max(1, int(self._blocks * min(ratio, 16)))
        return self._unless_diverged(status, safe)

    def _unless_diverged(self, status: int, safe: Snapshot) -> int:
        return status if safe.keep_in_time(self.model.params) else loop.DIVERGED

    def _of_helper(
        self, number: int, model: Any, data: Data, rule: loop.Rule, *rest: Any
    ) -> tuple[Any, ...]:
        """The arguments of `training_loop.train` for another thread of the team."""
        plan, progress, buffers, special, *more = rest
        progress = progress._replace(cursor=progress.cursor.copy(), sums=progress.sums.copy())
        buffers, special = self._buffers_of_helper(number, buffers, special)
        rule = rule._replace(settings=rule.settings.copy())
        return model, data, rule, plan, progress, buffers, special, *more

    def _buffers_of_helper(
        self, number: int, buffers: loop.Buffers, special: Special | None
    ) -> tuple[loop.Buffers, Special | None]:
        """Those of another thread of the team; `Buffers` says what the threads share."""
        shares_blocks = buffers.shards == 1
        buffers = buffers._replace(block=calls.of_helper(buffers.block, shared=shares_blocks))
        if shares_blocks:
            buffers = buffers._replace(losses=buffers.losses.copy())
        else:
            x, y = (aligned_empty(of.size, of.dtype) for of in (buffers.x, buffers.y))
            buffers = buffers._replace(x=x, y=y)
        if self.rule.update_timing == loop.PER_PANEL:
            gradient = aligned_empty(buffers.gradient.size, buffers.gradient.dtype)
            buffers = buffers._replace(gradient=gradient)
        return buffers, special

    def _threads_worth(self, blocks: int) -> int:
        """How many threads pay for a call with so many blocks."""
        rows, shards = self.buffers.block.rows, self.buffers.shards
        return calls.threads_worth(self.network, rows, calls.GRADIENT, blocks, shards)

    def _blocks_in_time(self) -> int:
        """How many blocks are sure to end in time."""
        return calls.blocks_in_time(self.network, self.buffers.block.rows, calls.GRADIENT)

    def _blocks_left(self, plan: loop.Plan, progress: loop.Progress) -> int:
        """How many blocks the next call of the loop goes through at most."""
        rows, size = self.data.rows, self.buffers.block.rows
        epochs = progress.losses.size - int(progress.cursor[loop.EPOCH])
        return int(min(self._blocks, epochs * -(-rows // min(size, plan.batch_size))))

    def _allocate(self) -> None:
        network, data = self.network, self.data
        self.model = network._arrays
        size, dtype = network.params.size, network.dtype
        block = calls.block_for(network, self.batch_size)
        shards = calls.shards_of(network, self.batch_size, block.rows)
        timing = self._update_timing(block.rows)
        layers = network._arrays.layers
        layers = layers[layers["kind"] == DENSE]
        weights = np.stack([layers["W_start"], layers["b_start"]], axis=1)
        self.rule = self.rule._replace(update_timing=timing, weights=weights)
        self.special = self._special()
        panel = {
            loop.AFTER_GRADIENT: shards * size + self._message,
            loop.PER_PANEL: max(
                PANEL_PARAMETERS, SHARED_ROWS * most_units(network._arrays.layers)
            ),
            loop.FUSED: 0,
        }[timing]
        order = np.empty(data.rows if self.shuffle else 0, np.int64)
        gathered = block.rows if self.shuffle else 0
        sizes = gathered * network.inputs, gathered * (data.y.size // data.rows), panel
        x, y, gradient = (aligned_empty(size, dtype) for size in sizes)
        losses = np.zeros(-(-self.batch_size // block.rows))
        self.buffers = loop.Buffers(order, x, y, gradient, shards, losses, block)

    def _special(self, batches: Any = None) -> Special | None:
        """What is asked for beside a plain training of dense layers; None if nothing is.

        `batches` are those of a loss with terms: `batches_of_terms.TermBatches`.
        """
        dtype, layers, dense = self.network.dtype, self.network.layers, self.network.dense_layers
        strengths = np.array([(layer.l1, layer.l2) for layer in dense], np.float64)
        limits = self._limits(layers[layers["kind"] == DENSE])
        penalised, averaging = strengths.any(), self.averages.size > 0
        asked = penalised or averaging or self.factors.size or len(limits) or batches is not None
        if not asked and len(dense) == len(layers):
            return None
        none = np.empty(0, np.int64)
        return Special(
            strengths=strengths,
            penalised=penalties_address(dtype) if penalised else 0,
            limits=limits,
            limit=max_norm_address(dtype) if len(limits) else 0,
            factors=self.factors,
            with_factors=factors_address(self.rule.code, dtype) if self.factors.size else 0,
            averages=self.averages,
            decay=self._decay,
            averaging=average_address(dtype) if averaging else 0,
            terms=batches.address if batches is not None else 0,
            batch=batches.batch if batches is not None else none,
            records=batches.records if batches is not None else none,
        )

    def _update_timing(self, block_rows: int) -> int:
        """When the parameters change: as early as the settings allow."""
        size = self.network.params.size
        limited = self.rule.clip_norm > 0 or self._penalised or self.factors.size
        limited = limited or any(layer.max_norm for layer in self.network.dense_layers)
        if block_rows < self.batch_size or limited or not self._whole:
            return loop.AFTER_GRADIENT
        if self._linear:
            return loop.FUSED
        return loop.PER_PANEL if size > PANEL_PARAMETERS else loop.AFTER_GRADIENT

    @property
    def _penalised(self) -> bool:
        """Whether the loss of a batch has terms of the weights."""
        of_layers = any(layer.l1 or layer.l2 for layer in self.network.dense_layers)
        return self.rule.penalty > 0 or of_layers

    def _limits(self, layers: NDArray[Any]) -> NDArray[np.float64]:
        """`Rule.limits`; those of layers whose W does not change are left out."""
        limits = []
        for layer, record in zip(self.network.dense_layers, layers, strict=True):
            start, stop = int(record["W_start"]), int(record["b_start"])
            low, high = self.rule.trainable.T
            trained = np.maximum(np.minimum(high, stop) - np.maximum(low, start), 0).sum()
            if layer.max_norm is None or not trained:
                continue
            if trained < stop - start:
                raise ValueError(
                    "max_norm needs all weights of its layer trained, or none of them; leave it "
                    "out, or change `trainable`"
                )
            limits.append((start, record["inputs"], layer.units, layer.max_norm))
        return np.array(limits, np.float64).reshape(-1, 4)

    def penalise(self, penalty: float) -> None:
        """Change the penalty, from the next call of `take` on."""
        if penalty != self.rule.penalty:
            self.rule = self.rule._replace(penalty=penalty)
            self._shape = ()

    def release(self) -> None:
        """Let go of samples and scratch; the next call must be `take`."""
        self._shape = ()
        for name in self._MADE_ANEW:
            self.__dict__.pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in (*self._MADE_ANEW, "_lock", "_turn", "_pace"):
            state.pop(name, None)
        return state | {"_shape": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pace = crew.Pace()
        self._make_lock()
        rule = self.rule
        check_state(rule.code, rule.settings, rule.state, self.network.params)
        # Copies: unpickled arrays may be mapped read-only from a file, or belong to somebody else.
        self.rule = rule._replace(
            settings=aligned_copy(rule.settings),
            state=aligned_copy(rule.state),
            trainable=over_parameters.ranges(rule.trainable, self.network.params.size),
        )
        self.factors, self.averages = self._unpickled("factors"), self._unpickled("averages")
        self.__dict__.setdefault("_decay", 0.0)

    def _unpickled(self, name: str) -> Array:
        """A copy of an array that has a number for each parameter, or none."""
        params = self.network._arrays.params
        array = self.__dict__.get(name, params[:0])  # a pickle of version 0.1 has none
        if array.dtype != params.dtype or array.shape not in ((0,), params.shape):
            raise ValueError(
                f"{name} must be of {params.dtype} with shape {params.shape}, not of "
                f"{array.dtype} with shape {array.shape}"
            )
        return aligned_copy(array)
