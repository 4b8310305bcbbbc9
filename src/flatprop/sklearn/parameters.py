"""The part of their documentation that the estimators share."""

import inspect
from typing import Any

NETWORK = """\
hidden_layer_sizes : int or array-like of int, default=(100,)
    The units of each hidden layer.
activation : str, function, or a list of these, default="relu"
    The activation of the hidden layers: "identity", "logistic", "tanh", "relu", any other
    name that `fp.Dense` takes, or your own jitted function; a list has one for each layer."""

TRAINING = """\
solver : str or optimizer, default="adam"
    "adam", "sgd" or "lbfgs", set up by the parameters below; "adamw", "rmsprop",
    "adagrad" or "rprop" with the learning rate `learning_rate_init` and its other settings
    at their defaults; "levenberg_marquardt"; or an object with its own settings and
    schedule, such as ``fp.AdamW(fp.schedules.Cosine(1e-3))``.
alpha : float, default=0.0001
    α: the loss of every batch gets α/2 Σ W² / n, over all weights, without the biases; n
    is the batch's number of samples, or the sum of their weights. Not with
    "levenberg_marquardt".
batch_size : int or "auto", default="auto"
    Samples per update; "auto" is min(200, n_samples). Not with a solver that sees
    all samples at once.
learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
    How "sgd" goes on from η = `learning_rate_init`. "constant" keeps η. "invscaling" takes
    η / (t + 1)^power_t, where t is the number of samples seen. "adaptive" divides η by 5
    whenever training would stop, until it is 1e-6.
learning_rate_init : float, default=0.001
    The learning rate at first.
power_t : float, default=0.5
    The exponent of "invscaling".
max_iter : int, default=200
    The most epochs, or iterations of a solver that sees all samples at once.
shuffle : bool, default=True
    Whether the samples are drawn in a new order every epoch.
random_state : int, RandomState instance or None, default=None
    What draws the initial weights, the samples that are set aside, and the order of the
    samples.
tol : float, default=1e-4
    By how much the loss, or the score with `early_stopping`, has to get better to
    count; for "lbfgs" the largest component of the gradient at which it has converged.
verbose : bool, default=False
    Whether to print each iteration's loss.
warm_start : bool, default=False
    Whether `fit` goes on from the weights that there are.
momentum : float, default=0.9
    The momentum of "sgd".
nesterovs_momentum : bool, default=True
    Whether "sgd" uses Nesterov's momentum.
early_stopping : bool or "loss", default=False
    Whether to set aside a part of the samples, stop once its score (accuracy or R²) is
    no longer better, and keep the best weights; "loss" scores by the loss, which is then
    negative in `validation_scores_`. Not with a solver that sees all samples at once.
validation_fraction : float, default=0.1
    The share of the samples that `early_stopping` sets aside.
beta_1, beta_2 : float, default=0.9, 0.999
    The decay rates of the moments of "adam".
epsilon : float, default=1e-8
    What "adam" adds to the root that it divides by.
n_iter_no_change : int or inf, default=10
    After more epochs than this without improvement training stops.
max_fun : int, default=15000
    The most evaluations of the loss by "lbfgs"."""

EXTRA = """\
callbacks : function or list of functions, default=()
    Called after every epoch with an `fp.Epoch`; one that returns True stops the
    training. scikit-learn's own callbacks go to `set_callbacks`."""

ATTRIBUTES = """\
network_ : fp.Network
    The fitted network: to save, export, embed or draw. Shares its parameters with
    the estimator.
coefs_, intercepts_ : list of ndarray
    W, (inputs, units), and b, (units,), of each layer: views of ``network_.params``.
loss_ : float
    The training loss of the last iteration, with the penalty.
loss_curve_ : list of float
    The training loss of every iteration: the mean over its batches, each before its update
    and counted with its number of samples.
validation_loss_curve_ : list of float
    The loss of the validation set after every iteration that had one, without the
    penalty.
best_loss_ : float or None
    The lowest of `loss_curve_`; None with `early_stopping`.
validation_scores_ : list of float or None
    The score of the validation set after every epoch; None without `early_stopping`.
best_validation_score_ : float or None
    The best of `validation_scores_`.
n_iter_, t_ : int
    The iterations of the last `fit`; the samples seen since the weights were new.
n_features_in_, n_layers_, n_outputs_ : int
    Input features; layers, the inputs being one; outputs.
feature_names_in_ : ndarray of str
    The names of the features, where X had some.
out_activation_ : str
    The activation of the last layer."""

ENSEMBLE = """\
n_estimators : int, default=5
    How many networks there are.
bootstrap : bool, default=False
    Whether each network is trained on as many samples drawn with replacement, which then count
    as often as they were drawn. Otherwise the networks differ by their initial weights, the
    order of their samples, and what `early_stopping` sets aside."""

ENSEMBLE_ATTRIBUTES = """\
ensemble_ : fp.Ensemble
    The networks: to save, or to compute with them all. Shares its parameters with
    `estimators_`.
loss_ : float
    The mean of the members' `loss_`.
n_iter_ : int
    The iterations of the member with the most.
n_features_in_, n_layers_, n_outputs_ : int
    Input features; layers, the inputs being one; outputs of each network.
feature_names_in_ : ndarray of str
    The names of the features, where X had some.
out_activation_ : str
    The activation of the last layer."""

ENSEMBLE_NOTES = """\
Each member is trained as that estimator is by itself, with a `random_state` of its own that
follows from that of the ensemble. Members are shared out over as many threads as this process
has processors. Results do not depend on the number of threads. Callbacks are called one at a
time, from several threads; ``epoch.network`` says whose epoch it is. `verbose` shows a progress
bar of the members in place of their losses. After Ctrl-C the ensemble has the members that had
begun."""

PARTS = {
    "network": NETWORK,
    "training": TRAINING,
    "extra": EXTRA,
    "attributes": ATTRIBUTES,
    "ensemble": ENSEMBLE,
    "ensemble_attributes": ENSEMBLE_ATTRIBUTES,
    "ensemble_notes": ENSEMBLE_NOTES,
}


def documented(cls: Any) -> Any:
    """Put the shared parts into the docstring of an estimator."""
    text = inspect.cleandoc(cls.__doc__)
    for name, part in PARTS.items():
        text = text.replace("{" + name + "}", part)
    cls.__doc__ = text.replace("{{", "{").replace("}}", "}")
    return cls
