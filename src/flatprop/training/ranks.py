"""The processes that train one network together: the ranks of a communicator of mpi4py.

No other file knows of MPI. Everything here that sends or receives is called by all ranks, in the
same order. So whatever a rank does between two such calls must not fail on its own:

| an error | where it is raised | what the others do |
| --- | --- | --- |
| in the work of `gathered` or `agreed` | on all ranks, at the end of that call | the same |
| anywhere else in a block of `ending_all` | nowhere: it is printed | MPI ends them |
"""

import contextlib
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from flatprop.evaluation import crew
from flatprop.kernels.network.rank_sums import adder_address
from flatprop.validation.arrays import Array

T = TypeVar("T")

_RAISED_ELSEWHERE = {kind.__name__: kind for kind in (TypeError, ValueError, OSError, ImportError)}
"""The kinds of error that other ranks raise, too. For any other kind they raise a RuntimeError."""
LAST_RANK = 4096
"""So many ranks at most, for `rank_sums` adds up digits of so many."""


class Ranks:
    """The ranks of a communicator, as one of them sees the others.

    Attributes
    ----------
    rank, size : int
        Which of the ranks this process is, and how many there are.
    asked : ndarray of int
        (1,): not 0 once there was a Ctrl-C in this process.
    """

    def __init__(self, communicator: Any) -> None:
        # Messages of the user's own do not mix with those of a communicator of our own.
        self._comm = communicator.Dup()
        self._mpi = sys.modules["mpi4py.MPI"]
        self._comm.Set_errhandler(self._mpi.ERRORS_ARE_FATAL)
        self.rank, self.size = int(self._comm.rank), int(self._comm.size)
        self.asked = np.zeros(1, np.int64)
        self._raised: BaseException | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and shows progress."""
        return self.rank == 0

    def free(self) -> None:
        """Give the communicator back; all ranks do."""
        self._comm.Free()

    # ---- what ranks tell each other

    def gathered(self, work: Callable[[], T]) -> list[T]:
        """What `work()` returns on each of the ranks; raises on all if it raises on any."""
        value, error = None, None
        try:
            value = work()
        except Exception as raised:
            error = raised
        told = None if error is None else _told(error)
        everywhere = self._comm.allgather((told, value))
        for rank, (failure, _) in enumerate(everywhere):
            if failure is not None:
                raise self.agreed_on(error or _of_another_rank(rank, *failure))
        return [value for _, value in everywhere]

    def agreed(self, work: Callable[[], T]) -> T:
        """What `work()` returns in this process; raises on all ranks if it raises on any."""
        results: list[T] = []
        self.gathered(lambda: results.append(work()))
        return results[0]

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work()` returns on rank 0; nobody else calls it."""
        return self.gathered(lambda: work() if self.is_first else None)[0]  # type: ignore[return-value]

    def added(self, work: Callable[[], list[float]]) -> list[float]:
        """The sums over all ranks of the numbers that `work()` returns."""
        return [math.fsum(numbers) for numbers in zip(*self.gathered(work), strict=True)]

    def add_into(self, array: Array) -> None:
        """array ← its sum over all ranks."""
        self._comm.Allreduce(self._mpi.IN_PLACE, array)

    def take_from_first(self, array: Array) -> None:
        """array ← that of rank 0."""
        self._comm.Bcast(array, 0)

    def on_first(self, array: Array) -> Array | None:
        """On rank 0, the rows of the arrays of all ranks, one after the other; elsewhere None."""
        arrays = self._comm.gather(array, 0)
        return None if arrays is None else np.concatenate(arrays)

    # ---- what compiled code needs

    def adder(self, dtype: np.dtype[Any]) -> tuple[Array, int]:
        """`RankedBatches.call` and the address of the function that takes it, for this dtype."""
        import ctypes

        mpi = self._mpi
        library = ctypes.CDLL(mpi.__file__)  # finds what the module is linked with, too
        function = ctypes.cast(library.MPI_Allreduce, ctypes.c_void_p).value
        kind = mpi.FLOAT if dtype == np.float32 else mpi.DOUBLE
        bits = 8 * mpi._sizeof(mpi.Datatype)
        unsigned = 2**64 - 1
        handles = [mpi._handleof(one) for one in (kind, mpi.SUM, self._comm)]
        numbers = [int(function or 0), int(mpi.IN_PLACE), *handles]
        call = np.array([number & unsigned for number in numbers], np.uint64).view(np.int64)
        return call, adder_address(dtype, bits)

    # ---- processors, Ctrl-C, errors

    def threads_of_each(self) -> int:
        """How many threads each rank on this computer may have, if none takes another's."""
        node = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        if hasattr(os, "sched_getaffinity"):
            processors: set[int] = set().union(*node.allgather(os.sched_getaffinity(0)))
            count = len(processors)
        else:
            count = os.cpu_count() or 1
        each = max(1, count // int(node.size))
        node.Free()
        return each

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let a Ctrl-C set `asked`, which the training loop looks at; a second one is as usual."""
        usual = signal.getsignal(signal.SIGINT)
        of_main_thread = threading.current_thread() is threading.main_thread()
        if not of_main_thread or not callable(usual):
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self.asked[0]:
                usual(number, frame)
            self.asked[0] = 1

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)

    def agreed_on(self, error: BaseException) -> BaseException:
        """The error itself; all ranks raise it now, so `ending_all` lets it pass."""
        self._raised = error
        return error

    @contextlib.contextmanager
    def ending_all(self) -> Iterator[None]:
        """End all ranks if this one raises what the others know nothing of."""
        try:
            yield
        except BaseException as error:
            if error is not self._raised:
                traceback.print_exc()
                message = f"flatprop: rank {self.rank} of {self.size} failed; all ranks end"
                print(message, file=sys.stderr, flush=True)
                self._comm.Abort(1)
            raise


def _told(error: Exception) -> tuple[str, str]:
    """Which kind of error the other ranks raise, and with what message."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    known = next(filter(_RAISED_ELSEWHERE.__contains__, kinds), "RuntimeError")
    return known, f"{kinds[0]}: {error}"


def _of_another_rank(rank: int, kind: str, message: str) -> Exception:
    return _RAISED_ELSEWHERE.get(kind, RuntimeError)(f"rank {rank} raised {message}")


@contextlib.contextmanager
def over(communicator: Any) -> Iterator[Ranks]:
    """The ranks of a communicator, for the time of one training."""
    ranks = Ranks(checked_communicator(communicator))
    try:
        with ranks.ending_all(), crew.at_most(ranks.threads_of_each()):
            yield ranks
    finally:
        ranks.free()


def checked_communicator(communicator: Any) -> Any:
    """A communicator of mpi4py whose processes can add numbers up, or an error."""
    module = sys.modules.get("mpi4py.MPI")
    if module is None or not isinstance(communicator, module.Comm):
        raise TypeError(
            "communicator must be one of mpi4py, such as mpi4py.MPI.COMM_WORLD, got "
            f"{communicator!r:.200}"
        )
    if not isinstance(communicator, module.Intracomm) or communicator == module.COMM_NULL:
        raise ValueError(
            f"communicator must be an intracommunicator that this process is in, got "
            f"{communicator!r:.200}"
        )
    if communicator.size > LAST_RANK:
        raise ValueError(
            f"communicator has {communicator.size} ranks, more than {LAST_RANK}; let each have "
            "more threads"
        )
    return communicator
