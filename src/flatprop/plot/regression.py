"""How well a regression follows its data: the fit, and the residuals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike

from flatprop.many.ensemble import Ensemble
from flatprop.many.predicted import LearntQuantiles, Mixture
from flatprop.network import Network
from flatprop.plot import frame_names, predictions
from flatprop.plot.canvas import checked_figure, colours, in_their_colours
from flatprop.validation import checks
from flatprop.validation.arrays import Array

CURVE_POINTS = 500


@in_their_colours
def fit(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    figure: Figure | SubFigure | None = None,
    *,
    output: int = 0,
) -> Array:
    """Draw a regression over its data, and the residuals.

    With one input: the fitted curve over the samples, and the residuals y - ŷ below. With
    several: predicted against observed, and the residuals against the predicted.

    Parameters
    ----------
    model
        A Network, an Ensemble, or any object with ``predict``, as scikit-learn's regressors. With
        the loss "gaussian_nll" the mean is drawn, and with one input a band of two standard
        deviations to each side; with `fp.losses.Quantiles` the quantile nearest to the median,
        and a band from the lowest quantile to the highest. Of an ensemble with another loss the
        band is two standard deviations of its members' predictions.
    X
        (n, inputs); (n,) where there is one input. An array or a data frame.
    y
        (n, targets), or (n,) where there is one target.
    figure
        Where to draw; None makes one.
    output
        Which target, where there are several.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        The two panels, (2,).

    Raises
    ------
    TypeError, ValueError
        If the data do not fit the model, or it is a classifier.
    """
    samples, observed, predict = _checked(model, X, y, output)
    one_input = samples.shape[1] == 1
    predicted = predict(samples if np.ndim(X) == 1 else X)  # others than a Network want (n, 1)
    residuals = observed - predicted
    if one_input:
        x = samples[:, 0]
        grid = np.linspace(x.min(), x.max(), CURVE_POINTS)
        given = frame_names.as_given(X, grid[:, None])
        curve, band = predict(given), _band(model, given, output)
        (name,) = frame_names.feature_names(X, None, 1)
    figure = checked_figure(figure, (6.4, 5.6) if one_input else (9.6, 4.4))
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "color": colours().positive}
    style |= {"markersize": 4 if len(samples) < 300 else 3, "markeredgewidth": 0}
    style["alpha"] = max(0.15, min(0.8, 60 / len(samples) ** 0.7))
    if one_input:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot(x, observed, label="observed y", **style)
        top.plot(grid, curve, color=colours().negative, label="fitted ŷ")
        if band is not None:
            low, high, label = band
            shade = {"color": colours().negative, "alpha": 0.2, "linewidth": 0}
            top.fill_between(grid, low, high, label=label, **shade)
        top.set_ylabel("y")
        top.legend()
        bottom.plot(x, residuals, **style)
        bottom.set_xlabel(name, parse_math=False)
    else:
        top, bottom = figure.subplots(1, 2)
        top.plot(observed, predicted, **style)
        middle = float(observed.mean())
        top.axline((middle, middle), slope=1, color=colours().ink, linewidth=0.8)
        top.set_aspect("equal", adjustable="datalim")
        top.set_xlabel("observed y")
        top.set_ylabel("predicted ŷ")
        bottom.plot(predicted, residuals, **style)
        bottom.set_xlabel("predicted ŷ")
    bottom.axhline(0, color=colours().ink, linewidth=0.8)
    bottom.set_ylabel("residual y − ŷ")
    top.set_title(_goodness(observed, residuals))
    return np.array([top, bottom])


def _checked(
    model: Any, X: ArrayLike, y: ArrayLike, output: int
) -> tuple[Array, Array, Callable[[Any], Array]]:
    """X as (n, inputs), y of the one output as (n,), and the function from X to this output."""
    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"model must have a method predict, as an fp.Network has; got {model!r}")
    if getattr(model, "classes_", None) is not None or (
        isinstance(model, Network | Ensemble)
        and model.loss_function.domain in ("classes", "fraction")
    ):
        raise ValueError("model is a classifier; see fp.plot.decision_regions")
    output = checks.count("output", output, least=0)
    samples = checks.numbers("X", X, np.dtype(float))
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2:
        raise ValueError(f"X must have two dimensions, (n, inputs), not shape {samples.shape}")
    observed = checks.numbers("y", y, np.dtype(float))
    if observed.ndim == 1:
        observed = observed[:, None]
    if observed.ndim != 2 or len(observed) != len(samples):
        raise ValueError(
            f"X has {len(samples)} rows, but y has shape {observed.shape}; they need one row per "
            "sample"
        )
    outputs = observed.shape[1]
    if output >= outputs:
        raise ValueError(f"output is {output}, but y has {outputs} columns, from 0")

    def predict(rows: Any) -> Array:
        known = isinstance(model, Network | Ensemble) and predictions.of_networks(model, rows)
        predicted = np.asarray(known.mean() if known else model.predict(rows), float)
        predicted = predicted.reshape(len(predicted), -1)
        checks.finite("model.predict(X)", predicted)
        if predicted.shape[1] != outputs:
            raise ValueError(
                f"y has {outputs} columns, but the model predicts {predicted.shape[1]}"
            )
        return predicted[:, output]

    return samples, observed[:, output], predict


def _band(model: Any, X: Any, output: int) -> tuple[Array, Array, str] | None:
    """Where most targets should lie: from, to, and what it is called; None if nobody knows."""
    found = predictions.of_networks(model, X)
    if isinstance(found, LearntQuantiles):
        low, *_, high = found.levels
        label = f"quantiles {low:g} to {high:g}"
        return found.every()[:, 0], found.every()[:, -1], label
    if found is None or (len(found.points) == 1 and not isinstance(found, Mixture)):
        return None
    label = "two standard deviations" + " of the members" * (not isinstance(found, Mixture))
    mean, deviation = found.mean()[:, output].astype(float), found.deviation()[:, output]
    return mean - 2 * deviation, mean + 2 * deviation, label


def _goodness(observed: Array, residuals: Array) -> str:
    """The root mean squared error, and the part of the variance that is explained."""
    text = f"RMSE {np.sqrt(np.mean(residuals**2)):.3g}"
    total = np.sum((observed - observed.mean()) ** 2)
    if total > 0:
        text += f", R² {1 - np.sum(residuals**2) / total:.4g}"
    return text
