"""`MLPClassifier`."""

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from flatprop.formulas.losses import CrossEntropy
from flatprop.model.dense_layer import Dense
from flatprop.sklearn import plain, settings, validated
from flatprop.sklearn.base import BaseMLP
from flatprop.sklearn.class_predictions import ClassPredictions
from flatprop.sklearn.fit_data import GivenSamples
from flatprop.sklearn.parameters import documented
from flatprop.sklearn.reports import with_callbacks
from flatprop.validation.arrays import Array


@documented
class MLPClassifier(ClassPredictions, BaseMLP):
    """Multi-layer perceptron classifier, drop-in for scikit-learn's.

    Binary labels have one sigmoid output, several classes a softmax, several labels per
    sample (a column of 0 and 1 for each) a sigmoid each.

    Parameters
    ----------
    {network}
    {training}
    loss : {{"log_loss"}}, a loss of flatprop or a function, default="log_loss"
        What is made small. "log_loss" is the cross-entropy;
        ``fp.losses.CrossEntropy(label_smoothing=0.1)`` is it with smoothing, for three
        classes or more; any other loss gets 0 and 1 as targets for the probabilities.
    class_weight : dict or "balanced", default=None
        A factor for each class, by which the weights of its samples are multiplied;
        "balanced" makes it inversely proportional to how often the class occurs.
    label_smoothing : float, default=0.0
        ε: the targets 0 and 1 of K classes are replaced by ε / K and 1 - ε + ε / K (Szegedy et
        al. 2016), those of several labels by ε / 2 and 1 - ε / 2.
    {extra}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from flatprop.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.97)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | str = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        callbacks: Any = (),
    ) -> None:
        self._keep(locals())

    @available_if(lambda self: self._has_partial_fit())
    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> "MLPClassifier":
        """Go through these samples once; the optimizer remembers those before.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like of shape (n_classes,), default=None
            All labels there will ever be, for the first call.

        Returns
        -------
        MLPClassifier
            The estimator itself.
        """
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" needs all labels at once: for partial_fit pass a dict, '
                "or weights from sklearn.utils.class_weight.compute_class_weight"
            )
        self._fit((X, y, sample_weight), classes=classes)
        return self

    # ---- what the base asks for

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        if not reset and incremental and plain.inputs(self, X) and self._has_labels(y, len(X)):
            return X, y
        X, y = validated.samples(self, X, y, reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
            return X, y
        found = unique_labels(y)
        if self.warm_start and not incremental and set(found) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        if len(np.setdiff1d(found, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {found}."
            )
        return X, y

    def _has_labels(self, y: Any, rows: int) -> bool:
        """Whether y are plain labels of the classes that there are."""
        one_each = self._kind in ("binary", "multiclass")
        return one_each and plain.labels(y, rows, self.classes_)

    def _expect(self, y: Any, classes: Any) -> None:
        known = getattr(self, "classes_", None)
        if known is None:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            labels = y if type_of_target(y).startswith("multilabel") else unique_labels(classes)
            self._label_binarizer = LabelBinarizer().fit(labels)
            self.classes_ = unique_labels(classes)
        elif (
            classes is not None
            and not _is_the_same(known, classes)
            and not np.array_equal(known, unique_labels(classes))
        ):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{known!r}"
            )

    def _note_classes(self, y: Any) -> None:
        self._weight_of_class = self.class_weight
        if isinstance(self.class_weight, str) and y.ndim == 1:  # not those of a validation set
            present = np.unique(y)
            balanced = compute_class_weight(self.class_weight, classes=present, y=y)
            self._weight_of_class = dict(zip(present, balanced, strict=True))

    def _weights(self, X: Any, y: Any, sample_weight: Any) -> Any:
        weight = super()._weights(X, y, sample_weight)
        if self.class_weight is None:
            return weight
        by_class = compute_sample_weight(self._weight_of_class, y).astype(X.dtype)
        return by_class if weight is None else by_class * weight

    def _encode(self, y: Any) -> Array:
        if self._kind == "multiclass":
            return np.asarray(np.searchsorted(self.classes_, y))
        if self._kind == "binary":
            return np.asarray(np.searchsorted(self.classes_, y) == 1)[:, None]
        return np.asarray(self._label_binarizer.transform(y)).astype(bool)

    def _targets(self, encoded: Array) -> Array:
        by_index = self.loss == "log_loss" or isinstance(self.loss, CrossEntropy)
        smoothing, classes = self.label_smoothing, 2
        if encoded.ndim == 1:
            if by_index and not smoothing:
                return encoded
            classes = len(self.classes_)
            encoded = np.eye(classes)[encoded]
        return encoded * (1 - smoothing) + smoothing / classes if smoothing else encoded

    def _units(self, encoded: Array) -> int:
        return len(self.classes_) if encoded.ndim == 1 else encoded.shape[1]

    def _last_layer(self, units: int) -> tuple[Dense, Any]:
        several = self._kind == "multiclass"
        loss = "cross_entropy" if several else "binary_cross_entropy"
        if self.loss != "log_loss":
            loss = settings.loss(self.loss)
            if isinstance(loss, CrossEntropy) and not several:
                raise ValueError(
                    "fp.losses.CrossEntropy is for three classes or more: two classes have one "
                    'output, a sigmoid; take the loss "log_loss", and class_weight of the '
                    "estimator"
                )
        return Dense(units, "softmax" if several else "sigmoid"), loss

    def _score(self, outputs: Array, samples: GivenSamples) -> float:
        chosen = self._chosen(outputs)
        right = chosen == samples.y.reshape(chosen.shape)
        if right.ndim == 2:
            right = right.all(axis=1)
        return float(np.average(right, weights=samples.weight))


def _is_the_same(known: Array, classes: Any) -> bool:
    """Whether the same labels are given in the same order, as every call of a loop does."""
    if not isinstance(classes, (np.ndarray, list, tuple, range)) or len(classes) != len(known):
        return False
    given = np.asarray(classes)
    return given.dtype.kind == known.dtype.kind and np.array_equal(given, known)
