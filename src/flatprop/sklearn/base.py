"""What the classifier and the regressor have in common: from `fit` to fitted attributes."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from flatprop.samples.samples import samples_of
from flatprop.sklearn import outcome, settings, validated
from flatprop.sklearn.course import Course
from flatprop.sklearn.fit_data import GivenSamples, HeldOut, Task, set_aside
from flatprop.sklearn.fits_samples import FitsSamples, unchanged_by_errors
from flatprop.sklearn.fitted import Fitted
from flatprop.sklearn.reports import CallbackSupportMixin, Reports, with_callbacks
from flatprop.sklearn.solving import solve
from flatprop.sklearn.stochastic import descend
from flatprop.solvers import Solver
from flatprop.training import resolution
from flatprop.validation.arrays import Array


class BaseMLP(CallbackSupportMixin, FitsSamples, Fitted):
    """Not to be used directly; see `MLPClassifier` and `MLPRegressor`."""

    # ---- what each kind of estimator says for itself

    @abstractmethod
    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """X and y as arrays; with `reset` the number and the names of X's columns are kept."""

    def _encode(self, y: Any) -> Array:
        """Checked targets as numbers, in a form that can be split and scored."""
        return np.asarray(y)

    def _targets(self, encoded: Array) -> Array:
        """Encoded targets as the network takes them."""
        return encoded

    @abstractmethod
    def _units(self, encoded: Array) -> int:
        """How many outputs such targets take."""

    @abstractmethod
    def _score(self, outputs: Array, samples: GivenSamples) -> float:
        """Accuracy or R² of the network's outputs: what early stopping makes large."""

    @property
    def _loss_scale(self) -> float:
        """The network's loss times this is the loss that scikit-learn reports."""
        return 1.0

    def _expect(self, y: Any, classes: Any) -> None:
        """Take note of all classes of a stream, which come with its first samples."""

    def _note_classes(self, y: Any) -> None:
        """Look at the training targets, before weights of samples are made."""

    def _weights(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Each sample's weight, or None."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=X.dtype)

    # ---- fitting

    fit = with_callbacks(FitsSamples.fit)

    @available_if(lambda self: self._has_partial_fit())
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Go through these samples once; the optimizer remembers those before.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        object
            The estimator itself.
        """
        return self._fit((X, y, sample_weight))

    def _has_partial_fit(self) -> bool:
        if not settings.is_stochastic(self):
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    def _fit(
        self, given: tuple[Any, Any, Any], validation: Any = None, classes: Any = None
    ) -> Any:
        """Train on X, y and weights; without `validation` they are a part of a stream."""
        incremental = validation is None
        with unchanged_by_errors(self):
            if incremental:
                self._expect(given[1], classes)
            settings.check_the_rest(self)
            optimizer = settings.optimizer(self)
            task = self._prepared(*given, validation, optimizer)
        try:
            if isinstance(optimizer, Solver):
                solve(self, task, optimizer)
            else:
                descend(self, task, optimizer, incremental)
        finally:
            task.course.publish(self)
        task.reports.end()
        outcome.look_at(self, task, optimizer)
        return self

    def _prepared(self, X: Any, y: Any, weight: Any, validation: Any, optimizer: Any) -> Task:
        """Look at everything that could be wrong, and make the network where it is new."""
        incremental = validation is None
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validated(X, y, incremental, first)
        self._note_classes(y)
        training = GivenSamples(X, self._encode(y), self._weights(X, y, weight))
        held_out = None if incremental else self._validation_set(*validation)
        # A stream that goes on draws nothing here: at most the seed of a new optimizer, later.
        random = check_random_state(self.random_state) if first or not incremental else None
        units = self._units(training.y)
        if first:
            self._new_network(X.shape[1], units, X.dtype, random)
            course = Course(best_loss_=None if self.early_stopping else math.inf)
        else:
            self._check_unchanged(units)
            course = Course.of(self)
        net = self._current()
        whole = isinstance(optimizer, Solver)
        if held_out is None and self.early_stopping and not whole:
            strict = self.early_stopping != "loss"
            training, held_out = set_aside(training, self.validation_fraction, random, strict)
        if whole:
            optimizer.check(net, net.params.size)
        data = samples_of(net, training.X, self._targets(training.y), training.weight, whole=whole)
        if not incremental:
            names = getattr(self, "feature_names_in_", None)
            resolution.look_at(training.X, data, net.inputs, net.dtype, names)
        held = None if held_out is None else HeldOut(self, net, held_out)
        course.begin(whole, self.early_stopping, held is not None)
        course.publish(self)
        return Task(net, data, held, course, Reports(self, net, X, y, weight), random)

    def _validation_set(self, X: Any, y: Any, weight: Any) -> GivenSamples | None:
        if X is None and y is None:
            if weight is not None:
                raise ValueError("sample_weight_val is given without X_val and y_val")
            return None
        if X is None or y is None:
            raise ValueError("a validation set needs both X_val and y_val")
        if weight is not None and not np.any(weight):
            raise ValueError(
                "every sample_weight_val is zero: nothing would be measured; give some samples of "
                "the validation set a weight, or leave the validation set out"
            )
        X, y = self._validated(X, y, True, False)
        return GivenSamples(X, self._encode(y), self._weights(X, y, weight))

    # ---- prediction

    def _outputs(self, X: Any) -> Array:
        """The network's outputs for new samples."""
        check_is_fitted(self, "coefs_")
        return self._current().predict(validated.inputs(self, X))

    # ---- as scikit-learn sees it

    def _keep(self, values: dict[str, Any]) -> None:
        """Set every parameter as it was given; a constructor may do nothing else."""
        for name in self._get_param_names():
            setattr(self, name, values[name])

    def __sklearn_is_fitted__(self) -> bool:
        return "coefs_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
