"""Whether a model is as sure as it should be: samples that it was not trained on tell."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike

from flatprop.many.predicted import LearntQuantiles, Mixture
from flatprop.plot import predictions
from flatprop.plot.canvas import checked_figure, colours, in_their_colours
from flatprop.plot.class_probabilities import classes_of, places_of, probabilities_of
from flatprop.validation import checks
from flatprop.validation.arrays import Array

SIZE = (8.6, 4.2)


@in_their_colours
def reliability(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    figure: Figure | SubFigure | None = None,
    *,
    bins: int = 10,
    strategy: str = "uniform",
) -> Array:
    """Draw how often a classifier is right against how sure it is, and how sure it is how often.

    With two classes the probability is that of the second class. With more it is that of the
    predicted class. The curve of a calibrated classifier lies on the diagonal. Below it, events
    are rarer than predicted.

    Parameters
    ----------
    model
        A network with the loss "cross_entropy", or "binary_cross_entropy" and one output; or a
        fitted classifier, as of scikit-learn, with ``predict_proba``.
    X, y
        Samples that the model was not trained on, and their classes.
    figure
        Where to draw; None makes one.
    bins
        Into how many bins the probabilities are divided.
    strategy
        "uniform" for bins of one width, "quantile" for as many samples in each: as for
        `sklearn.calibration.calibration_curve`, which computes the curve.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        The curve and the histogram of the probabilities, (2,).

    Raises
    ------
    TypeError, ValueError
        If the model is no classifier, or the data do not fit it.
    ImportError
        Without scikit-learn.
    """
    try:
        from sklearn.calibration import calibration_curve
        from sklearn.metrics import log_loss
    except ImportError as error:
        raise ImportError(
            "fp.plot.reliability needs scikit-learn: pip install 'flatprop[sklearn]'"
        ) from error
    bins = checks.count("bins", bins)
    checks.choice("strategy", strategy, ("uniform", "quantile"))
    classes = classes_of(model)
    if len(classes) < 2:
        raise ValueError(f"reliability takes two classes or more, but there is {classes}")
    if hasattr(model, "classes_") and not hasattr(model, "predict_proba"):
        raise TypeError(f"model must have predict_proba; got {model!r}")
    probabilities = probabilities_of(model, X, classes)
    places = places_of(y, model, classes, len(probabilities))
    if len(classes) == 2:
        happened, probability = places == 1, probabilities[:, 1]
        names = f"predicted probability of {classes[1]}", "observed frequency"
    else:
        happened, probability = places == probabilities.argmax(1), probabilities.max(axis=1)
        names = "predicted probability of the predicted class", "how often it is right"
    probability = np.clip(probability, 0, 1)
    observed, expected = calibration_curve(
        happened, probability, n_bins=bins, strategy=strategy, pos_label=True
    )
    curve, below = _two_panels(figure)
    curve.plot(expected, observed, "o-", color=colours().positive, label="observed")
    curve.set_xlabel(names[0], parse_math=False)
    curve.set_ylabel(names[1])
    curve.set_title(f"log-loss {log_loss(places, probabilities, labels=range(len(classes))):.3g}")
    below.hist(probability, np.linspace(0, 1, bins + 1).tolist(), color=colours().positive)
    below.set_xlim(0, 1)
    below.set_xlabel(names[0], parse_math=False)
    below.set_ylabel("samples")
    return np.array([curve, below])


@in_their_colours
def coverage(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    figure: Figure | SubFigure | None = None,
    *,
    output: int = 0,
    bins: int = 10,
) -> Array:
    """Draw how many targets lie in the intervals of a regression, and where in its distribution.

    On the left: which part of the targets lies in the central interval that should hold a given
    part of them. Below the diagonal, the model is too sure. On the right: the histogram of F(y),
    where F is the predicted distribution function of each sample (the probability integral
    transform). It is level if the distributions are right. It is high at both ends if they are
    too narrow, and at one end if they are shifted.

    Parameters
    ----------
    model
        An `fp.Network`, an `fp.Ensemble` or an estimator with the loss "gaussian_nll" or
        `fp.losses.Quantiles`; a pipeline that ends with one; an ensemble with any other loss,
        whose normal distribution has the mean and the deviation of its members; or any regressor
        with ``predict(X, return_std=True)``, whose distributions are taken for normal ones.
    X, y
        Samples that the model was not trained on, and their targets.
    figure
        Where to draw; None makes one.
    output
        Which target, where there are several.
    bins
        How many bins the histogram has; of `fp.losses.Quantiles` they lie between the quantiles.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        The coverage and the histogram, (2,).

    Raises
    ------
    TypeError, ValueError
        If the model predicts no distribution, or the data do not fit it.
    ImportError
        Without SciPy; `fp.losses.Quantiles` does without.
    """
    output, bins = checks.count("output", output, least=0), checks.count("bins", bins)
    found = predictions.of_any(model, X)
    observed = checks.numbers("y", y, np.dtype(float))
    observed = observed[:, None] if observed.ndim == 1 else observed
    if observed.shape != found.points.shape[1:]:
        raise ValueError(
            f"y must have shape {found.points.shape[1:]}, as the predictions, not {observed.shape}"
        )
    if output >= observed.shape[1]:
        raise ValueError(f"output is {output}, but y has {observed.shape[1]} columns, from 0")
    colour = colours().positive
    if not isinstance(found, LearntQuantiles) and find_spec("scipy") is None:
        raise ImportError("fp.plot.coverage needs SciPy: pip install 'flatprop[sklearn]'")
    if isinstance(found, LearntQuantiles):
        edges, places = _among_quantiles(found, observed)
        levels, inside = _learnt_intervals(edges, places)
        heights = np.bincount(places, minlength=len(edges) - 1) / len(places) / np.diff(edges)
        style = "o-"
    else:
        if not isinstance(found, Mixture):
            if len(found.points) == 1:
                raise ValueError(
                    'one network with this loss predicts no distribution; take "gaussian_nll", '
                    "fp.losses.Quantiles or an ensemble"
                )
            found = predictions.normal(found.mean(), found.deviation())
        below = found.probability_below(observed)[:, output]
        checks.finite("the distribution function at y", below)
        levels = np.linspace(0, 1, 101)
        inside = np.searchsorted(np.sort(np.abs(2 * below - 1)), levels, "right") / len(below)
        heights, edges = np.histogram(below, bins, (0, 1), density=True)
        style = "-"
    left, right = _two_panels(figure)
    left.plot(levels, inside, style, color=colour, label="observed")
    left.set_xlabel("nominal coverage of central intervals")
    left.set_ylabel("observed coverage")
    left.text(0.97, 0.03, "too sure", ha="right")
    left.text(0.03, 0.97, "not sure enough", va="top")
    right.stairs(heights, edges, fill=True, color=colour)
    right.axhline(1, color=colours().ink, linewidth=0.8)
    right.set_xlim(0, 1)
    right.set_xlabel("F(y) of the predicted distribution")
    right.set_ylabel("density")
    return np.array([left, right])


def _two_panels(figure: Figure | SubFigure | None) -> tuple[Axes, Axes]:
    """A square with a diagonal, and a panel beside it."""
    left, right = checked_figure(figure, SIZE).subplots(1, 2)
    left.axline((0, 0), slope=1, color=colours().ink, linewidth=0.8)
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return left, right


def _among_quantiles(found: LearntQuantiles, y: Array) -> tuple[Array, Array]:
    """0, the quantiles and 1; and between which of them each target lies."""
    every = np.sort(found.every(), axis=1)  # nothing keeps outputs in order
    return np.array([0.0, *found.levels, 1.0]), (every < y).sum(axis=1)


def _learnt_intervals(edges: Array, places: Array) -> tuple[Array, Array]:
    """The nominal and the observed coverage of intervals between two quantiles q and 1 - q."""
    pairs = [
        (low, high)
        for low in range(1, len(edges) - 1)
        for high in range(low + 1, len(edges) - 1)
        if np.isclose(edges[low] + edges[high], 1)
    ]
    if not pairs:
        raise ValueError(
            f"no two of the quantiles {edges[1:-1].tolist()} are the ends of a central interval, "
            "as 0.05 and 0.95 are"
        )
    levels = [edges[high] - edges[low] for low, high in pairs]
    inside = [np.mean((low <= places) & (places < high)) for low, high in pairs]
    order = np.argsort(levels)
    return np.array(levels)[order], np.array(inside)[order]
