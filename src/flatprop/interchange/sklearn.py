"""Networks from and to scikit-learn's MLPClassifier and MLPRegressor."""

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatprop.interchange.arrays_in import assign
from flatprop.model.dense_layer import Dense
from flatprop.model.model import checked_dense, checked_model
from flatprop.network import Network
from flatprop.validation import checks
from flatprop.validation.arrays import Array

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""scikit-learn's names of hidden activations, and flatprop's."""

LAST = {
    "softmax": ("softmax", "cross_entropy"),
    "logistic": ("sigmoid", "binary_cross_entropy"),
    # its gradient is that of ½ Σₖ (ŷ - y)², although its loss_ is divided by the outputs too
    "identity": ("identity", "half_mse"),
    "exp": ("exp", "poisson"),
}
"""The last activation and the loss that scikit-learn trains by, from its `out_activation_`."""


def from_sklearn(estimator: "MLPClassifier | MLPRegressor") -> Network:
    """The network in a fitted estimator of scikit-learn.

    Its `predict` gives the `predict_proba` of a classifier, of a binary one the second column
    alone, and the `predict` of a regressor, as (n, outputs). Its class k is
    ``estimator.classes_[k]``.

    Parameters
    ----------
    estimator
        A fitted `MLPClassifier` or `MLPRegressor`; flatprop's own will do, too.

    Returns
    -------
    Network
        With copies of the parameters, of their dtype. Its loss is the one that the estimator
        was trained by: "cross_entropy", "binary_cross_entropy", "half_mse" or "poisson". The
        penalty `alpha` is left out; its counterpart is `weight_decay` of an optimizer.

    Raises
    ------
    TypeError, ValueError
        If it is another estimator, or is not fitted.
    """
    if isinstance(estimator, type):
        raise TypeError(
            f"from_sklearn takes a fitted estimator, got the class {estimator.__name__}"
        )
    kinds = [kind.__name__ for kind in type(estimator).__mro__]
    if not {"MLPClassifier", "MLPRegressor"} & {*kinds}:
        hint = "; of a pipeline, pass its last step" if "Pipeline" in kinds else ""
        raise TypeError(
            f"from_sklearn takes an MLPClassifier or MLPRegressor, got {kinds[0]}{hint}"
        )
    if not hasattr(estimator, "coefs_"):
        raise ValueError(f"the {kinds[0]} is not fitted; call its fit first")
    if hasattr(estimator, "network_"):  # flatprop's own
        return estimator.network_.copy()  # type: ignore[no-any-return]
    W, b = estimator.coefs_, estimator.intercepts_
    last, loss = LAST[estimator.out_activation_]
    names = [ACTIVATIONS[estimator.activation]] * (len(W) - 1) + [last]
    network = Network(
        W[0].shape[0],
        [Dense(weights.shape[1], name) for weights, name in zip(W, names, strict=True)],
        loss,
        W[0].dtype,
    )
    arrays: list[tuple[str, Any]] = []
    for number, (weights, biases) in enumerate(zip(W, b, strict=True)):
        arrays += [(f"coefs_[{number}]", weights), (f"intercepts_[{number}]", biases)]
    assign(network, arrays)
    return network


def to_sklearn(
    network: Network, classes: ArrayLike | None = None
) -> "MLPClassifier | MLPRegressor":
    """A fitted estimator of scikit-learn that predicts what the network does.

    With "cross_entropy" or "binary_cross_entropy" an `MLPClassifier`, with "mse", "half_mse" or
    "ssr" and a linear last layer an `MLPRegressor`, also with "poisson" and "exp" from
    scikit-learn 1.7 on.

    Parameters
    ----------
    network
        The network. Its hidden layers must share one activation: "identity", "sigmoid", "tanh"
        or "relu".
    classes
        The labels of the network's classes 0, 1, ...; with one sigmoid unit those of 0 and 1.
        None takes these numbers. scikit-learn sorts labels, so that the columns of
        `predict_proba` are in the order of its `classes_`. Several sigmoid units are classes
        that may hold at once, which scikit-learn numbers itself.

    Returns
    -------
    MLPClassifier or MLPRegressor
        With copies of the parameters, of the network's dtype. `predict`, `predict_proba` and
        `score` work, and `partial_fit` goes on training from here, by Adam with
        scikit-learn's settings, but without penalty (``alpha=0``). `loss_curve_` begins empty;
        `loss_` is NaN, for the data are not known.

    Raises
    ------
    ImportError
        If scikit-learn is missing: ``pip install 'flatprop[sklearn]'``.
    ValueError
        If there is no such estimator for the network, or `classes` do not fit it.

    Notes
    -----
    scikit-learn has one sigmoid unit where there are two classes. Of a softmax of two units it
    gets the difference, sigmoid(z₁ - z₀), which is the same probability.
    """
    try:
        from sklearn import neural_network
    except ImportError:
        raise ImportError(
            "to_sklearn needs scikit-learn: pip install 'flatprop[sklearn]'"
        ) from None
    checked_model("to_sklearn", network)
    checked_dense("to_sklearn", network)
    checks.finite("params", network.params)
    settings: dict[str, Any] = {
        "hidden_layer_sizes": tuple(layer.units for layer in network.dense[:-1]),
        "activation": _hidden_activation(network),
        "alpha": 0.0,
        "random_state": 0,  # for what `_started` draws; None would draw from NumPy's global state
    }
    last = network.dense[-1].activation
    W, b = [array.copy() for array in network.weights], [array.copy() for array in network.biases]
    if network.loss_function.activation is not None:
        if network.loss_function.has_function:
            raise ValueError(
                "scikit-learn's MLPClassifier has neither label_smoothing nor weights of classes "
                'in its loss; copy the parameters into a network with the loss "cross_entropy"'
            )
        labels = _labels(network, classes)
        if last == "softmax" and network.outputs == 2:
            W[-1], b[-1] = W[-1][:, 1:] - W[-1][:, :1], b[-1][1:] - b[-1][:1]
        if network.outputs > 1 and last == "sigmoid":
            y: Array = np.zeros((1, network.outputs), int)
        else:
            order = np.argsort(labels)
            if b[-1].size > 1:
                W[-1], b[-1] = np.ascontiguousarray(W[-1][:, order]), b[-1][order]
            elif order[0] == 1:  # the label of class 0 comes second
                W[-1], b[-1] = -W[-1], -b[-1]
            y = labels[:1]
        estimator = neural_network.MLPClassifier(**settings)
        _started(estimator, network, y, classes=labels)
    else:
        if classes is not None:
            raise ValueError(
                f'classes are for "cross_entropy" and "binary_cross_entropy", but the loss is '
                f'"{network.loss_function.name}"'
            )
        settings |= _regression(network, neural_network.MLPRegressor)
        estimator = neural_network.MLPRegressor(**settings)
        shape = (1,) if network.outputs == 1 else (1, network.outputs)
        _started(estimator, network, np.ones(shape, network.dtype))
    estimator.coefs_, estimator.intercepts_ = W, b
    return estimator


def _hidden_activation(network: Network) -> str:
    """scikit-learn's name of the hidden activation; its default where there is none."""
    names = {own: name for name, own in ACTIVATIONS.items()}
    hidden = {
        layer.name if isinstance(layer.activation, str) else "" for layer in network.dense[:-1]
    }
    if len(hidden) > 1 or not hidden <= {*names}:
        raise ValueError(
            "scikit-learn's hidden layers share one activation, identity, sigmoid, tanh or relu; "
            f"these of {network!r} do not"
        )
    return names[hidden.pop()] if hidden else "relu"


