"""`fit`: its arguments, and the kind of run that an optimizer and its samples ask for.

| optimizer | samples | run |
| --- | --- | --- |
| an `Optimizer`, whose formula the compiled loop contains | in memory | `InMemoryRun` |
| an `Optimizer` | a part at a time | `StreamedRun` |
| a `Solver`, which needs all samples at once | in memory | `SolverRun` |
| the same two, with slopes or equations | in memory | `DerivativeRun`, `DerivativeSolverRun` |
| an `Optimizer`, and a communicator | in the memory of its ranks | `RankedRun` |

`run` has what all three runs share, `optimizer_run` what the two with an `Optimizer` share.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import crew
from flatprop.formulas.optimizer import Optimizer
from flatprop.kernels.network.records import DROPOUT
from flatprop.model.model import Model
from flatprop.samples.class_weights import class_weighted
from flatprop.samples.equation import Equation, checked_equations
from flatprop.samples.samples import Samples, samples_of
from flatprop.samples.validation_data import Split, split
from flatprop.solvers import Solver
from flatprop.training import seeds
from flatprop.training.callbacks import Callback
from flatprop.training.checkpoints import seed_in
from flatprop.training.choice import optimizer_only, optimizer_or_solver
from flatprop.training.history import History
from flatprop.training.in_memory_run import InMemoryRun
from flatprop.training.metrics import Metric
from flatprop.training.optimizer_words import optimizer_words
from flatprop.training.run import Run
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
    class_weight: Mapping[int, float] | ArrayLike | str | None = None,
    validation_data: tuple[Any, ...] | None = None,
    validation_split: float | None = None,
    metrics: Mapping[str, Metric] | None = None,
    derivatives: ArrayLike | None = None,
    derivative_weight: float = 1.0,
    equations: Equation | Sequence[Equation] | None = None,
    trainable: ArrayLike | None = None,
    tol: float | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    learning_rate_factors: ArrayLike | None = None,
    ema: float | None = None,
    callbacks: Sequence[Callback] | Callback = (),
    progress: bool = False,
    rng: int | np.random.Generator | None = None,
    resume: str | PathLike[str] | None = None,
    threads: int | None = None,
    communicator: Any = None,
) -> History:
    """Train in place.

    Parameters
    ----------
    X, y, sample_weight
        As for `loss`. Columns go by their position, also those of a frame. Weights are
        normalised in each mini-batch; a mini-batch without any weight is passed over. With y
        left out, X gives the batches: an iterable of (X, y) or (X, y, sample_weight), where
        each batch is one update, or a function that returns such an iterable for each epoch.
    class_weight
        For targets that are classes: a factor for each class, by which the weights of its
        samples are multiplied. A dict from class to factor, where classes that are left out
        have 1; an array with a factor for each class; or "balanced" for n / (k nₖ), where the
        k classes that occur have nₖ of the n training samples each, as in scikit-learn.
    optimizer
        A name ("sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop": with
        PyTorch's defaults) or an object such as ``fp.SGD(0.1)``, whose
        learning rate is a number or a schedule. Or a solver: "lbfgs",
        "levenberg_marquardt", ``fp.LBFGS(...)`` or ``fp.LevenbergMarquardt(...)``.
    epochs
        How often to go through the data; with a solver, how many iterations to make.
    batch_size
        Samples per update; the last batch may have fewer. None makes one update
        per epoch with all samples, which are then taken into memory, whatever X is. A
        solver always takes all samples and refuses a smaller number. Where X gives the
        batches, leave it out.
    shuffle
        Whether samples are put in a new random order every epoch. Batches that X gives
        stay in the order in which they come.
    validation_data
        (X, y) or (X, y, sample_weight), measured after every epoch. `class_weight` does not
        count here.
    validation_split
        A fraction of the samples, between 0 and 1, that is held back as validation data, with
        its part of `sample_weight`. It is drawn at random, with `rng`, before anything else:
        the same seed holds back the same samples, and the next `fit` with the same generator
        others. Where the targets are classes, the fraction is that of each class. The rest
        keeps its order. `History.validation_rows` says which samples they were. For samples
        in memory.
    metrics
        A dict from a name to a function of (y, prediction) that returns a number. After every
        epoch the function is called with all of the validation data, or of the training data
        if there are no validation data, and the number is kept in `History.metrics`. The
        prediction is of the same kind as y, so that scikit-learn's metrics fit as they are:
        see the notes.
    derivatives, derivative_weight
        (n, outputs, inputs): the derivatives ∂y/∂x of each sample, such as the forces of a
        potential with the sign turned. To the loss is added `derivative_weight` times the mean
        over all of their entries of (∂ŷ/∂x - ∂y/∂x)²; where samples have weights, their weighted
        mean. Not with a loss that is computed from logits, and not with dropout.
    equations
        An `Equation` or a list of them: differential equations that the network is to satisfy.
        Each update takes the same part of the points as of the samples. X and y are then
        boundary and initial values. `validation_data` measures the loss of samples alone. Not with
        dropout.
    trainable
        A boolean mask over `params`; where it is False, a parameter stays as it is.
    tol
        Stop as "converged" once the training loss changes by no more than
        this from one epoch to the next.
    patience
        Stop after so many epochs without a new lowest loss (of the
        validation data if given, else of the training). However the training
        ended, the network gets the parameters of the best epoch. With the full
        batch and no validation data these are the parameters before that
        epoch's update, at which its loss was measured; with `ema`, the average after it.
    clip_norm
        The largest norm that the gradient of a batch may have; a longer gradient
        is scaled down to this norm. Not with a solver.
    learning_rate_factors
        An array over `params`, not negative: the learning rate of each parameter is multiplied
        by its factor, as if it were in a parameter group of PyTorch with that rate. With AdamW
        this holds for the decay of the weights, with Rprop for the first step. With the factor 0
        a parameter is not trained, as with `trainable`, and does not count in `clip_norm`.
        ``net.layer_params(0, factors)[:] = 0.1`` gives the factor of a whole layer. Not with a
        solver.
    ema
        How much the update before counts, if an update counts 1, in an exponential moving average
        of the parameters: a number between 0 and 1, such as 0.999. The average is less noisy than
        the parameters, as if the learning rate had been lowered at the end. It is what
        `validation_data`, metrics, `patience`, callbacks and checkpoints see, and what the
        network has at the end: see the notes. Not with a solver.
    callbacks
        Functions that are called after every epoch with an `Epoch`. A function that
        returns True stops the training.
    progress
        Whether to show a progress bar.
    rng
        A seed or a generator for the order of the samples; None takes the
        network's generator. The same seed gives bit-identical parameters.
    resume
        A file that `fp.Checkpoint` wrote, from which to go on. With the arguments and the
        data of the interrupted training, the result is the same bit for bit as without the
        interruption. A training that `tol`, `patience` or a callback had ended is not
        continued: the result is the one that it had. Not with a solver.
    threads
        As for `predict`. None also goes back to one thread while several are not faster, because
        another program has the processors.
    communicator
        A communicator of mpi4py, such as ``MPI.COMM_WORLD``. All of its ranks call `fit` alike,
        each with samples of its own, and train one network on the samples of all: see the notes.
        Not with a solver, derivatives, equations, batches from an iterable, `validation_split` or
        balanced class weights.

    Returns
    -------
    History
        The loss of each epoch, and which rule ended the training.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the network is then unchanged. Samples that are read
        during the training are checked as they are read; an error there leaves the network
        with what it has learnt so far.
    ImportError
        If "lbfgs" is asked for without SciPy.

    Warns
    -----
    DivergenceWarning
        If the loss became NaN or infinite. The network then has the last parameters
        that are known to be finite.
    ResolutionWarning
        If the values in a column of X can hardly be told apart in the network's dtype.

    Notes
    -----
    Ctrl-C stops within a fraction of a second and returns the history so far.

    Samples that are read a part at a time (see `predict`) are shuffled in two steps: 16 runs
    of rows at random places of the file make up a part of 32 MB, and the rows of this part
    are shuffled. The blocks of a Dask collection are each computed once in an epoch, one while
    another is trained on. They are taken in random order, and the rows of each are shuffled.
    Without shuffling the result is the same bit for bit as with arrays.

    With `ema` = d the average after update t is Σᵢ dᵗ⁻ⁱ θᵢ / Σᵢ dᵗ⁻ⁱ, where θᵢ are the
    parameters after update i, from 1 to t. So it does not depend on the initial parameters, and
    the first updates need no special treatment (Adam's means are corrected alike). Gradients and
    `History.loss` are still those of the parameters themselves. At the end `History.raw_params`
    has these. If a callback changes the parameters of the network, which are then averages, both
    the average and the parameters become what the callback wrote.

    What a metric is called with:

    ========================================================  ===============================
    y                                                         prediction
    ========================================================  ===============================
    class indices, (n,)                                       the most probable class, (n,)
    rows with one 1, (n, outputs), with "cross_entropy"       rows with one 1
    0 and 1, with "binary_cross_entropy"                      1 where the output is above 0.5
    any, with "gaussian_nll" or ``fp.losses.Quantiles``       the means; the middle quantile
    anything else                                             the outputs
    ========================================================  ===============================

    With one column both are (n,). A function whose second parameter is called ``y_score``,
    ``y_proba``, ``y_prob`` or ``pred_decision``, as scikit-learn's functions of scores and
    probabilities have it, gets the outputs in any case; ``lambda y, y_proba: ...`` gives them
    to any other function. Metrics do not see the weights of samples. Where an output is not
    finite, the metrics are NaN.

    With a `communicator`, the samples are those of all ranks together. `batch_size` says how many
    of them an update takes; a batch has the same part of the samples of each rank, which shuffles
    its own. The result is that of one process with the same batches, up to rounding; it is the
    same bit for bit for the same number of ranks, if MPI's sums are. All ranks begin with the
    parameters and the seed of rank 0, and end with the same network and the same history.
    `validation_data` are those of all ranks together, and so are metrics, which rank 0 computes.
    Callbacks are called on the ranks that have some; if one changes the parameters, all ranks take
    those of rank 0, which also writes and reads checkpoints. An error on one rank is raised on
    all, and a Ctrl-C on one stops all. ``threads=None`` shares out the processors of a computer
    among its ranks.
    """

    def new_run(ranks: Any = None) -> Run[Any]:
        network.require_writable()
        crew.check_threads(threads)
        chosen = optimizer_only(optimizer) if y is None else optimizer_or_solver(optimizer)
        passes = checks.count("epochs", epochs)
        solves = isinstance(chosen, Solver)
        given_equations = checked_equations(equations)
        derived = derivatives is not None or bool(given_equations)
        if derived and y is None:
            raise ValueError("derivatives and equations need y, and all samples at once in memory")
        if derivatives is not None and validation_split is not None:
            raise ValueError(
                "validation_split does not divide derivatives; divide the samples yourself and "
                "pass validation_data"
            )
        if derived and (network.layers["kind"] == DROPOUT).any():
            raise ValueError(
                "fit takes no derivatives and no equations if the network has dropout, which is "
                "off in derivatives with respect to inputs; leave fp.Dropout out"
            )
        if ranks is not None:
            ranked_run.refuse(chosen, y, derived, validation_split, class_weight)
        # An update with all samples needs all of them in memory, however large they are.
        whole = solves or batch_size is None or derived or ranks is not None
        samples: Any = samples_of(network, X, y, sample_weight, whole=whole, epochs=passes)
        held_back = None
        if validation_split is not None:
            if validation_data is not None:
                raise ValueError(
                    "validation_data and validation_split exclude each other; give one"
                )
            held_back = _split(network, samples, validation_split, rng, resume)
            samples = held_back.training
        if class_weight is not None:
            samples = class_weighted(network, samples, class_weight)
        kind: Any = SolverRun if solves else InMemoryRun if samples.in_memory else StreamedRun
        more: dict[str, Any] = {}
        if derived:
            from flatprop.evaluation import terms  # few programs need it
            from flatprop.training import derivative_runs

            kind = derivative_runs.DerivativeSolverRun if solves else derivative_runs.DerivativeRun
            weight = checks.positive("derivative_weight", derivative_weight)
            logits = bool(network._arrays.loss_records[0]["from_logits"])
            dy = None
            if derivatives is not None:
                dy = derivative_runs.checked_slopes(network, derivatives, samples.rows, logits)
            more["terms"] = terms.Terms(network, samples, dy, weight, given_equations)
        if ranks is not None:
            kind, more = ranked_run.RankedRun, {"ranks": ranks}
        run: Run[Any] = kind(
            network,
            samples,
            chosen,
            **more,
            given=X,
            epochs=passes,
            batch_size=batch_size,
            shuffle=shuffle,
            validation_data=validation_data,
            split=held_back,
            metrics=metrics,
            trainable=trainable,
            tol=tol,
            patience=patience,
            clip_norm=clip_norm,
            learning_rate_factors=learning_rate_factors,
            ema=ema,
            callbacks=callbacks,
            progress=progress,
            rng=rng,
            resume=resume,
        )
        return run

    if communicator is None:
        run = new_run()
        with crew.using(threads):
            return run.run()
    from flatprop.training import ranked_run  # few programs need it
    from flatprop.training.ranks import over

    with over(communicator) as all_ranks:
        run = all_ranks.agreed(lambda: new_run(all_ranks))
        with crew.using(threads):
            return run.run()


def _split(network: Model, samples: Samples, fraction: Any, rng: Any, resume: Any) -> Split:
    """The split that follows from the seed of this training, or of the one that is resumed."""
    if resume is not None:
        seed = seed_in(resume)
    else:  # The run draws it once everything is checked.
        seed = seeds.next_drawn(network.rng if rng is None else checks.generator(rng))
    return split(network, samples, fraction, seeds.of_split(seed))


OPTIONS = tuple(inspect.signature(fit).parameters)[1:]
"""The names of its arguments but the network, for what passes them on."""
