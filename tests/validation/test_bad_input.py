"""What bad input gets: the message that a user sees, and an unchanged network."""

import numpy as np
import pytest

import flatprop as fp
from small_calls import DENSE, X, Y, fit, network

NAN, INF = float("nan"), float("inf")
C = np.array([0, 1, 1, 0])


def classifier():
    return fp.Network(3, [fp.Dense(2, "softmax")], "cross_entropy", rng=0)


def with_value(array, place, value):
    array = np.array(array, dtype=float)
    array[place] = value
    return array


CASES = {
    # construction
    "no inputs": (lambda: fp.Network(0, DENSE), "inputs must be at least 1, got 0"),
    "half an input": (lambda: fp.Network(2.5, DENSE), "inputs must be a whole number, got 2.5"),
    "true inputs": (lambda: fp.Network(True, DENSE), "inputs must be a whole number, got True"),
    "no layers": (lambda: fp.Network(3, []), r"layers is empty; .*\[fp.Dense\(1\)\]"),
    "a bare layer": (lambda: fp.Network(3, fp.Dense(2)), r"write \[fp.Dense\(...\)\]"),
    "numbers for layers": (lambda: fp.Network(3, [64, 2]), r"layers\[0\] must be a fp.Dense"),
    "no units": (lambda: fp.Dense(0), "units must be at least 1, got 0"),
    "misspelt activation": (lambda: fp.Dense(2, "rleu"), "Did you mean 'relu'"),
    "activation of another name": (lambda: fp.Dense(2, "swish"), "unknown activation 'swish'"),
    "no activation": (lambda: fp.Dense(2, None), "activation must be one of identity"),
    "softmax inside": (
        lambda: fp.Network(3, [fp.Dense(2, "softmax"), fp.Dense(2)]),
        "only the last layer can be",
    ),
    "misspelt loss": (lambda: fp.Network(3, DENSE, "crossentropy"), "mean 'cross_entropy'"),
    "a number for a loss": (lambda: fp.Network(3, DENSE, 1), "loss must be one of mse"),
    "cross-entropy without softmax": (
        lambda: fp.Network(3, DENSE, "cross_entropy"),
        r'needs a last layer with "softmax".*fp.Dense\(2, "softmax"\)',
    ),
    "binary cross-entropy without sigmoid": (
        lambda: fp.Network(3, DENSE, "binary_cross_entropy"),
        'needs a last layer with "sigmoid"',
    ),
    "half precision": (lambda: fp.Network(3, DENSE, dtype="float16"), 'must be "float32" or'),
    "no dtype": (lambda: fp.Network(3, DENSE, dtype="double precision"), "dtype must be"),
    "text for a seed": (lambda: fp.Network(3, DENSE, rng="seed"), "rng must be None, a seed"),
    "negative seed": (lambda: fp.Network(3, DENSE, rng=-1), "rng must be None, a seed"),
    "Huber's delta": (lambda: fp.losses.Huber(0), "delta must be positive and finite, got 0"),
    "a quantile of 1": (lambda: fp.losses.Quantile(1), "q must lie between 0 and 1, got 1"),
    # parameters
    "too few params": (lambda: setattr(network(), "params", np.ones(3)), r"shape \(26,\)"),
    "params with NaN": (lambda: setattr(network(), "params", [NAN] * 26), r"params\[0\] is nan"),
    "weights of another shape": (
        lambda: network().weights.__setitem__(0, np.ones((4, 3))),
        r"weights\[0\] has shape \(3, 4\), but the value has \(4, 3\)",
    ),
    # X
    "no X": (lambda: network().predict(None), "X is None"),
    "an empty X": (lambda: network().predict(np.empty((0, 3))), r"X is empty.*\(0, 3\)"),
    "one flat sample": (lambda: network().predict(X[0]), r"pass X\[None, :\]"),
    "too many columns": (lambda: network().predict(np.ones((2, 5))), "has 5 columns.*takes 3"),
    "a transposed X": (lambda: network().predict(X[:4].T), "Is it transposed?"),
    "three dimensions": (lambda: network().predict(np.ones((2, 3, 1))), "two dimensions"),
    "NaN in X": (lambda: network().predict(with_value(X, (2, 1), NAN)), r"X\[2, 1\] is nan"),
    "infinity in X": (lambda: network().predict(with_value(X, (0, 2), -INF)), r"\[0, 2\] is -inf"),
    "too large for float32": (
        lambda: network().predict(with_value(X, (1, 0), 1e300)),
        'too large for float32.*dtype="float64"',
    ),
    "text": (lambda: network().predict([["a", "b", "c"]]), "must hold numbers, got dtype <U1"),
    "text among numbers": (
        lambda: network().predict(np.array([[1, "two", 3]], object)),
        r"X\[0, 1\] is 'two'",
    ),
    "None among numbers": (lambda: network().predict([[1, None, 3]]), r"X\[0, 1\] is nan"),
    "complex numbers": (lambda: network().predict(X + 1j), "X is complex"),
    "dates": (lambda: network().predict(np.zeros((2, 3), "M8[D]")), "turn text or dates"),
    "ragged rows": (lambda: network().predict([[1, 2, 3], [1]]), "cannot be made into an array"),
    # y
    "fewer targets": (lambda: network().loss(X, Y[:3]), r"X has 4 rows, but y has shape \(3, 2\)"),
    "one column of two": (lambda: network().loss(X, Y[:, 0]), r"shape \(4, 2\), but it has \(4,"),
    "NaN in y": (lambda: network().loss(X, with_value(Y, (1, 1), NAN)), r"y\[1, 1\] is nan"),
    "a class too many": (
        lambda: classifier().loss(X, [0, 1, 2, 0]),
        "class 2.*has 2 units",
    ),
    "classes from 1": (lambda: classifier().loss(X, C + 1), "Do the classes start at 1?"),
    "half a class": (lambda: classifier().loss(X, C + 0.5), r"y\[0\] is 0.5, not a class index"),
    "a negative class": (lambda: classifier().loss(X, C - 1), r"y\[0\] is class -1"),
    "text classes": (lambda: classifier().loss(X, list("abba")), "y must hold numbers"),
    "no probabilities": (lambda: classifier().loss(X, Y), "row 1 of y adds up to 5"),
    "negative probability": (
        lambda: classifier().loss(X, np.tile([1.5, -0.5], (4, 1))),
        r"y\[0, 1\] is -0.5; rows of class probabilities",
    ),
    "negative counts": (
        lambda: fp.Network(3, [fp.Dense(1, "exp")], "poisson").loss(X, [1, 2, -3, 0]),
        r"y\[2, 0\] is -3.0; poisson takes counts",
    ),
    "a binary target of 2": (
        lambda: fp.Network(3, [fp.Dense(1, "sigmoid")], "binary_cross_entropy").loss(X, C * 2),
        r"y\[1, 0\] is 2.0; binary_cross_entropy takes y from 0 to 1",
    ),
    # sample weights
    "too few weights": (fit(sample_weight=[1, 2]), r"sample_weight must have shape \(4,\)"),
    "a negative weight": (fit(sample_weight=[1, 1, -1, 1]), r"sample_weight\[2\] is -1"),
    "no weight at all": (fit(sample_weight=[0, 0, 0, 0]), "every sample_weight is zero"),
    # fit
    "no epochs": (fit(epochs=0), "epochs must be at least 1"),
    "half an epoch": (fit(epochs=0.5), "epochs must be a whole number"),
    "an empty batch": (fit(batch_size=0), "batch_size must be at least 1"),
    "a misspelt optimizer": (fit(optimizer="adamm"), "Did you mean 'adam'"),
    "an optimizer's class": (fit(optimizer=fp.Adam), r"write fp.Adam\(...\)"),
    "a function as optimizer": (fit(optimizer=print), "optimizer must be one of sgd, adam"),
    "a mask of numbers": (fit(trainable=np.ones(26)), "boolean mask over net.params, got dtype"),
    "a mask too short": (fit(trainable=np.ones(3, bool)), r"trainable must have shape \(26,\)"),
    "nothing to train": (fit(trainable=np.zeros(26, bool)), "nothing would be trained"),
    "a negative tol": (fit(tol=-1), "tol must be finite and not negative"),
    "no patience": (fit(patience=0), "patience must be at least 1"),
    "a norm of 0": (fit(clip_norm=0), "clip_norm must be positive"),
    "text as a norm": (fit(clip_norm="1"), "clip_norm must be a number"),
    "too few factors": (
        fit(learning_rate_factors=[1, 0.1]),
        r"factors must have shape \(26,\), as net.params, but it has \(2,\); begin with",
    ),
    "one factor": (fit(learning_rate_factors=0.1), r"must have shape \(26,\), .* has \(\)"),
    "a negative factor": (
        fit(learning_rate_factors=np.r_[1, 1, -0.5, np.ones(23)]),
        r"learning_rate_factors\[2\] is -0.5; factors are not negative",
    ),
    "a factor of NaN": (
        fit(learning_rate_factors=np.full(26, NAN)),
        r"learning_rate_factors\[0\] is nan \(26 such values\)",
    ),
    "a factor too large": (
        fit(learning_rate_factors=np.full(26, 1e300)),
        r"learning_rate_factors\[0\] is .*, too large for float32",
    ),
    "factors of text": (fit(learning_rate_factors=["1"] * 26), "learning_rate_factors"),
    "factors of 0": (
        fit(learning_rate_factors=np.zeros(26)),
        "learning_rate_factors is 0 for every trainable parameter: nothing would be trained",
    ),
    "factors of 0 where it counts": (
        fit(learning_rate_factors=np.arange(26) % 2, trainable=np.arange(26) % 2 == 0),
        "learning_rate_factors is 0 for every trainable parameter",
    ),
    "ema of 1": (fit(ema=1), "ema must lie between 0 and 1, got 1"),
    "ema of 0": (fit(ema=0), "ema must lie between 0 and 1, got 0"),
    "ema of NaN": (fit(ema=NAN), "ema must be finite"),
    "ema of text": (fit(ema="0.9"), "ema must be a number"),
    "ema of a Trainer": (lambda: fp.Trainer(network(), ema=2), "ema must lie between 0 and 1"),
    "factors of a Trainer": (
        lambda: fp.Trainer(network(), learning_rate_factors=[1]),
        r"learning_rate_factors must have shape \(26,\)",
    ),
    "no function as callback": (fit(callbacks=[1]), "callbacks must be functions"),
    "half the validation data": (fit(validation_data=X), r"must be \(X, y\)"),
    "validation data without weight": (
        fit(validation_data=(X, Y, np.zeros(4))),
        "validation_data: every sample_weight is zero: nothing would be measured; give some",
    ),
    "validation data that do not fit": (
        fit(validation_data=(X, Y[:2])),
        "validation_data: X has 4 rows, but y has",
    ),
    # solvers
    "a misspelt solver": (fit(optimizer="lbgfs"), "Did you mean 'lbfgs'"),
    "a solver's class": (fit(optimizer=fp.LBFGS), r"write fp.LBFGS\(...\)"),
    "mini-batches for a solver": (
        fit(optimizer="lbfgs", batch_size=2),
        'takes all 4 samples at once, but batch_size is 2; leave it out, or .*"adam"',
    ),
    "half a batch for a solver": (
        fit(optimizer="lbfgs", batch_size=2.5),
        "batch_size must be a whole number",
    ),
    "a clipped solver": (fit(optimizer="lbfgs", clip_norm=1), "clip_norm has no meaning for LBF"),
    "a solver with factors": (
        fit(optimizer="levenberg_marquardt", learning_rate_factors=np.ones(26)),
        "learning_rate_factors have no meaning for LevenbergMarquardt",
    ),
    "an averaged solver": (fit(optimizer="lbfgs", ema=0.9), "ema has no meaning for LBFGS"),
    "a resumed solver": (fit(optimizer="lbfgs", resume="x"), "LBFGS cannot go on from a checkp"),
    "a solver with checkpoints": (
        fit(optimizer="levenberg_marquardt", callbacks=fp.Checkpoint("x")),
        "LevenbergMarquardt cannot be resumed; .*network.save",
    ),
    "a seed of text for a solver": (fit(optimizer="lbfgs", rng="x"), "rng must be None, a seed"),
    "no sum of squares": (
        lambda: classifier().fit(X, C, optimizer="levenberg_marquardt"),
        '"mse", "half_mse", "ssr".*loss is "cross_entropy"; use optimizer=fp.LBFGS',
    ),
    "a mu of 0": (lambda: fp.LevenbergMarquardt(mu=0), "mu must be positive and finite, got 0"),
    "a mu above its limit": (lambda: fp.LevenbergMarquardt(mu=1e11), "above mu_max"),
    "mu the wrong way": (
        lambda: fp.LevenbergMarquardt(mu_dec=10, mu_inc=0.1),
        "mu_dec must lie below 1 and mu_inc above, got 10 and 0.1",
    ),
    "a negative goal": (lambda: fp.LevenbergMarquardt(goal=-1), "goal must be finite and not neg"),
    "no corrections": (lambda: fp.LBFGS(maxcor=0), "maxcor must be at least 1"),
    "a negative gtol": (lambda: fp.LBFGS(gtol=-1), "gtol must be finite and not negative"),
    "a resumption from nowhere": (fit(resume="no such file"), "no such file"),
    # optimizers and schedules
    "a negative rate": (lambda: fp.SGD(-0.1), "learning_rate must be finite and not negative"),
    "a rate of text": (lambda: fp.SGD("fast"), "learning_rate must be a number or a schedule"),
    "a beta of 1": (lambda: fp.Adam(betas=(0.9, 1.0)), r"betas must lie in \[0, 1\), got 1.0"),
    "one beta": (lambda: fp.Adam(betas=0.9), "betas must be two numbers"),
    "Nesterov without momentum": (lambda: fp.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
    "a negative decay": (lambda: fp.RMSprop(weight_decay=-1), "weight_decay must lie in"),
    "etas the wrong way": (lambda: fp.Rprop(etas=(1.2, 0.5)), "one below and one above 1"),
    "a step of no epochs": (lambda: fp.schedules.Step(0.1, 0), "step_size must be at least 1"),
    "a factor of 2": (lambda: fp.schedules.ReduceOnPlateau(0.1, factor=2), "between 0 and 1"),
    "a checkpoint never": (lambda: fp.Checkpoint("x", every=0), "every must be at least 1"),
}


def test_the_table_is_long_enough():
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES)
def test_message(case, monkeypatch):
    made = []
    build = fp.Network.__init__

    def remembered(self, *arguments, **options):
        build(self, *arguments, **options)
        made.append((self, self.params.copy(), self.rng.bit_generator.state))

    monkeypatch.setattr(fp.Network, "__init__", remembered)
    call, message = CASES[case]
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        call()
    for net, params, random_state in made:
        assert np.array_equal(net.params, params)
        assert net.rng.bit_generator.state == random_state


def test_a_network_that_already_holds_nan():
    net = network()
    net.params[5] = NAN
    with pytest.raises(ValueError, match=r"net.params\[5\] is nan"):
        net.fit(X, Y)
