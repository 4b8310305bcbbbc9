"""`MLPRegressor`."""

from typing import Any

from sklearn.metrics import r2_score

from flatprop.formulas.loss import Loss
from flatprop.formulas.losses import Poisson
from flatprop.many.predicted import Predicted, predicted
from flatprop.model.dense_layer import Dense
from flatprop.sklearn import plain, settings, validated
from flatprop.sklearn.base import BaseMLP
from flatprop.sklearn.fit_data import GivenSamples
from flatprop.sklearn.parameters import documented
from flatprop.sklearn.regressor_predictions import RegressorPredictions
from flatprop.validation.arrays import Array


@documented
class MLPRegressor(RegressorPredictions, BaseMLP):
    """Multi-layer perceptron regressor, drop-in for scikit-learn's.

    Parameters
    ----------
    loss : str, a loss of flatprop or a function, default="squared_error"
        What is made small: "squared_error" (½ Σ (ŷ - y)², averaged over the samples),
        "poisson" (half the Poisson deviance, without what does not depend on ŷ),
        "absolute_error", "huber", "quantile", "log_cosh", any other name that `fp.Network`
        takes, an object such as ``fp.losses.Quantile(q=0.9)``, or your own function.
        "gaussian_nll" also learns the standard deviation of every target, and
        ``fp.losses.Quantiles(...)`` several quantiles of one target: see `predict`.
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
    What is made small with several outputs is ½ Σ (ŷ - y)² per sample, with the penalty. As in
    scikit-learn `loss_` is that over the number of outputs, here penalty included.

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
        early_stopping: bool | str = False,
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

    def _predicted(self, X: Any) -> Predicted:
        return predicted(self._outputs(X)[None], self._current().loss_function)

    # ---- what the base asks for

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        if not reset and plain.inputs(self, X) and plain.numbers(y, len(X)):
            return X, y
        return validated.samples(self, X, y, reset, y_numeric=True)

    def _units(self, encoded: Array) -> int:
        targets = 1 if encoded.ndim == 1 else encoded.shape[1]
        loss = settings.loss(self.loss)
        return loss.outputs_for(targets) if isinstance(loss, Loss) else targets

    def _last_layer(self, units: int) -> tuple[Dense, Any]:
        activation, loss = self.output_activation, settings.loss(self.loss)
        if activation is None:
            activation = "exp" if isinstance(loss, Poisson) else "identity"
        return Dense(units, settings.sigmoid(activation)), loss

    def _score(self, outputs: Array, samples: GivenSamples) -> float:
        point = self._current().loss_function.point(outputs)
        return float(r2_score(samples.y, point, sample_weight=samples.weight))

    @property
    def _loss_scale(self) -> float:
        # scikit-learn divides by the outputs where it reports the loss, not where it trains
        return 1.0 / self.n_outputs_ if self.loss == "squared_error" else 1.0
