"""`EnsembleClassifier`."""

from typing import Any

import numpy as np

from flatprop.sklearn.base_ensemble import BaseEnsemble, with_parameters_of
from flatprop.sklearn.class_predictions import ClassPredictions
from flatprop.sklearn.classifier import MLPClassifier
from flatprop.sklearn.parameters import documented
from flatprop.validation.arrays import Array


@documented
@with_parameters_of(MLPClassifier)
class EnsembleClassifier(ClassPredictions, BaseEnsemble):
    """Several networks that tell classes apart together: their probabilities are averaged.

    Parameters
    ----------
    {network}
    {training}
    loss : {{"log_loss"}}, a loss of flatprop or a function, default="log_loss"
        As for `MLPClassifier`.
    class_weight : dict or "balanced", default=None
        As for `MLPClassifier`.
    label_smoothing : float, default=0.0
        As for `MLPClassifier`.
    {extra}
    {ensemble}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    estimators_ : list of MLPClassifier
        The members, with the course of the training of each.
    {ensemble_attributes}

    Notes
    -----
    {ensemble_notes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from flatprop.sklearn import EnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = EnsembleClassifier(activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.97)
    True
    """

    def _outputs(self, X: Any) -> Array:
        each = self._outputs_of_members(X)
        return np.asarray(each.mean(axis=0, dtype=np.float64).astype(each.dtype))

    def _gather(self, callbacks: Any, verbose: Any) -> None:
        super()._gather(callbacks, verbose)
        first = self.estimators_[0]
        self.classes_, self._label_binarizer = first.classes_, first._label_binarizer

    def _indispensable(self, y: Any) -> Array:
        """A row of each class, so that all members know all classes."""
        if y.ndim == 2:
            return super()._indispensable(y)
        return np.asarray(np.unique(y, return_index=True)[1])
