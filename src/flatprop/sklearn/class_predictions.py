"""Classes and probabilities, from the outputs of one network or the means over several."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin

from flatprop.validation.arrays import Array


class ClassPredictions(ClassifierMixin):
    """What a classifier predicts, once `classes_` and outputs are known."""

    classes_: Array
    n_outputs_: int
    _label_binarizer: Any
    _outputs: Callable[[Any], Array]
    """From new samples to (n, outputs)."""

    @property
    def _kind(self) -> str:
        return str(self._label_binarizer.y_type_)

    def predict(self, X: Any) -> Array:
        """The most probable class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels; or 1 for each label whose probability is above a half.
        """
        found = self._chosen(self._outputs(X))
        if found.ndim == 1:
            return np.asarray(self.classes_[found])
        return csr_matrix(found) if self._label_binarizer.sparse_input_ else found

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        outputs = self._outputs(X)
        if self.n_outputs_ == 1:
            return np.hstack([1 - outputs, outputs])
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def _chosen(self, outputs: Array) -> Array:
        """Indices of classes; or 0 and 1 for each label."""
        if self._kind == "multiclass":
            return np.asarray(outputs.argmax(axis=1))
        above = (outputs > 0.5).astype(np.int64)
        if self._kind != "binary":
            return above
        return np.minimum(above.ravel(), len(self.classes_) - 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
