"""What the classifier and the regressor have in common: from `fit` to fitted attributes."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from flatprop.samples.samples import samples_of
from flatprop.sklearn import plain, settings
from flatprop.sklearn.fit_data import GivenSamples, HeldOut, Task, set_aside
from flatprop.sklearn.fitted import Fitted
from flatprop.sklearn.reports import CallbackSupportMixin, Reports, with_callbacks
from flatprop.sklearn.solving import solve
from flatprop.sklearn.stochastic import descend
from flatprop.solvers import LevenbergMarquardt, Solver
from flatprop.training import divergence, resolution
from flatprop.validation.alerts import DivergenceWarning, warn
from flatprop.validation.arrays import Array


class BaseMLP(CallbackSupportMixin, Fitted):
    """Not to be used directly; see `MLPClassifier` and `MLPRegressor`."""

    # ---- what each kind of estimator says for itself

    @abstractmethod
    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Both as arrays; what X was given as is remembered where `reset`."""

    @abstractmethod
    def _encode(self, y: Any) -> Array:
        """Checked targets as numbers, in a form that can be split and scored."""

    @abstractmethod
    def _targets(self, encoded: Array) -> Array:
        """Encoded targets as the network takes them."""

    @abstractmethod
    def _units(self, encoded: Array) -> int:
        """How many outputs such targets take."""

    @abstractmethod
    def _score(self, outputs: Array, samples: GivenSamples) -> float:
        """What early stopping makes large, given what the network says of them."""

    @property
    def _loss_scale(self) -> float:
        """What the network's loss is multiplied by, to be scikit-learn's."""
        return 1.0

    def _expect(self, y: Any, classes: Any) -> None:
        """Hear of all classes there will ever be, with the first samples of a stream."""

    def _note_classes(self, y: Any) -> None:
        """Look at the targets that are trained on, before anything is weighed."""

    def _weights(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Each sample's weight, or None."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=X.dtype)

    def _arrays(self, X: Any, y: Any, reset: bool, **options: Any) -> tuple[Any, Any]:
        """X and y by scikit-learn's rules."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
            **options,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    # ---- fitting

    @with_callbacks
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
        """Fit the network to X and y.

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
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), False)

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
        return self._fit(X, y, sample_weight, (None, None, None), True)

    def _has_partial_fit(self) -> bool:
        if not settings.is_stochastic(self):
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        incremental: bool,
        classes: Any = None,
    ) -> Any:
        before = self.__dict__.copy()
        try:
            if incremental:
                self._expect(y, classes)
            settings.check_the_rest(self)
            optimizer = settings.optimizer(self)
            task = self._prepared(X, y, sample_weight, validation, incremental, optimizer)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        if isinstance(optimizer, Solver):
            solve(self, task, optimizer)
        else:
            descend(self, task, optimizer, incremental)
        task.reports.end()
        self._tell_of_divergence(task, optimizer)
        return self

    def _tell_of_divergence(self, task: Task, optimizer: Any) -> None:
        """Raise where nothing was learnt, warn where the best weights of a divergence are kept.

        Warn also where validation data overflow, or what the optimizer remembers.
        """
        solved = isinstance(optimizer, Solver)
        # Interrupted in its first epoch, a training has neither loss nor scores.
        finite = math.isfinite(getattr(self, "loss_", 0.0)) and not task.reports.ruined
        scores = (self.validation_scores_ or []) if self.early_stopping and not solved else []
        scored = any(map(math.isfinite, scores))
        val_loss = 0.0
        if task.held is not None and self.validation_loss_curve_:
            val_loss = self.validation_loss_curve_[-1]
        steps = f"a smaller learning_rate_init (it was {self.learning_rate_init:g})"
        if solved:
            least_squares = isinstance(optimizer, LevenbergMarquardt)  # which has no penalty
            steps = "other initial weights (random_state)"
            steps = steps if least_squares else "more regularisation (alpha)"
        kept = (
            " The weights with the best validation score so far, "
            f"{self.best_validation_score_:g}, were kept."
            if scored
            else ""
        )
        if task.reports.ruined:
            what = divergence.RUINED[0].upper() + divergence.RUINED[1:]
            cause, advice = "", divergence.UNRUINED
        elif not finite:
            what = (
                f"The training diverged in iteration {self.n_iter_}: its loss is not finite"
                if scored
                else "Solver produced non-finite parameter weights. The input data may contain "
                "large values and need to be preprocessed"
            )
            updates = 1 if solved else self._optimizer.updates
            cause, advice = divergence.of_updates(task.net, task.data, updates, steps)
        elif task.held is not None and not math.isfinite(val_loss):
            what = "The loss of the validation set is not finite"
            if scores and not scored:
                what = f"No validation score was finite. {what}"
            cause, advice = divergence.of_validation(
                task.net, task.data, task.held.data, self.loss_, steps, "the validation set"
            )
            kept = ""
        elif scores and not scored:
            what = "No validation score was finite"
            cause = f"the loss of the validation set is {val_loss:.3g}, too large for its sums"
            advice = "validation data scaled by the same numbers as the training data"
        else:
            if not solved and (frozen := self._optimizer.frozen()):
                warn(self._in_words_of_estimators(frozen), DivergenceWarning)
            return
        message = f"{what}{f'; {cause}' if cause else ''}.{kept} Try {advice}."
        message = self._in_words_of_estimators(message)
        if not scored and (scores or not finite):
            raise ValueError(message)
        warn(message, DivergenceWarning)

    @staticmethod
    def _in_words_of_estimators(message: str) -> str:
        message = message.replace(", clip_norm=1.0", "")  # which they do not have
        return message.replace('dtype="float64"', "X in float64")

    def _prepared(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        incremental: bool,
        optimizer: Any,
    ) -> Task:
        """Look at everything that could be wrong, and make the network where it is new."""
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validated(X, y, incremental, first)
        self._note_classes(y)
        training = GivenSamples(X, self._encode(y), self._weights(X, y, sample_weight))
        held_out = self._validation_set(*validation)
        # In a stream that goes on nothing is drawn from it but, at times, a new optimizer's seed.
        random = check_random_state(self.random_state) if first or not incremental else None
        units = self._units(training.y)
        if first:
            self._new_network(X.shape[1], units, X.dtype, random)
            self._count_from_here()
        else:
            self._check_unchanged(units)
        net = self._current()
        whole = isinstance(optimizer, Solver)
        if held_out is None and self.early_stopping and not whole:
            training, held_out = set_aside(training, self.validation_fraction, random)
        if whole:
            optimizer.check(net, net.params.size)
        data = samples_of(net, training.X, self._targets(training.y), training.weight, whole=whole)
        if not incremental:
            names = getattr(self, "feature_names_in_", None)
            resolution.look_at(training.X, data, net.inputs, net.dtype, names)
        held = None if held_out is None else HeldOut(self, net, held_out)
        return Task(net, data, held, Reports(self, net, X, y, sample_weight), random)

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

    def _count_from_here(self) -> None:
        """Everything that goes on from one fit to the next, at its beginning."""
        self.n_iter_ = self.t_ = 0
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_: float | None = None if self.early_stopping else math.inf
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        for name in ("loss_", "validation_loss_curve_", "_optimizer"):
            self.__dict__.pop(name, None)

    # ---- prediction

    def _outputs(self, X: Any) -> Array:
        """What the network says of new samples."""
        check_is_fitted(self, "coefs_")
        if not plain.inputs(self, X):
            X = validate_data(
                self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False
            )
        return self._current().predict(X)

    # ---- as scikit-learn sees it

    def _keep(self, values: dict[str, Any]) -> None:
        """Every parameter as it was given, which is all that a constructor may do."""
        for name in self._get_param_names():
            setattr(self, name, values[name])

    def __sklearn_is_fitted__(self) -> bool:
        return "coefs_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
