"""Trainings that the workers of a joblib backend do: processes, or the computers of a cluster.

A task is some networks, their options, and the arrays that they are trained on. Arrays are
arguments of their own, since that is what backends share: loky maps a large one into each process,
Dask and Ray send it once to each worker.
"""

import contextlib
import itertools
import math
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from flatprop.evaluation import crew
from flatprop.many.shared_out import Warned
from flatprop.model.model import Model
from flatprop.samples.in_parts import mapping
from flatprop.training import fit as training
from flatprop.training.history import History
from flatprop.validation.alerts import held_back
from flatprop.validation.arrays import Array

TASKS_OF_WORKER = 4
"""At least so many tasks for each worker, for some take longer than others."""
LONG_TASK = 0.2
"""Seconds after which a task is long enough that sending it does not count."""
PER_ROW, PER_PARAMETER = 2e-8, 1e-10
"""Seconds that an epoch takes for each row, and each parameter of it: a coarse estimate."""


def are_asked_for() -> bool:
    """Whether a `joblib.parallel_config` is active whose workers are not threads of this process.

    Without joblib in memory there is none, and it is not imported for that.
    """
    joblib = sys.modules.get("joblib")
    if joblib is None:
        return False
    backend, jobs = joblib.parallel.get_active_backend()
    if getattr(backend, "uses_threads", False):
        return False
    # Where nothing is said, joblib has loky, and one job.
    if jobs is None:
        jobs = getattr(backend, "default_n_jobs", 1)
    return bool(jobs != 1)


def train_each(
    networks: Sequence[Model],
    options: Sequence[dict[str, Any]],
    threads: int | None,
    progress: bool,
) -> tuple[list[History | Exception], list[Warned]]:
    """What each training returned or raised, and the warnings of each: as `shared_out.train_each`.

    The networks get the parameters that come back. Ctrl-C leaves those as they were whose
    training has not come back.
    """
    job = _Job(networks, options, threads)
    with contextlib.ExitStack() as stack:
        if progress:
            from tqdm.auto import tqdm

            job.bar = stack.enter_context(tqdm(total=len(networks), unit="network"))
        with contextlib.suppress(KeyboardInterrupt):
            job.run()
    return job.results, job.warned


