"""scikit-learn's multi-layer perceptrons on flatprop's kernels, and ensembles of them.

    from flatprop.sklearn import MLPClassifier, MLPRegressor

Drop-in replacements for the two of `sklearn.neural_network`: the same parameters with the same
defaults and meanings, the same attributes, for pipelines, `GridSearchCV`, `clone`, joblib and
pickle. With the same `random_state` they begin at the same weights and, without shuffling,
go the same way. Beyond scikit-learn's they take an activation per layer, any loss, any
optimizer, class weights, a validation set and callbacks.

`EnsembleClassifier` and `EnsembleRegressor` have the same parameters for several networks, which
also say how sure they are.

Needs scikit-learn: ``pip install 'flatprop[sklearn]'``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "flatprop.sklearn needs scikit-learn: pip install 'flatprop[sklearn]'"
    ) from error

from flatprop.sklearn.classifier import MLPClassifier
from flatprop.sklearn.ensemble_classifier import EnsembleClassifier
from flatprop.sklearn.ensemble_regressor import EnsembleRegressor
from flatprop.sklearn.regressor import MLPRegressor

__all__ = ["EnsembleClassifier", "EnsembleRegressor", "MLPClassifier", "MLPRegressor"]
