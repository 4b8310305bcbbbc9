"""What the classifier and the regressor have in common: from `fit` to fitted attributes."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from flatprop.arrays import Array
from flatprop.description import Dense
from flatprop.network import Network
from flatprop.sklearn import settings
from flatprop.sklearn.reports import CallbackSupportMixin, Reports, with_callbacks
from flatprop.sklearn.samples import Samples
from flatprop.sklearn.solving import solve
from flatprop.sklearn.stochastic import descend
from flatprop.solvers import Solver


class BaseMLP(CallbackSupportMixin, BaseEstimator, ABC):
    """Not to be used directly; see `MLPClassifier` and `MLPRegressor`."""

    coefs_: list[Array]
    intercepts_: list[Array]
    n_outputs_: int
    out_activation_: str
    _network: Network

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
    def _last_layer(self, units: int) -> tuple[Dense, Any]:
        """The output layer and the loss."""

    @abstractmethod
    def _score(self, outputs: Array, samples: Samples) -> float:
        """What early stopping makes large, given what the network says of them."""

    @abstractmethod
    def _loss_offset(self, samples: Samples) -> float:
        """What scikit-learn's loss has that the network's has not."""

    def _weights(self, y: Any, sample_weight: Any, dtype: Any) -> Any:
        """Each sample's weight, or None."""
        if sample_weight is None:
            return None
        weight: Array = check_array(
            sample_weight, ensure_2d=False, dtype=dtype, input_name="sample_weight"
        )
        if weight.shape != (len(y),):
            raise ValueError(f"sample_weight.shape == {weight.shape}, expected ({len(y)},)!")
        return weight

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
            Weights of the samples.
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
            If a parameter or the data are not possible.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), False)

    @available_if(lambda self: self._has_partial_fit())
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
        self, X: Any, y: Any, sample_weight: Any, given_for_validation: Any, incremental: bool
    ) -> Any:
        settings.check_the_rest(self)
        hidden = settings.hidden_layers(self)
        optimizer = settings.optimizer(self)
        stochastic = settings.is_stochastic(self)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)

        X, y = self._validated(X, y, incremental, first)
        weight = self._weights(y, sample_weight, X.dtype)
        training = Samples(X, self._encode(y), weight)
        held_out = self._validation_set(*given_for_validation)

        random = check_random_state(self.random_state)
        if first:
            self._start(hidden, training, random, stochastic)
        net = self._current()
        if held_out is None and self.early_stopping and stochastic:
            training, held_out = self._set_aside(training, random)
        reports = Reports(self, net, X, y, weight)
        self._random_state = random
        if isinstance(optimizer, Solver):
            solve(self, net, optimizer, training, held_out, reports)
        else:
            descend(self, net, optimizer, training, held_out, reports, incremental)
        reports.end()
        kept_the_best = self.early_stopping and stochastic
        diverged = not math.isfinite(getattr(self, "loss_", 0.0))  # interrupted, there may be none
        if not np.isfinite(net.params).all() or (diverged and not kept_the_best):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _validation_set(self, X: Any, y: Any, weight: Any) -> Samples | None:
        if X is None and y is None:
            if weight is not None:
                raise ValueError("sample_weight_val is given without X_val and y_val")
            return None
        if X is None or y is None:
            raise ValueError("a validation set needs both X_val and y_val")
        X, y = self._validated(X, y, True, False)
        return Samples(X, self._encode(y), self._weights(y, weight, X.dtype))

    def _set_aside(self, given: Samples, random: Any) -> tuple[Samples, Samples]:
        """A part of the samples for early stopping; of two classes in their proportions."""
        one_column = given.y.ndim == 2 and given.y.dtype == np.bool_ and given.y.shape[1] == 1
        parts = train_test_split(
            *(part for part in given if part is not None),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=given.y if one_column else None,
        )
        training, held_out = (Samples(*(*parts[k::2], None)[:3]) for k in (0, 1))
        if held_out.X.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return training, held_out

    # ---- the network

    def _start(
        self, hidden: list[Dense], training: Samples, random: Any, stochastic: bool
    ) -> None:
        """A new network, and everything that counts from here on."""
        last, loss = self._last_layer(self._units(training.y))
        layers = [*hidden, last]
        X = training.X
        seed = np.random.default_rng(0)
        net = Network(X.shape[1], layers, loss, X.dtype, seed)
        drawn = settings.initial_weights(layers, X.shape[1], random)
        if None in drawn:
            net.reset(random.randint(2**31))
        for number, values in enumerate(drawn):
            if values is not None:
                net.weights[number], net.biases[number] = values
        self.n_outputs_ = last.units
        self.n_layers_ = len(layers) + 1
        self.out_activation_ = "logistic" if last.name == "sigmoid" else last.name
        self.n_iter_ = self.t_ = 0
        self._attach(net)
        self.__dict__.pop("validation_loss_curve_", None)
        if stochastic:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.best_loss_: float | None = None if self.early_stopping else math.inf
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_validation_score_ = -math.inf if self.early_stopping else None

    def _attach(self, net: Network) -> None:
        self._network = net
        self.coefs_ = list(net.weights)
        self.intercepts_ = list(net.biases)

    def _current(self) -> Network:
        """The network with the weights that `coefs_` and `intercepts_` have now.

        They are views of its parameters, unless somebody has replaced them.
        """
        net: Network | None = self.__dict__.get("_network")
        if net is not None and _same(self.coefs_, net.weights, self.intercepts_, net.biases):
            return net
        coefs, intercepts = self.coefs_, self.intercepts_
        hidden = settings.hidden_layers(self)
        last, loss = self._last_layer(self.n_outputs_)
        dtype = np.float32 if np.asarray(coefs[0]).dtype == np.float32 else np.float64
        net = Network(len(coefs[0]), [*hidden, last], loss, dtype, 0)
        for number, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            net.weights[number], net.biases[number] = W, b
        self._attach(net)
        return net

    def _outputs(self, X: Any) -> Array:
        """What the network says of new samples."""
        check_is_fitted(self, "coefs_")
        X = validate_data(
            self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False
        )
        return self._current().predict(X)

    @property
    def network_(self) -> Network:
        """The fitted `fp.Network`: to save, export, embed or draw; shares its parameters."""
        check_is_fitted(self, "coefs_")
        return self._current()

    # ---- as a Python object

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

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        net = state.get("_network")
        if net is not None and _same(self.coefs_, net.weights, self.intercepts_, net.biases):
            del state["coefs_"], state["intercepts_"]  # views, made again
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_network" in state and "coefs_" not in state:
            self._attach(state["_network"])


def _same(*pairs: Any) -> bool:
    lists = zip(pairs[0::2], pairs[1::2], strict=True)
    return all(
        len(given) == len(views) and all(a is b for a, b in zip(given, views, strict=True))
        for given, views in lists
    )
