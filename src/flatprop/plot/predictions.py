"""What a model of any kind predicts of numbers: its distribution, where it has one."""

from typing import Any

import numpy as np

from flatprop.formulas.losses import GaussianNLL
from flatprop.many.ensemble import Ensemble
from flatprop.many.predicted import Mixture, Predicted, predicted
from flatprop.network import Network
from flatprop.validation.arrays import Array


def of_networks(model: Any, X: Any) -> Predicted | None:
    """What a Network, an Ensemble or an estimator of flatprop predicts; None of other models.

    The estimator may be the last step of a pipeline of scikit-learn.
    """
    if hasattr(model, "steps") and hasattr(model, "named_steps"):
        if not hasattr(model[-1], "network_") and not hasattr(model[-1], "ensemble_"):
            return None
        model, X = model[-1], model[:-1].transform(X)
    networks = getattr(model, "ensemble_", getattr(model, "network_", model))
    if isinstance(networks, Ensemble):
        return predicted(networks.predict(X), networks.loss_function)
    if isinstance(networks, Network):
        return predicted(networks.predict(X)[None], networks.loss_function)
    return None


def of_any(model: Any, X: Any) -> Predicted:
    """The same, or normal distributions of a model that has ``predict(X, return_std=True)``."""
    found = of_networks(model, X)
    if found is not None:
        return found
    try:
        mean, deviation = model.predict(X, return_std=True)
    except (TypeError, AttributeError):
        raise TypeError(
            "model must be an fp.Network, an fp.Ensemble or a regressor with "
            f"predict(X, return_std=True); got {model!r}"
        ) from None
    return normal(*(np.asarray(one, float).reshape(len(one), -1) for one in (mean, deviation)))


def normal(mean: Array, deviation: Array) -> Mixture:
    """Normal distributions with these means and standard deviations, (n, targets)."""
    if not (deviation > 0).all():
        raise ValueError("the model predicts a standard deviation that is not positive")
    return Mixture(np.hstack([mean, 2 * np.log(deviation)])[None], GaussianNLL())