class _Job:
    """The trainings of one call, and what has come back of them."""

    def __init__(
        self, networks: Sequence[Model], options: Sequence[dict[str, Any]], threads: int | None
    ) -> None:
        self.networks, self.options, self.threads = networks, options, threads
        self.results: list[Any] = [History(stopped_by="interrupted") for _ in networks]
        self.warned: list[Warned] = [[] for _ in networks]
        self.bar: Any = None
        self._back: set[int] = set()

    def run(self) -> None:
        """Train all.

        joblib gives up all tasks if one worker dies. Those that were sent and did not come back
        are tried again, each network alone, so that one which kills its worker takes no other
        along.
        """
        waiting = self._grouped([i for i in range(len(self.networks)) if self._is_writable(i)])
        while waiting:
            sent: list[list[int]] = []
            try:
                self._train(waiting, sent)
            except Exception as error:
                for i in itertools.chain(*sent):
                    if i not in self._back:
                        self._train_alone(i)
                if not self._back:  # no worker can do anything
                    raise error
            waiting = waiting[len(sent) :]

    def _is_writable(self, i: int) -> bool:
        # A worker has a copy, which always is.
        try:
            self.networks[i].require_writable()
        except ValueError as error:
            self.results[i] = error
            return False
        return True

    def _train_alone(self, i: int) -> None:
        try:
            self._train([[i]], [])
        except Exception as error:
            self.results[i] = error

    def _grouped(self, numbers: Sequence[int]) -> list[list[int]]:
        """Groups of networks: each is a task that is worth sending, and workers get several."""
        _, jobs = _backend()
        most = max(1, len(numbers) // (TASKS_OF_WORKER * jobs))
        groups: list[list[int]] = []
        seconds = math.inf
        for i in numbers:
            if seconds >= LONG_TASK or len(groups[-1]) == most:
                groups.append([])
                seconds = 0.0
            groups[-1].append(i)
            seconds += _seconds(self.networks[i], self.options[i])
        return groups

    def _train(self, groups: Sequence[list[int]], sent: list[list[int]]) -> None:
        from joblib import Parallel

        # In the order in which they end, so that what has come back is known after a Ctrl-C.
        at_once = getattr(_backend()[0], "supports_return_generator", False)
        run = Parallel(return_as="generator_unordered" if at_once else "list")
        outputs = run(self._tasks(groups, sent))
        try:
            for trained in outputs:
                for one in trained:
                    self._take(one)
                if any(_is_interrupted(one.result) for one in trained):
                    raise KeyboardInterrupt
        finally:
            if at_once:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of tasks that were still to be done
                    outputs.close()

    def _tasks(self, groups: Sequence[list[int]], sent: list[list[int]]) -> Iterator[Any]:
        for group in groups:
            sent.append(group)
            arrays = _Arrays()
            trainings = [(i, self.networks[i], arrays.put(self.options[i])) for i in group]
            yield _train, (trainings, self.threads, arrays.of_files, *arrays.found), {}

    def _take(self, trained: "_Trained") -> None:
        i = trained.number
        network, own = self.networks[i], self.options[i].get("rng")
        network._arrays.params[:] = trained.params
        for generator, state in zip((network.rng, own), trained.states, strict=True):
            if isinstance(generator, np.random.Generator):
                generator.bit_generator.state = state
        self.results[i], self.warned[i] = trained.result, trained.warned
        self._back.add(i)
        if self.bar is not None:
            self.bar.update(1)


def _backend() -> tuple[Any, int]:
    """The active backend of joblib's, and how many workers it has."""
    from joblib import parallel

    backend, jobs = parallel.get_active_backend()
    if jobs is None:
        jobs = backend.default_n_jobs
    return backend, max(1, backend.effective_n_jobs(jobs))


def _seconds(network: Model, options: dict[str, Any]) -> float:
    """About how long a training takes; infinite where that is not known."""
    shape = getattr(options["X"], "shape", None)
    epochs = options.get("epochs", 100)
    if not shape or not isinstance(epochs, int):
        return math.inf
    return float(epochs * shape[0] * (PER_ROW + PER_PARAMETER * network.params.size))


def _is_interrupted(result: History | Exception) -> bool:
    return isinstance(result, History) and result.stopped_by == "interrupted"


class _Place(NamedTuple):
    """Where an array stands among those of a task."""

    number: int


class _Arrays:
    """The arrays of a task, each once."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.of_files: list[int] = []
        """The numbers of those that the user has mapped from files."""

    def put(self, value: Any) -> Any:
        """The value with a place for each array in it."""
        if type(value) is dict:
            return {name: self.put(one) for name, one in value.items()}
        if type(value) is tuple:
            return tuple(map(self.put, value))
        if not hasattr(value, "shape") or np.ndim(value) == 0:
            return value
        number = next((k for k, array in enumerate(self.found) if array is value), None)
        if number is None:
            number = len(self.found)
            self.found.append(value)
            if mapping(value) is not None:
                self.of_files.append(number)
        return _Place(number)


class _Trained(NamedTuple):
    """What comes back of a task."""

    number: int
    result: History | Exception
    params: Array
    states: tuple[Any, Any]
    """Of the network's generator, and of one that was given as `rng`."""
    warned: Warned


def _train(
    trainings: Sequence[tuple[int, Model, dict[str, Any]]],
    threads: int | None,
    of_files: Sequence[int],
    *arrays: Any,
) -> list[_Trained]:
    """One task, in a worker."""
    there = [a if k in of_files else _unmapped(a) for k, a in enumerate(arrays)]
    done: list[_Trained] = []
    for number, network, options in trainings:
        given = _with_arrays(options, there)
        result: History | Exception
        with held_back() as warned, crew.using(threads):
            try:
                result = training.fit(network, **given)
            except Exception as error:
                result = _sendable(error)
        states = _state_of(network.rng), _state_of(given.get("rng"))
        done.append(_Trained(number, result, network.params, states, warned))
        if _is_interrupted(result):
            break
    return done


def _with_arrays(value: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(value, _Place):
        return arrays[value.number]
    if type(value) is dict:
        return {name: _with_arrays(one, arrays) for name, one in value.items()}
    if type(value) is tuple:
        return tuple(_with_arrays(one, arrays) for one in value)
    return value


def _unmapped(array: Any) -> Any:
    """An array that joblib has mapped from a file, as the array in memory that was given.

    `fit` would read a large file a part at a time, and shuffle it otherwise.
    """
    if mapping(array) is None or not array.size:
        return array
    if array.flags.c_contiguous:
        return np.frombuffer(array.data, array.dtype).reshape(array.shape)
    if array.flags.f_contiguous:
        return _unmapped(array.T).T
    return np.array(array)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return None


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; another one in its place if it cannot be sent."""
    import pickle

    told = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker:\n{told}")
    return error
