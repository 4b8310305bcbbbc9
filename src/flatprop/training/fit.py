"""`fit`: which kind of run an optimizer and its samples ask for.

| optimizer | samples | run |
| --- | --- | --- |
| an `Optimizer`, a formula in the compiled loop | in memory | `InMemoryRun` |
| the same | a part at a time | `StreamedRun` |
| a `Solver`, which is called with all of them | in memory | `SolverRun` |

What all of them have in common is in `run`, what the first two have in `optimizer_run`.
"""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.formulas.optimizer import Optimizer
from flatprop.kernels.network.entry_points import Data
from flatprop.model.model import Model
from flatprop.samples.samples import samples_of
from flatprop.solvers import Solver
from flatprop.training.callbacks import Callback
from flatprop.training.choice import optimizer_only, optimizer_or_solver
from flatprop.training.history import History
from flatprop.training.in_memory_run import InMemoryRun
from flatprop.training.optimizer_words import optimizer_words
from flatprop.training.solver_run import SolverRun
from flatprop.training.streamed_run import StreamedRun
from flatprop.validation import checks, other_names


@other_names.suggests(other_names.FIT, optimizer_words)
def fit(
    network: Model,
    X: ArrayLike | Iterable[Any] | Callable[[], Iterable[Any]],
    y: ArrayLike | None = None,
    *,
    optimizer: str | Optimizer | Solver = "adam",
    epochs: int = 100,
    batch_size: int | None = checks.DEFAULT_BATCH_SIZE,
    shuffle: bool = True,
    sample_weight: ArrayLike | None = None,
    validation_data: tuple[Any, ...] | None = None,
    trainable: ArrayLike | None = None,
    tol: float | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    callbacks: Sequence[Callback] | Callback = (),
    progress: bool = False,
    rng: int | np.random.Generator | None = None,
    resume: str | PathLike[str] | None = None,
) -> History:
    """Train in place.

    Parameters
    ----------
    X, y, sample_weight
        As for `loss`. Columns go by their position, also those of a frame. Weights are
        normalised in each mini-batch; one without any weight is passed over. Or, with y left
        out, X gives the batches: an iterable of (X, y) or (X, y, sample_weight), each of
        them one update, or a function that returns such an iterable for each epoch.
    optimizer
        A name ("sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop": with
        PyTorch's defaults) or an object such as ``fp.SGD(0.1)``. Its
        learning rate is a number or a schedule. Or a solver, "lbfgs" or
        "levenberg_marquardt", ``fp.LBFGS(...)`` or ``fp.LevenbergMarquardt(...)``.
    epochs
        How often to go through the data; with a solver, its iterations.
    batch_size
        Samples per update, the last ones fewer; None for all of them, one
        update per epoch. A solver takes all of them, and no number below
        theirs; where X gives the batches there is nothing to choose either. All of them
        at once are taken into memory, whatever X is.
    shuffle
        Whether mini-batches are drawn in a new order every epoch. Where X gives the
        batches their order is its own.
    validation_data
        (X, y) or (X, y, sample_weight), measured after every epoch.
    trainable
        A boolean mask over `params`; the others stay as they are.
    tol
        Stop as "converged" once the training loss changes by no more than
        this from one epoch to the next.
    patience
        Stop after so many epochs without a new lowest loss (of the
        validation data if given, else of the training), and leave the
        parameters of the best epoch, however the training ended. With the
        full batch and no validation data these are the ones before that epoch's
        update, of which its loss is the loss.
    clip_norm
        The largest norm of the gradient of a batch; longer ones are scaled
        to it. Not with a solver.
    callbacks
        Called after every epoch with an `Epoch`; one that returns True stops
        the training.
    progress
        Whether to show a progress bar.
    rng
        A seed or a generator for the order of the samples; None goes on with
        the network's own. The same one gives bit-identical parameters.
    resume
        A file that `fp.Checkpoint` wrote, from which to go on: called as the
        interrupted training was, the result is the same bit for bit, if X gives the same
        batches where it gives them. A training that `tol`, `patience` or a callback had
        ended is not trained on: the result is the one that it had. Not with a solver.

    Returns
    -------
    History
        Losses by epoch, and which rule ended the training.

    Raises
    ------
    TypeError, ValueError
        If anything given does not fit; the network is then unchanged. What is read
        during the training is checked then, and an error leaves what was learnt so far.
    ImportError
        If "lbfgs" is asked for without SciPy.

    Warns
    -----
    DivergenceWarning
        If the loss became NaN or infinite. The parameters are then the last that
        are known to be finite.
    ResolutionWarning
        If the rows of a column of X can hardly be told apart in the network's dtype.

    Notes
    -----
    Ctrl-C stops within a fraction of a second and returns the history so far.

    Samples that are read a part at a time (see `predict`) are shuffled in two steps: a
    part of 32 MB is put together from 16 runs of rows at random places of the file, and
    its rows are shuffled. Without shuffling the result is bit for bit that of arrays.
    """
    network.require_writable()
    chosen = optimizer_only(optimizer) if y is None else optimizer_or_solver(optimizer)
    samples = samples_of(
        network,
        X,
        y,
        sample_weight,
        # All samples in every update have to be in memory, however large they are.
        whole=isinstance(chosen, Solver) or batch_size is None,
        epochs=checks.count("epochs", epochs),
    )
    common: dict[str, Any] = {
        "given": X,
        "epochs": epochs,
        "batch_size": batch_size,
        "shuffle": shuffle,
        "validation_data": validation_data,
        "trainable": trainable,
        "tol": tol,
        "patience": patience,
        "clip_norm": clip_norm,
        "callbacks": callbacks,
        "progress": progress,
        "rng": rng,
        "resume": resume,
    }
    if isinstance(chosen, Optimizer) and not isinstance(samples, Data):
        return StreamedRun(network, samples, chosen, **common).run()
    assert isinstance(samples, Data)
    if isinstance(chosen, Optimizer):
        return InMemoryRun(network, samples, chosen, **common).run()
    return SolverRun(network, samples, chosen, **common).run()
