"""`fit`, as all estimators have it."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any


class FitsSamples:
    """What is fitted to samples, and may have a validation set beside them."""

    @abstractmethod
    def _fit(self, given: tuple[Any, Any, Any], validation: Any) -> Any:
        """Train on X, y and weights."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Fit to X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The inputs. float32 is computed with in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets: class labels, or a column of 0 and 1 for each label; or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, not negative.
        X_val, y_val, sample_weight_val
            A validation set, whose loss after each epoch becomes `validation_loss_curve_`.
            With `early_stopping` it is also what is scored, and nothing is set aside.

        Returns
        -------
        object
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data are not possible; the estimator is then as it was. Or
            if the training diverged.
        """
        return self._fit((X, y, sample_weight), (X_val, y_val, sample_weight_val))


@contextlib.contextmanager
def unchanged_by_errors(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes of before if something goes wrong."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise
