"""What the ensembles have in common: their members are estimators, trained over threads."""

import inspect
import threading
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from flatprop.many.ensemble import Ensemble
from flatprop.many.shared_out import OneAtATime, train_each, warn_together
from flatprop.sklearn import settings, validated
from flatprop.sklearn.base import BaseMLP
from flatprop.sklearn.course import Course
from flatprop.sklearn.fits_samples import FitsSamples, unchanged_by_errors
from flatprop.training.callbacks import checked_callbacks
from flatprop.training.history import History
from flatprop.validation import checks
from flatprop.validation.alerts import warn
from flatprop.validation.arrays import Array, aligned_empty

OWN = {"n_estimators": 5, "bootstrap": False}
"""The parameters that an ensemble has beyond those of its members, and their defaults."""


def with_parameters_of(member: type[BaseMLP]) -> Any:
    """Give an ensemble the constructor of its members, with the parameters `OWN` at its end."""
    theirs = inspect.signature(member.__init__)
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
        for name, value in OWN.items()
    ]
    signature = theirs.replace(parameters=[*theirs.parameters.values(), *own])

    def decorate(cls: Any) -> Any:
        def init(self: Any, *given: Any, **named: Any) -> None:
            bound = signature.bind(self, *given, **named)
            bound.apply_defaults()
            for name in [*signature.parameters][1:]:
                setattr(self, name, bound.arguments[name])

        init.__signature__ = signature  # type: ignore[attr-defined]
        init.__name__, init.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
        cls.__init__, cls._member = init, member
        return cls

    return decorate


class BaseEnsemble(FitsSamples, BaseEstimator):
    """Not to be used directly; see `EnsembleClassifier` and `EnsembleRegressor`."""

    _member: ClassVar[type[BaseMLP]]
    """What the members are."""
    _rules: ClassVar[dict[str, Any]] = {}
    """What scikit-learn's validation is told of y."""

    n_estimators: int
    bootstrap: bool
    estimators_: list[Any]

    # ---- fitting

    def _fit(self, given: tuple[Any, Any, Any], validation: Any) -> Any:
        with unchanged_by_errors(self):
            self._train(given, validation)
        return self

    def _train(self, given: tuple[Any, Any, Any], validation: tuple[Any, Any, Any]) -> None:
        """Train all members; what cannot be makes the first of them raise."""
        count = checks.count("n_estimators", self.n_estimators)
        settings.check_truth("bootstrap", self.bootstrap)
        parameters: Any = self.get_params(deep=False)
        callbacks = checked_callbacks(parameters["callbacks"])
        first = not (parameters["warm_start"] and hasattr(self, "estimators_"))
        X, y = validated.samples(self, *given[:2], first, **self._rules)
        weight = given[2]
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=X.dtype)
        if validation[0] is not None and validation[1] is not None:
            validation = (*validated.samples(self, *validation[:2], False), validation[2])
        # Two seeds for each member, which has them however many others there are.
        random = check_random_state(parameters["random_state"])
        seeds = random.randint(2**31 - 1, size=(count, 2)).tolist()
        members = [self._member() for _ in range(count)] if first else self.estimators_
        if len(members) != count:
            raise ValueError(
                f"n_estimators is {count}, but the ensemble has {len(members)} members, which go "
                "on with warm_start=True; to begin anew call fit with warm_start=False"
            )
        lock = threading.Lock()
        given_to_members = {name: value for name, value in parameters.items() if name not in OWN}
        given_to_members["callbacks"] = [OneAtATime(one, lock) for one in callbacks]
        trainings = []
        for member, (seed, of_bootstrap) in zip(members, seeds, strict=True):
            member.set_params(**given_to_members | {"random_state": seed, "verbose": False})
            samples = X, y, weight
            if self.bootstrap:
                samples = self._drawn(X, y, weight, np.random.RandomState(of_bootstrap))
            trainings.append(partial(_train, member, samples, validation))
        results, warned = train_each(trainings, None, bool(parameters["verbose"]), "member")
        for i, result in enumerate(results):
            if isinstance(result, Exception):
                result.add_note(f"member {i} of {count}")
                raise result
        warn_together(warned, "member")
        self.estimators_ = [member for member in members if hasattr(member, "coefs_")]
        if len(self.estimators_) < count:
            begun = len(self.estimators_)
            warn(f"The ensemble has {begun} of {count} members: those that had begun.")
        self._gather(parameters["callbacks"], parameters["verbose"])

    def _drawn(self, X: Any, y: Any, weight: Any, random: Any) -> tuple[Any, Any, Any]:
        """As many samples drawn with replacement: each once, and how often it counts as a weight.

        So no sample is among both those that are trained on and those that are held out.
        """
        n = X.shape[0]
        counts = np.bincount(random.randint(n, size=n), minlength=n)
        rows = np.union1d(np.flatnonzero(counts), self._indispensable(y))
        drawn = counts[rows].astype(X.dtype)
        return X[rows], y[rows], drawn if weight is None else drawn * weight[rows]

    def _indispensable(self, y: Any) -> Array:
        """Rows that every member has to know of, if only with no weight."""
        return np.empty(0, np.int64)

    def _gather(self, callbacks: Any, verbose: Any) -> None:
        """Take what came of the members, and let their networks share one array."""
        if not self.estimators_:
            raise KeyboardInterrupt
        for member in self.estimators_:
            member.set_params(callbacks=callbacks, verbose=verbose)
            course = Course.of(member)
            course._optimizer = None  # it would keep the network that the member had until now
            course.publish(member)
        first = self.estimators_[0]
        self.n_outputs_, self.n_layers_ = first.n_outputs_, first.n_layers_
        self.out_activation_ = first.out_activation_
        self._ensemble = self._of_members()

    # ---- what came of the members

    @property
    def n_iter_(self) -> int:
        """The iterations of the member with the most."""
        return max(int(member.n_iter_) for member in self.estimators_)

    @property
    def loss_(self) -> float:
        """The mean of the members' `loss_`."""
        return float(np.mean([getattr(member, "loss_", np.nan) for member in self.estimators_]))

    @property
    def ensemble_(self) -> Ensemble:
        """The fitted `fp.Ensemble`, whose networks are those of `estimators_`."""
        check_is_fitted(self, "estimators_")
        held: Ensemble | None = self.__dict__.get("_ensemble")
        if held is None or list(held) != [member._current() for member in self.estimators_]:
            held = self._ensemble = self._of_members()
        return held

    def _of_members(self) -> Ensemble:
        """An ensemble of the members' networks, which from then on share its parameters."""
        networks = [member._current() for member in self.estimators_]
        described, size = networks[0], networks[0].params.size
        params = aligned_empty(len(networks) * size, described.dtype).reshape(-1, size)
        np.stack([network.params for network in networks], out=params)
        generators = [network.rng for network in networks]
        ensemble = Ensemble.with_params(described, params, generators)
        for member, network in zip(self.estimators_, ensemble, strict=True):
            member._attach(network)
        return ensemble

    def _outputs_of_members(self, X: Any) -> Array:
        """(members, n, outputs) for new samples."""
        check_is_fitted(self, "estimators_")
        return self.ensemble_.predict(validated.inputs(self, X))

    # ---- as scikit-learn sees it

    def __sklearn_is_fitted__(self) -> bool:
        return "estimators_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_ensemble", None)  # made again from the members
        return state


def _train(member: BaseMLP, samples: tuple[Any, Any, Any], validation: Any) -> History:
    """Train a member; what `train_each` looks at is whether Ctrl-C ended it."""
    member._fit(samples, validation)
    return History(stopped_by="interrupted" if member._interrupted else "epochs")
