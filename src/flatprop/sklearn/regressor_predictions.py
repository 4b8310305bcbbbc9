"""Numbers, their standard deviations and quantiles, from one network or several."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_array

from flatprop.many.predicted import LearntQuantiles, Mixture, Predicted
from flatprop.validation import checks
from flatprop.validation.arrays import Array


class RegressorPredictions(RegressorMixin):
    """What a regressor predicts, once it is known what its networks predict together."""

    _predicted: Callable[[Any], Predicted]
    """From new samples to what the networks predict."""

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_quantiles: bool = False,
        quantiles: Any = None,
    ) -> Any:
        """The predicted targets, or quantiles of them.

        | the loss | what is predicted |
        | --- | --- |
        | "gaussian_nll" | the mean |
        | `fp.losses.Quantiles` | the quantile that is nearest to the median |
        | any other | the network's outputs |

        An ensemble predicts the mean over its members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The inputs.
        return_std : bool, default=False
            Whether to return the standard deviation as well: with the loss "gaussian_nll" of the
            targets, see the notes. With another loss an ensemble returns that of its members'
            predictions, and a single network has none.
        return_quantiles : bool, default=False
            Whether to return all quantiles as well; for the loss `fp.losses.Quantiles`.
        quantiles : float or array-like of float, default=None
            Quantiles to predict in place of the mean, between 0 and 1: with the loss
            "gaussian_nll" any, with `fp.losses.Quantiles` those that were learnt. With another
            loss they are those of the predictions of an ensemble's members.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the dtype of the weights. With an array of `quantiles` it has another axis, the
            last one, (..., n_quantiles).
        y_std : ndarray of the shape of y
            Only with `return_std`.
        y_quantiles : ndarray of shape (n_samples, n_quantiles)
            Only with `return_quantiles`.

        Notes
        -----
        With "gaussian_nll" the members of an ensemble predict a mixture of normal distributions in
        equal parts (Lakshminarayanan, Pritzel & Blundell 2017). Its variance is 1/M Σ σₘ² + 1/M
        Σ (μₘ - μ)²: the noise of the data, and how far the members are apart. Its quantiles are
        computed from its distribution function.
        """
        found = self._predicted(X)
        if quantiles is not None:
            if return_std or return_quantiles:
                raise ValueError("predict returns quantiles alone; call it again for the mean")
            return self._quantiles(found, quantiles)
        mean = _as_given(found.mean(), found)
        if return_std:
            self._check_spread(found, "return_std=True")
            return mean, _as_given(found.deviation(), found)
        if return_quantiles:
            if not isinstance(found, LearntQuantiles):
                raise ValueError(
                    "return_quantiles=True needs the loss fp.losses.Quantiles(...), which learns "
                    f"several; the loss is {found.loss.name!r}"
                )
            return mean, found.every().astype(found.outputs.dtype, copy=False)
        return mean

    def log_likelihood(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The mean of log p(y | X); for the loss "gaussian_nll".

        The more the better. As `EnsembleRegressor.log_likelihood` this method is a scorer for
        `GridSearchCV` and the like.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets. The logarithms of several targets of a sample are added up.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        float
            Of the normal distribution that a network predicts, or of the mixture of an ensemble.
        """
        found = self._predicted(X)
        if not isinstance(found, Mixture):
            raise ValueError(
                'log_likelihood needs the loss "gaussian_nll", which learns distributions; the '
                f"loss is {found.loss.name!r}"
            )
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        y = y[:, None] if y.ndim == 1 else y
        check_consistent_length(y, found.points[0])
        if y.shape[1] != found.points.shape[2]:
            raise ValueError(f"y has {y.shape[1]} columns, not {found.points.shape[2]}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, y)
        return float(np.average(found.log_density(y).sum(axis=1), weights=sample_weight))

    def _quantiles(self, found: Predicted, quantiles: Any) -> Array:
        q = checks.numbers("quantiles", quantiles, np.dtype(np.float64))
        if q.ndim > 1 or not ((q > 0) & (q < 1)).all():
            raise ValueError(f"quantiles must be numbers between 0 and 1, got {quantiles!r}")
        if not isinstance(found, LearntQuantiles):
            self._check_spread(found, "quantiles")
        every = found.quantile(q.reshape(-1))
        return _as_given(every[..., 0] if q.ndim == 0 else every, found)

    def _check_spread(self, found: Predicted, what: str) -> None:
        """Raise where one network has learnt no more than numbers."""
        if not isinstance(found, Mixture) and len(found.points) == 1:
            raise ValueError(
                f'{what} needs the loss "gaussian_nll", which learns standard deviations, or '
                f"an EnsembleRegressor of several networks; the loss is {found.loss.name!r}"
            )


def _as_given(values: Array, found: Predicted) -> Array:
    """Without the axis of targets if there is one; in the dtype of the networks."""
    if values.shape[1] == 1:
        values = values.reshape(len(values), *values.shape[2:])
    return values.astype(found.outputs.dtype, copy=False)
