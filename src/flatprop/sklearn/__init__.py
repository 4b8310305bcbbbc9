"""scikit-learn's multi-layer perceptrons on flatprop's kernels.

    from flatprop.sklearn import MLPClassifier, MLPRegressor

Drop-in replacements for the two of `sklearn.neural_network`: the same parameters with the same
defaults and meanings, the same attributes, for pipelines, `GridSearchCV`, `clone`, joblib and
pickle. With the same `random_state` they begin at the same weights and, without shuffling,
go the same way. Beyond scikit-learn's they take an activation per layer, any loss, any
optimizer, class weights, a validation set and callbacks.

Needs scikit-learn: ``pip install 'flatprop[sklearn]'``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "flatprop.sklearn needs scikit-learn: pip install 'flatprop[sklearn]'"
    ) from error

from flatprop.sklearn.classifier import MLPClassifier
from flatprop.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