def _labels(network: Network, classes: ArrayLike | None) -> NDArray[Any]:
    """One label per class, in the order of the network's."""
    several = network.outputs > 1 and network.dense[-1].activation == "sigmoid"
    count = max(network.outputs, 2)
    if network.outputs == 1 and network.dense[-1].activation == "softmax":
        raise ValueError("a softmax of one unit is always 1: scikit-learn needs two classes")
    labels = np.arange(count) if classes is None else np.asarray(classes)
    if labels.shape != (count,):
        raise ValueError(
            f"classes must hold {count} labels for {network!r}, but its shape is {labels.shape}"
        )
    _check_labels(labels if classes is None else classes)
    if len(np.unique(labels)) < count:
        raise ValueError(f"classes must differ from each other, got {labels.tolist()}")
    if several and not np.array_equal(labels, np.arange(count)):
        raise ValueError(
            f"with {count} sigmoid units classes may hold at once, and scikit-learn calls them 0 "
            f"to {count - 1}; leave classes out"
        )
    return labels


def _check_labels(classes: ArrayLike) -> None:
    """Raise unless scikit-learn takes these as labels of classes."""
    labels: list[Any] = np.asarray(classes, object).tolist()
    texts = [isinstance(label, str) for label in labels]
    if all(texts):
        return
    if any(texts):
        raise ValueError(f"classes must be all numbers or all texts, got {labels}")
    for label in labels:
        if not (isinstance(label, Real | np.bool_) and label == label // 1):
            raise ValueError(
                f"classes must be whole numbers or texts for scikit-learn, got {label}"
            )


def _regression(network: Network, regressor: Any) -> dict[str, str]:
    """The settings of an `MLPRegressor` that trains by the network's loss."""
    loss, last = network.loss_function, network.dense[-1].activation
    if loss.squares and last == "identity":
        return {}
    if loss.name == "poisson" and last == "exp":
        if "loss" not in regressor().get_params():
            raise ValueError('scikit-learn knows the loss "poisson" from version 1.7 on')
        return {"loss": "poisson"}
    raise ValueError(
        f"scikit-learn has no estimator for {network!r}: an MLPRegressor has the loss mse, "
        "half_mse or ssr and an identity last layer, or poisson and exp. To predict only, copy "
        "the parameters into a network with such a loss"
    )


def _started(estimator: Any, network: Network, y: Array, **classes: Array) -> None:
    """Let the estimator set itself up by one step, which is then forgotten.

    What it keeps beside its parameters changes with its version.
    """
    estimator.partial_fit(np.zeros((1, network.inputs), network.dtype), y, **classes)
    del estimator._optimizer  # which `partial_fit` makes anew
    estimator.set_params(random_state=None)
    estimator.n_iter_ = estimator.t_ = estimator._no_improvement_count = 0
    estimator.loss_, estimator.best_loss_, estimator.loss_curve_ = np.nan, np.inf, []
