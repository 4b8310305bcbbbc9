"""`MLPRegressor`."""

from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from flatprop.arrays import Array
from flatprop.description import Dense
from flatprop.sklearn import settings
from flatprop.sklearn.base import BaseMLP
from flatprop.sklearn.parameters import documented
from flatprop.sklearn.samples import Samples


@documented
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor, drop-in for scikit-learn's.

    Parameters
    ----------
    loss : str, a loss of flatprop or a function, default="squared_error"
        What is made small: "squared_error" (½ Σ (ŷ - y)², averaged over the samples),
        "poisson" (half the Poisson deviance), "absolute_error", "huber", "quantile",
        "log_cosh", any other name that `fp.Network` takes, an object such as
        ``fp.losses.Quantile(q=0.9)``, or your own function.
    {network}
    {training}
    output_activation : str or function, default=None
        The activation of the last layer; None takes "exp" with the loss "poisson" and
        "identity" otherwise.
    {extra}

    Attributes
    ----------
    {attributes}

    Notes
    -----
    With several outputs `loss_` is that of which the gradient is taken, ½ Σ (ŷ - y)² per sample;
    scikit-learn reports the mean over the outputs instead, and trains by the same gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from flatprop.sklearn import MLPRegressor
    >>> X = np.linspace(-3, 3, 200)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=20, activation="tanh", solver="lbfgs",
    ...                      max_iter=500, random_state=0)
    >>> bool(model.fit(X, np.sin(X).ravel()).score(X, np.sin(X).ravel()) > 0.99)
    True
    """

    def __init__(
        self,
        loss: Any = "squared_error",
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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        output_activation: Any = None,
        callbacks: Any = (),
    ) -> None:
        self._keep(locals())

    def predict(self, X: Any) -> Array:
        """The network's outputs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the dtype of the weights.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if self.n_outputs_ == 1 else outputs

    # ---- what the base asks for

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        return self._arrays(X, y, reset, y_numeric=True)

    def _encode(self, y: Any) -> Array:
        return np.asarray(y)

    def _targets(self, encoded: Array) -> Array:
        return encoded

    def _units(self, encoded: Array) -> int:
        return 1 if encoded.ndim == 1 else encoded.shape[1]

    def _last_layer(self, units: int) -> tuple[Dense, Any]:
        activation = self.output_activation
        if activation is None:
            activation = "exp" if self.loss == "poisson" else "identity"
        return Dense(units, settings.sigmoid(activation)), settings.loss(self.loss)

    def _score(self, outputs: Array, samples: Samples) -> float:
        return float(r2_score(samples.y, outputs, sample_weight=samples.weight))

    def _loss_offset(self, samples: Samples) -> float:
        """What makes Poisson's loss half the deviance: 0 where the prediction is y."""
        if self.loss != "poisson":
            return 0.0
        y = samples.y.reshape(len(samples.y), -1)
        terms = (xlogy(y, y) - y).sum(axis=1)
        return float(np.average(terms, weights=samples.weight))
