"""`EnsembleRegressor`."""

from typing import Any

from flatprop.many.predicted import Predicted, predicted
from flatprop.sklearn.base_ensemble import BaseEnsemble, with_parameters_of
from flatprop.sklearn.parameters import documented
from flatprop.sklearn.regressor import MLPRegressor
from flatprop.sklearn.regressor_predictions import RegressorPredictions


@documented
@with_parameters_of(MLPRegressor)
class EnsembleRegressor(RegressorPredictions, BaseEnsemble):
    """Several networks that predict numbers together, and say how sure they are.

    With ``loss="gaussian_nll"`` this is a deep ensemble (Lakshminarayanan, Pritzel & Blundell
    2017): each network predicts a normal distribution, and together they predict the mixture.

    Parameters
    ----------
    loss : str, a loss of flatprop or a function, default="squared_error"
        As for `MLPRegressor`; see `predict` for what the ensemble predicts with it.
    {network}
    {training}
    output_activation : str or function, default=None
        The activation of the last layer; None takes "exp" with the loss "poisson" and
        "identity" otherwise.
    {extra}
    {ensemble}

    Attributes
    ----------
    estimators_ : list of MLPRegressor
        The members, with the course of the training of each.
    {ensemble_attributes}

    Notes
    -----
    {ensemble_notes}

    Examples
    --------
    >>> import numpy as np
    >>> from flatprop.sklearn import EnsembleRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> y = X.ravel() + 0.1 * np.random.default_rng(0).normal(size=200)
    >>> model = EnsembleRegressor("gaussian_nll", (10,), "tanh", solver="lbfgs", random_state=0)
    >>> mean, deviation = model.fit(X, y).predict([[0.5]], return_std=True)
    >>> interval = model.predict([[0.5]], quantiles=[0.05, 0.95])
    >>> bool(0.3 < interval[0, 0] < mean[0] < interval[0, 1] < 0.7)
    True
    """

    _rules = {"y_numeric": True}  # noqa: RUF012

    def _predicted(self, X: Any) -> Predicted:
        outputs = self._outputs_of_members(X)
        return predicted(outputs, self.ensemble_.loss_function)
