"""Trainings that diverge or overflow: what is kept, and what is said."""

import numpy as np
import pytest

import flatprop as fp
from networks import make

LEVENBERG_MARQUARDT = pytest.param("levenberg_marquardt", marks=pytest.mark.slow)
"""Compiled for float32 here, and nowhere else in the quick tests."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("each_epoch", [False, True])
def test_divergence_keeps_finite_parameters(data, dtype, each_epoch):
    net = make(dtype=dtype)
    callbacks = (lambda epoch: None,) if each_epoch else ()
    with pytest.warns(fp.DivergenceWarning, match="smaller learning rate") as caught:
        history = net.fit(*data, optimizer=fp.SGD(1e9), epochs=200, callbacks=callbacks)
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.params).all()
    assert np.isfinite(history.loss).all()
    assert history.epochs < 200
    assert str(caught[0].message) == history.message
    assert caught[0].filename == __file__


def test_divergence_in_the_very_last_update_is_seen(data):
    net, (X, y) = make(), data
    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(X, 1e6 * y, optimizer=fp.SGD(3e38), epochs=1, batch_size=None)
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.params).all()


def test_a_validation_loss_that_is_not_finite_is_divergence(data):
    X, y = data
    far = (np.full((1, 4), 1e30), np.zeros((1, 2)))
    net = fp.Network(4, [fp.Dense(2)], rng=0)
    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(X, y, epochs=5, validation_data=far)
    assert history.stopped_by == "diverged"
    assert history.epochs == len(history.val_loss) == 1


HUGE = np.full(101, 1e38)
NOT_FINITE = {
    # the fit's data from X and y, options, what the message says, what it does not say
    "validation inputs": (
        {"validation_data": lambda X, y: (1e30 * X, y)},
        r"loss of the validation data is not finite; that of the training data is \d.*"
        r"reach 3\.\d+, of the validation data 3\.\d+e\+30.*scaled by the same numbers",
    ),
    "validation targets": (
        {"validation_data": lambda X, y: (X, 1e25 * y)},
        r"targets of validation_data of up to \d.*e\+25 the loss overflows float32.*targets s",
    ),
    "validation weights": (
        {"validation_data": lambda X, y: (X, 10 * y, HUGE)},
        r"weights of validation_data of up to 1e\+38.*sample_weight / sample_weight\.mean\(\)",
    ),
    "targets": ({"y": lambda X, y: 1e25 * y}, r"targets of up to \d.*e\+25.*targets scaled"),
    "one target of many": (
        {"y": lambda X, y: np.where(np.arange(101)[:, None] == 70, 1e25, y)},
        r"targets of up to 1e\+25 the loss overflows",
    ),
    "weights": (
        {"y": lambda X, y: 10 * y, "sample_weight": lambda X, y: HUGE},
        r"sample weights of up to 1e\+38 the loss overflows float32.*only their proportions count",
    ),
    "weights and the initial residuals": (
        {"sample_weight": lambda X, y: HUGE},
        r"sample weights of up to 1e\+38",
    ),
    "inputs": ({"X": lambda X, y: 1e30 * X}, r"inputs of up to 3\.\d+e\+30.*inputs and targets s"),
    "one input of many": (
        {"X": lambda X, y: np.where((np.arange(404) == 283).reshape(101, 4), -1e28, X)},
        r"inputs of up to 1e\+28 the loss or its gradient overflows float32",
    ),
}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", LEVENBERG_MARQUARDT])
@pytest.mark.parametrize("case", NOT_FINITE)
def test_what_is_not_finite_is_named(data, optimizer, case):
    X, y = data
    made, message = NOT_FINITE[case]
    given = {name: make_it(X, y) for name, make_it in made.items()}
    net = fp.Network(4, [fp.Dense(2)], rng=0)
    with pytest.warns(fp.DivergenceWarning, match=message) as caught:
        history = net.fit(
            given.pop("X", X), given.pop("y", y), optimizer=optimizer, epochs=5, **given
        )
    assert history.stopped_by == "diverged"
    assert "smaller learning rate" not in history.message
    assert str(caught[0].message) == history.message
    assert np.isfinite(net.params).all()


LAST_WORDS = {
    # loss, last activation, factors of X and y, what the message says
    "steps": ("mse", "identity", 1, 1, "not finite. The last .* Try a smaller learning rate"),
    "inputs": (
        "mse",
        "identity",
        1e9,
        1,
        r"inputs reach 3\.\d+e\+09 and targets reach .*Try input",
    ),
    "logarithm": ("poisson", "identity", 1, 1, r'as low as -.*Try fp.Dense\(1, "exp"\)'),
    "logarithm of 0": ("poisson", "relu", 1, 1, r'those of "relu" need not be.*"softplus"\)'),
    "exp": ("poisson", "exp", 1e3, 1, "inputs of up to"),
}


@pytest.mark.parametrize("case", LAST_WORDS)
def test_what_is_beside_steps_is_named(data, case):
    loss, last, of_X, of_y, message = LAST_WORDS[case]
    X, y = of_X * data[0], of_y * data[1][:, :1] ** 2
    net = fp.Network(4, [fp.Dense(6, "relu"), fp.Dense(1, last)], loss, rng=0)
    with pytest.warns(fp.DivergenceWarning, match=message):
        net.fit(X, y, optimizer=fp.SGD(1e4), epochs=100)


def test_outputs_for_validation_data_that_have_no_logarithm():
    net = fp.Network(1, [fp.Dense(1)], "poisson", rng=0)
    net.params[:] = 1, 0
    X = np.linspace(1, 2, 9)[:, None]
    with pytest.warns(fp.DivergenceWarning, match=r'validation.*logarithm.*"exp"'):
        net.fit(X, X, epochs=2, validation_data=(-X, X))


def ruin(epoch):
    if epoch.epoch == 2:
        epoch.network.params[-1] = np.nan


@pytest.mark.parametrize("options", [{}, {"patience": 9}, {"epochs": 3}])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", LEVENBERG_MARQUARDT, "batches"])
def test_a_callback_that_leaves_nan_is_named(data, optimizer, options):
    net, options = make(), {"epochs": 20, "callbacks": ruin, **options}
    given = ([data],) if optimizer == "batches" else data
    options["optimizer"] = "adam" if optimizer == "batches" else optimizer
    with pytest.warns(fp.DivergenceWarning, match="a callback left parameters") as caught:
        history = net.fit(*given, **options)
    assert (history.stopped_by, history.epochs) == ("diverged", 3)
    assert str(caught[0].message) == history.message
    assert np.isfinite(net.params).all()


@pytest.mark.parametrize("batches", [False, True])
def test_a_callback_that_leaves_nan_with_the_epoch_that_converged(data, batches):
    def ruin(epoch):
        epoch.network.params[0] = np.inf if epoch.epoch else 0

    net = make()
    with pytest.warns(fp.DivergenceWarning, match="a callback left parameters"):
        history = net.fit(*([data],) if batches else data, epochs=9, tol=1e9, callbacks=ruin)
    assert (history.stopped_by, history.epochs) == ("diverged", 2)
    assert np.isfinite(net.params).all()


def test_weights_of_a_sum_have_to_be_smaller():
    net = fp.Network(1, [fp.Dense(1)], "ssr", rng=0)
    X = np.ones((5, 1))
    with pytest.warns(
        fp.DivergenceWarning, match=r"weights of up to 1e\+38.*smaller sample weights"
    ):
        net.fit(X, 100 * X, sample_weight=HUGE[:5])


def test_targets_of_a_batch_from_a_stream_are_named(data):
    X, y = data
    batches = [(X[:50], y[:50]), (X[50:], 1e25 * y[50:])]
    with pytest.warns(fp.DivergenceWarning, match=r"after 1 updates.*targets of up to \d.*e\+25"):
        make().fit(batches)


def test_steps_that_ruin_the_validation_are_named(data):
    """Training data of which one is alone: the last update of the epoch is not seen in a loss."""
    net = fp.Network(1, [fp.Dense(1)], rng=0)
    x = np.ones((1, 1))
    with pytest.warns(fp.DivergenceWarning, match="validation.*smaller learning rate"):
        net.fit(x, 5 * x, optimizer=fp.SGD(1e25), epochs=1, validation_data=(x, x))


WEIGHTS_WITHOUT_ROOM = {
    "float64": (np.full(9, 1e308), "add up to inf, which float64 has no room for"),
    "float32": (np.full(9, 1e-41), "add up to 8.*e-41, which float32 has no room for"),
    "float32 alone": (np.full(9, 1e-60), "so small that it is 0 in float32"),
}


@pytest.mark.parametrize("case", WEIGHTS_WITHOUT_ROOM)
@pytest.mark.parametrize("where", ["training", "validation"])
def test_weights_that_a_dtype_has_no_room_for(case, where):
    weight, message = WEIGHTS_WITHOUT_ROOM[case]
    net = fp.Network(1, [fp.Dense(1)], dtype=case.split()[0], rng=0)
    before = net.params.copy()
    x = np.ones((9, 1))
    given = (
        {"sample_weight": weight} if where == "training" else {"validation_data": (x, x, weight)}
    )
    with pytest.raises(ValueError, match=message):
        net.fit(x, x, **given)
    assert np.array_equal(net.params, before)
