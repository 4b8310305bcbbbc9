"""`fit_many`: networks of any architectures, trained side by side by threads or by workers."""

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from flatprop.evaluation import crew
from flatprop.many import over_workers
from flatprop.many.shared_out import OneAtATime, train_each, warn_together
from flatprop.model.model import checked_model
from flatprop.network import Network
from flatprop.training import fit as training
from flatprop.training import seeds
from flatprop.training.callbacks import Checkpoint, checked_callbacks
from flatprop.training.history import History
from flatprop.training.optimizer_words import optimizer_words
from flatprop.validation import frames, other_names

PASSED_ON = frozenset(training.OPTIONS) - {"resume", "communicator"}


@other_names.suggests(other_names.FIT, optimizer_words, also=PASSED_ON)
def fit_many(
    networks: Iterable[Network],
    X: Any,
    y: Any,
    *,
    threads: int | None = None,
    progress: bool = False,
    **options: Any,
) -> list[History]:
    """Train networks of any architectures, each as by its `Network.fit`, side by side.

    Threads of this process do that; or, within a `joblib.parallel_config`, the workers of its
    backend, such as the computers of a Dask or Ray cluster: see the notes.

    An architecture is data for the compiled functions, so that nothing is compiled for any of
    them. Networks of one architecture and many members are faster as an `Ensemble`.

    Parameters
    ----------
    networks
        The networks; their parameters change in place.
    X, y
        As for `Network.fit`, for all networks; or a list of one such array for each network.
    threads
        How many threads take one network after the other; None takes as many as this process has
        processors. If there are fewer networks than that, each may take several. Workers train
        one network after the other, each with so many threads; None is as many as the worker may
        use, which is mostly one.
    progress
        Whether to show a progress bar of the networks.
    **options
        The options of `Network.fit`, for all networks; but not `resume` and `communicator`, nor
        an `fp.Checkpoint` among the callbacks. `optimizer`, `epochs`, `batch_size`,
        `sample_weight`, `validation_data`, `trainable`, `patience` and `rng` may be lists of one
        for each network.
        From a generator as `rng` each network gets a seed. Callbacks are called one at a time,
        from several threads.

    Returns
    -------
    list of History
        In the order of the networks. If the training of a network raised an exception, that
        exception is in the place of its history, with a note that says which network it was; the
        other networks are trained all the same.

    Raises
    ------
    TypeError, ValueError
        If the networks, their number, or the names of options are wrong; nothing has changed then.
    ExceptionGroup
        If all of the trainings raised, and there is more than one. Of one, its exception.

    Warns
    -----
    DivergenceWarning, ResolutionWarning
        Once for all networks, at the end.

    Notes
    -----
    Results do not depend on the number of threads. Ctrl-C stops all networks within a fraction of
    a second: those that were being trained keep what they have learnt, those that had not begun
    are unchanged. All of these have "interrupted" in their histories.

    Workers are asked for as for searches of scikit-learn's, with joblib 1.4 or later::

        with joblib.parallel_config(backend="loky", n_jobs=4):  # or "dask", "ray", "spark"
            histories = fp.fit_many(networks, X, y)

    The backend "threading" means the threads of this process. The results are the same bit for
    bit. A worker has copies, whose parameters and random states are put into the networks as they
    come back. So callbacks and metrics have to be such as can be sent, callbacks see a copy as
    ``epoch.network``, and Ctrl-C leaves networks unchanged that were being trained. If a worker
    dies with a network, the exception that tells of it stands in the place of that history.

    Examples
    --------
    >>> import numpy as np
    >>> import flatprop as fp
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> nets = [fp.Network(1, [fp.Dense(n, "tanh"), fp.Dense(1)], rng=0) for n in (4, 8, 16)]
    >>> [history.epochs for history in fp.fit_many(nets, X, np.sin(3 * X), epochs=20)]
    [20, 20, 20]
    """
    crew.check_threads(threads)
    nets = [checked_model("fp.fit_many", network) for network in _listed(networks)]
    if len({id(network) for network in nets}) < len(nets):
        raise ValueError(
            "a network is in the list twice, and two threads would train it at once; pass "
            "network.copy()"
        )
    if not nets:
        return []
    elsewhere = over_workers.are_asked_for()
    if "callbacks" in options:
        given = checked_callbacks(options["callbacks"])
        if any(isinstance(callback, Checkpoint) for callback in given):
            raise ValueError(
                "fp.Checkpoint writes the training of one network, and each would replace the "
                "file of the one before; call fit with a path for each network"
            )
        lock = threading.Lock()
        options["callbacks"] = (
            given if elsewhere else tuple(OneAtATime(callback, lock) for callback in given)
        )
    if isinstance(options.get("rng"), np.random.Generator):
        options["rng"] = [seeds.drawn(options["rng"]) for _ in nets]
    of_each = _options_of_each(options, len(nets))
    for name, data in (("X", X), ("y", y)):
        for own, one in zip(of_each, _data_of_each(name, data, len(nets)), strict=True):
            own[name] = one
    if elsewhere:
        results, warned = over_workers.train_each(nets, of_each, threads, bool(progress))
    else:
        pairs = zip(nets, of_each, strict=True)
        trainings = [partial(training.fit, network, **own) for network, own in pairs]
        results, warned = train_each(trainings, threads, bool(progress), "network")
    errors = []
    for i, result in enumerate(results):
        if isinstance(result, Exception):
            result.add_note(f"network {i} of {len(nets)}: {nets[i]!r}")
            errors.append(result)
    if len(errors) == len(nets):
        raise errors[0] if len(errors) == 1 else ExceptionGroup("no network was trained", errors)
    warn_together(warned, "network")
    return results  # type: ignore[return-value]  # with exceptions, as the docstring says


PER_NETWORK = (
    *("optimizer", "epochs", "batch_size", "sample_weight", "validation_data"),
    *("trainable", "patience", "rng"),
)


def _listed(networks: Any) -> Sequence[Any]:
    try:
        return list(networks)
    except TypeError:
        raise TypeError(f"networks must be a list of networks, got {networks!r}") from None


def _options_of_each(options: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The options that each network gets."""
    each: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, value in options.items():
        own = name in PER_NETWORK and isinstance(value, list)
        if own and name in ("sample_weight", "trainable"):
            own = _holds_arrays(value)
        if own:
            _check_length(name, value, count)
        for i, one in enumerate(each):
            one[name] = value[i] if own else value
    return each


def _data_of_each(what: str, given: Any, count: int) -> list[Any]:
    if isinstance(given, (list, tuple)) and _holds_arrays(given):
        _check_length(what, given, count)
        return list(given)
    return [given] * count


def _holds_arrays(given: Sequence[Any]) -> bool:
    """Whether this is a list of arrays or frames, and not one array that is written as lists."""
    if not given:
        return False
    one = given[0]
    return one is None or (hasattr(one, "__array__") and np.ndim(one) > 0) or _is_frame(one)


def _is_frame(one: Any) -> bool:
    return not isinstance(one, (list, tuple, int, float)) and frames.columns(one) is not None


def _check_length(name: str, given: Sequence[Any], count: int) -> None:
    if len(given) != count:
        raise ValueError(
            f"{name} is a list of {len(given)}, but there are {count} networks; pass one for "
            "each, or one array for all (np.array makes one of rows)"
        )
