"""Every optimizer against torch.optim and the NumPy twin."""

import itertools
import math
import pickle

import numpy as np
import pytest

import flatprop as fp
import reference
from flatprop.evaluation import calls
from networks import curves, every_kind


def make(dtype="float64", loss="mse"):
    """A network on whose paths no rounding grows."""
    net = fp.Network(3, [fp.Dense(8, "tanh"), fp.Dense(2)], loss, dtype, rng=0)
    rng = np.random.default_rng(1)
    for b in net.biases:
        b[:] = rng.uniform(-0.3, 0.3, b.size)
    return net


# Rates at which no rounding grows: larger ones make RMSprop bounce, and the path chaotic.
OPTIMIZERS = [
    fp.SGD(0.2),
    fp.SGD(0.1, weight_decay=0.05),
    fp.SGD(0.1, momentum=0.9),
    fp.SGD(0.1, momentum=0.9, dampening=0.4),
    fp.SGD(0.1, momentum=0.9, nesterov=True),
    fp.SGD(0.1, momentum=0.8, dampening=0.1, weight_decay=0.02),
    fp.SGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.02),
    fp.Adam(),
    fp.Adam(0.02, betas=(0.8, 0.95), eps=1e-4),
    fp.Adam(0.02, weight_decay=0.05),
    fp.Adam(0.02, amsgrad=True, betas=(0.9, 0.9)),
    fp.Adam(0.02, amsgrad=True, weight_decay=0.05),
    fp.AdamW(),
    fp.AdamW(0.02, weight_decay=0.3),
    fp.AdamW(0.02, amsgrad=True, betas=(0.9, 0.9)),
    fp.RMSprop(),
    fp.RMSprop(0.002, alpha=0.9, eps=1e-5),
    fp.RMSprop(0.01, centered=True),
    fp.RMSprop(0.005, momentum=0.7),
    fp.RMSprop(0.005, momentum=0.7, centered=True),
    fp.RMSprop(0.005, momentum=0.7, centered=True, weight_decay=0.05),
    fp.RMSprop(0.01, weight_decay=0.05),
    fp.Adagrad(),
    fp.Adagrad(0.1, lr_decay=0.1),
    fp.Adagrad(0.1, initial_accumulator_value=0.3, eps=1e-6),
    fp.Adagrad(0.1, lr_decay=0.01, weight_decay=0.05),
    fp.Rprop(),
    fp.Rprop(0.05, etas=(0.4, 1.3), step_sizes=(1e-4, 0.1)),
    fp.Rprop(0.01, weight_decay=0.05),
]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
FULL = {"batch_size": None, "shuffle": False}


def options(optimizer):
    """The settings of an optimizer but for its rate."""
    return {name: value for name, value in vars(optimizer).items() if name != "learning_rate"}


def twin_fit(net, optimizer, X, y, rates, **how):
    """The twin after the training that `net` is about to get, and its losses."""
    twin = reference.Twin(net)
    update = reference.updating(optimizer.name, **options(optimizer))
    return twin, twin.fit(X, y, update, rates, **how)


# ---- PyTorch


def torch_fit(net, optimizer, X, y, epochs, clip_norm=None, factors=(1, 1, 1, 1)):
    """Parameters after, and losses before, each of torch's updates of a tanh network.

    W and b of each layer are a group whose learning rate has one of the `factors`.
    """
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    parts = [part for pair in zip(net.weights, net.biases, strict=True) for part in pair]
    parameters = [torch.tensor(part, requires_grad=True) for part in parts]
    X, y = torch.tensor(X), torch.tensor(y)
    settings = options(optimizer)
    decay_by_hand = settings.pop("weight_decay") if optimizer.name == "rprop" else 0
    rule = getattr(torch.optim, type(optimizer).__name__)
    rates = [factor * optimizer.learning_rate for factor in factors]
    groups = [{"params": [p], "lr": r} for p, r in zip(parameters, rates, strict=True)]
    rule = rule(groups, **settings)
    W1, b1, W2, b2 = parameters
    losses = []
    for _ in range(epochs):
        rule.zero_grad()
        loss = torch.nn.functional.mse_loss(torch.tanh(X @ W1 + b1) @ W2 + b2, y)
        loss.backward()
        losses.append(loss.item())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        if decay_by_hand:
            for parameter in parameters:
                parameter.grad += decay_by_hand * parameter.detach()
        rule.step()
    return np.concatenate([part.detach().numpy().ravel() for part in parameters]), losses


@every_optimizer
def test_trajectory_is_that_of_pytorch(optimizer, record_property):
    net = make()
    X, y, _ = curves(30)
    before = net.params.copy()
    expected, losses = torch_fit(net, optimizer, X, y, epochs=100)
    history = net.fit(X, y, optimizer=optimizer, epochs=100, **FULL)
    record_property("error", np.abs(net.params - expected).max())
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
    assert np.abs(net.params - before).max() > 0.01  # it went somewhere


@pytest.mark.parametrize("optimizer", [fp.Adam(0.1), fp.RMSprop(0.1), fp.Adagrad(0.1)], ids=repr)
def test_a_gradient_whose_square_overflows_is_pytorchs(optimizer):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    net = fp.Network(1, [fp.Dense(1)], "ssr", "float64")
    net.params[:] = 1, 0
    x, theta = 1e78, torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    rule = getattr(torch.optim, type(optimizer).__name__)([theta], lr=0.1)
    for _ in range(3):
        rule.zero_grad()
        (theta[0] * x + theta[1] + x).square().backward()
        rule.step()
    with pytest.warns(fp.DivergenceWarning, match="no longer moves 1 of 2 parameters"):
        net.fit([[x]], [[-x]], optimizer=optimizer, epochs=3, **FULL)
    np.testing.assert_allclose(net.params, theta.detach().numpy(), rtol=1e-12)
    assert net.params[0] == 1  # infinite in the divisor
    assert net.params[1] < 0


@pytest.mark.parametrize("clip_norm", [0.05, 0.5, 1e6])
@pytest.mark.parametrize("optimizer", [fp.SGD(0.3), fp.SGD(0.1, 0.9, weight_decay=0.1)], ids=repr)
def test_clipping_is_that_of_pytorch(optimizer, clip_norm):
    net = make()
    X, y, _ = curves(30)
    expected, losses = torch_fit(net, optimizer, X, y, epochs=100, clip_norm=clip_norm)
    history = net.fit(X, y, optimizer=optimizer, epochs=100, clip_norm=clip_norm, **FULL)
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)


FACTORS = 0.1, 2.0, 1.0, 0.5


def of_groups(net, factors):
    """An array over the parameters, with one of the factors for each W and b."""
    array = np.ones_like(net.params)
    for part, factor in zip(itertools.chain(*net.parameter_pairs(array)), factors, strict=True):
        part[...] = factor
    return array


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@every_optimizer
def test_factors_of_the_rate_are_pytorchs_parameter_groups(optimizer, clip_norm, record_property):
    net = make()
    X, y, _ = curves(30)
    how = {"epochs": 60, "clip_norm": clip_norm}
    expected, losses = torch_fit(net, optimizer, X, y, factors=FACTORS, **how)
    factors = of_groups(net, FACTORS)
    history = net.fit(X, y, optimizer=optimizer, learning_rate_factors=factors, **how, **FULL)
    record_property("error", np.abs(net.params - expected).max())
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad", "Rprop"])
def test_defaults_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    optimizer = getattr(fp, name)()
    defaults = getattr(torch.optim, name)([torch.zeros(1)]).defaults
    assert optimizer.learning_rate == defaults["lr"]
    for option, value in options(optimizer).items():
        if (name, option) != ("Rprop", "weight_decay"):
            assert value == defaults[option]


# ---- the twin


@every_optimizer
def test_trajectory_is_the_twins(optimizer, record_property):
    net = make()
    X, y, w = curves(30)
    twin, losses = twin_fit(net, optimizer, X, y, [optimizer.learning_rate] * 100, w=w)
    history = net.fit(X, y, optimizer=optimizer, epochs=100, sample_weight=w, **FULL)
    record_property("error", np.abs(net.params - twin.theta).max())
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)


@every_kind
def test_trajectory_in_float32(optimizer):
    net = make(dtype="float32")
    X, y, _ = (array.astype(np.float32) for array in curves(30))
    rates = [optimizer.learning_rate] * 20
    twin, losses = twin_fit(net, optimizer, X.astype(float), y.astype(float), rates)
    history = net.fit(X, y, optimizer=optimizer, epochs=20, **FULL)
    assert net.params.dtype == np.float32
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-4)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-4)


def test_plain_gradient_descent_is_exactly_that():
    net = make()
    X, y, _ = curves(30)
    for _ in range(5):
        _, gradient = net.loss_and_gradient(X, y)
        expected = net.params - 0.3 * gradient
        net.fit(X, y, optimizer=fp.SGD(0.3), epochs=1, **FULL)
        # to one rounding: multiplication and subtraction may be fused
        np.testing.assert_allclose(net.params, expected, rtol=2.3e-16, atol=1e-17)


BATCHES = [(30, 7), (30, 10), (30, 1), (30, 29), (30, 31), (1, 4)]


@pytest.mark.parametrize(("rows", "batch_size"), BATCHES)
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@every_kind
def test_mini_batches_in_order(optimizer, weighted, rows, batch_size):
    net = make()
    X, y, w = curves(rows)
    w = w if weighted else None
    how = {"batch_size": batch_size}
    twin, losses = twin_fit(net, optimizer, X, y, [optimizer.learning_rate] * 6, w=w, **how)
    history = net.fit(X, y, optimizer=optimizer, epochs=6, shuffle=False, sample_weight=w, **how)
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)


@pytest.mark.parametrize("loss", ["mse", "half_mse", "ssr"])
def test_mini_batches_and_the_three_ways_to_average(loss):
    net = make(loss=loss)
    X, y, w = curves(30)
    optimizer = fp.SGD(0.002)
    twin, losses = twin_fit(net, optimizer, X, y, [0.002] * 6, w=w, batch_size=8)
    how = {"batch_size": 8, "shuffle": False, "sample_weight": w}
    history = net.fit(X, y, optimizer=optimizer, epochs=6, **how)
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 20, 7])
@pytest.mark.parametrize("block_rows", [1, 6, 7, 13])
def test_batches_of_more_rows_than_a_block(batch_size, block_rows, monkeypatch):
    net = make()
    X, y, w = curves(30)
    optimizer = fp.Adam(0.02)
    how = {"batch_size": batch_size}
    twin, losses = twin_fit(net, optimizer, X, y, [0.02] * 10, w=w, clip_norm=0.8, **how)
    monkeypatch.setattr(calls, "block_rows", lambda _: block_rows)
    how |= {"shuffle": False, "sample_weight": w, "clip_norm": 0.8}
    history = net.fit(X, y, optimizer=optimizer, epochs=10, **how)
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)


@pytest.mark.parametrize("block_rows", [3, 4096])
def test_shuffled_rows_are_all_visited_with_their_targets_and_weights(block_rows, monkeypatch):
    # with a rate of 0 nothing moves, and the batches' sums add up to that of all rows
    monkeypatch.setattr(calls, "block_rows", lambda _: block_rows)
    net = make(loss="ssr")
    X, y, w = curves(30)
    before = net.params.copy()
    expected = net.loss(X, y, w) / 5
    how = {"batch_size": 7, "sample_weight": w, "rng": 3}
    history = net.fit(X, y, optimizer=fp.SGD(0.0), epochs=4, **how)
    np.testing.assert_allclose(history.loss, expected, rtol=1e-12)
    assert (net.params == before).all()


@pytest.mark.parametrize("epochs", [1, 3])
def test_shuffled_batches_train_on_some_order_of_the_rows(epochs):
    # three rows in batches of one: after each epoch one of the 6 orders explains the parameters
    net = make()
    X, y, w = curves(3)
    twins = {}
    for epoch in range(epochs):
        start = twins or {(): reference.Twin(net).theta}
        twins = {}
        for path, theta in start.items():
            for order in itertools.permutations(range(3)):
                twin = reference.Twin(net)
                twin.theta = theta.copy()
                rows = list(order)
                twin.fit(X[rows], y[rows], reference.updating("sgd"), [0.1], batch_size=1)
                twins[*path, order] = twin.theta
        assert len(twins) == 6 ** (epoch + 1)
    net.fit(X, y, optimizer=fp.SGD(0.1), epochs=epochs, batch_size=1, sample_weight=w, rng=11)
    distances = sorted(np.abs(theta - net.params).max() for theta in twins.values())
    assert distances[0] < 1e-12
    assert distances[1] > 1e-9


# ---- masks


def masks(size):
    rng = np.random.default_rng(4)
    first_layer = np.arange(size) < 32
    return {
        "all": np.ones(size, bool),
        "first layer": first_layer,
        "last layer": ~first_layer,
        "scattered": rng.integers(0, 2, size).astype(bool),
        "one": np.arange(size) == 17,
        "all but one": np.arange(size) != 17,
    }


@pytest.mark.parametrize("mask", masks(1))
@every_kind
def test_frozen_parameters_stay_and_the_others_are_the_twins(optimizer, mask):
    net = make()
    trainable = masks(net.params.size)[mask]
    X, y, w = curves(30)
    before = net.params.copy()
    how = {"trainable": trainable, "batch_size": 12}
    twin, losses = twin_fit(net, optimizer, X, y, [optimizer.learning_rate] * 10, w=w, **how)
    history = net.fit(X, y, optimizer=optimizer, epochs=10, shuffle=False, sample_weight=w, **how)
    assert net.params[~trainable].tobytes() == before[~trainable].tobytes()
    assert (net.params[trainable] != before[trainable]).all()
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)


@pytest.mark.parametrize("mask", ["last layer", "scattered", "one"])
def test_frozen_gradients_do_not_count_in_the_norm(mask):
    net = make()
    trainable = masks(net.params.size)[mask]
    X, y, _ = curves(30)
    optimizer = fp.SGD(0.5, momentum=0.5)
    how = {"trainable": trainable, "clip_norm": 0.02, "batch_size": None}
    twin, _ = twin_fit(net, optimizer, X, y, [0.5] * 20, **how)
    net.fit(X, y, optimizer=optimizer, epochs=20, shuffle=False, **how)
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-10)


# ---- factors of the learning rate


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
@every_kind
def test_a_factor_of_its_own_for_every_parameter(optimizer, dtype, tolerance):
    net = make(dtype)
    factors = np.random.default_rng(3).uniform(0.2, 3, net.params.size)
    factors[::7] = 0
    factors = factors.astype(dtype)
    X, y, w = curves(30)
    before, trained = net.params.copy(), factors > 0
    rates = fp.schedules.Cosine(optimizer.learning_rate, T_max=8)
    scheduled = type(optimizer)(**vars(optimizer) | {"learning_rate": rates})
    how = {"batch_size": 12, "clip_norm": 0.2}
    by_epoch = [rate * factors[trained].astype(float) for rate in rates.rates(8)]
    twin, losses = twin_fit(net, optimizer, X, y, by_epoch, w=w, trainable=trained, **how)
    how |= {"shuffle": False, "sample_weight": w, "learning_rate_factors": factors}
    history = net.fit(X, y, optimizer=scheduled, epochs=8, **how)
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=tolerance)
    np.testing.assert_allclose(history.loss, losses, rtol=tolerance)
    assert net.params[~trained].tobytes() == before[~trained].tobytes()
    assert (net.params[trained] != before[trained]).all()


@pytest.mark.parametrize("batch_size", [1, 12, None])
@every_kind
def test_factors_of_0_and_1_are_a_mask(optimizer, batch_size):
    nets = make(), make()
    mask = masks(nets[0].params.size)["scattered"]
    X, y, _ = curves(30)
    for net, more in zip(
        nets, ({"trainable": mask}, {"learning_rate_factors": mask.astype(float)}), strict=True
    ):
        how = {"optimizer": optimizer, "batch_size": batch_size, "epochs": 5, "rng": 0} | more
        net.fit(X, y, clip_norm=0.3, **how)
    np.testing.assert_allclose(nets[1].params, nets[0].params, rtol=0, atol=1e-14)
    assert np.array_equal(nets[0].params[~mask], nets[1].params[~mask])


# ---- where squares overflow


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad"])
@pytest.mark.parametrize(
    ("dtype", "of_X", "of_y"),
    [("float32", 1e12, 1), ("float32", 1e11, 1e11), ("float32", 1e3, 1e17), ("float64", 1e90, 1)],
)
def test_squared_gradients_that_overflow_are_told(name, dtype, of_X, of_y):
    X, y, _ = curves(30)
    net = fp.Network(3, [fp.Dense(6, "relu"), fp.Dense(2)], dtype=dtype, rng=0)
    with pytest.warns(fp.DivergenceWarning, match=f"has overflowed {dtype}.*clip_norm") as caught:
        history = net.fit(of_X * X, of_y * y, optimizer=name, epochs=3, tol=1e-3)
    assert history.stopped_by in ("epochs", "converged")
    assert str(caught[0].message) == history.message
    assert caught[0].filename == __file__
    assert ('dtype="float64"' in history.message) == (dtype == "float32")
    assert net.fit(of_X * X, of_y * y, optimizer=name, epochs=3, clip_norm=1.0).message == ""


def test_a_trainer_tells_once_of_squares_that_overflow():
    X, y, _ = curves(30)
    trainer = fp.Trainer(fp.Network(3, [fp.Dense(6, "relu"), fp.Dense(2)], rng=0), "adam")
    with pytest.warns(fp.DivergenceWarning, match="no longer moves") as caught:
        trainer.partial_fit(1e12 * X, y)
    assert caught[0].filename == __file__
    trainer.partial_fit(1e12 * X, y)  # a second warning would be an error


def test_a_trainer_looks_again_and_after_pickling_at_once():
    X, y, _ = curves(30)
    trainer = fp.Trainer(fp.Network(3, [fp.Dense(6, "relu"), fp.Dense(2)], rng=0), "adam")
    trainer.partial_fit(X, y)
    trainer.state[1] = np.inf
    copy = pickle.loads(pickle.dumps(trainer))
    with pytest.warns(fp.DivergenceWarning, match="no longer moves 38 of 38"):
        copy.partial_fit(X, y)
    with pytest.raises(fp.DivergenceWarning, match="no longer moves 38 of 38"):
        any(math.isnan(trainer.partial_fit(X, y)) for _ in range(10**6))  # few are needed


@pytest.mark.parametrize("scale", [1e55, 1e90])
@pytest.mark.parametrize("trained", ["all", "some"])
def test_clipping_where_the_sum_of_squares_overflows(scale, trained):
    X, y, _ = curves(30)
    X, y = scale * X, 1e105 * y
    net = fp.Network(3, [fp.Dense(2)], dtype="float64", rng=0)
    mask = np.arange(net.params.size) % 3 > 0 if trained == "some" else None
    gradient = net.loss_and_gradient(X, y)[1] * (1 if mask is None else mask)
    gradient /= np.abs(gradient).max()
    expected = net.params - 0.5 * gradient / np.linalg.norm(gradient)
    net.fit(X, y, optimizer=fp.SGD(1.0), epochs=1, clip_norm=0.5, trainable=mask, **FULL)
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("optimizer", [fp.SGD(1e30, momentum=0.9), fp.Adam(1e38)], ids=repr)
def test_a_trainer_that_diverges_does_not_speak_of_squares(optimizer):
    X, y, _ = curves(30)
    trainer = fp.Trainer(make(dtype="float32"), optimizer)
    assert math.isnan([trainer.partial_fit(X, 1e3 * y) for _ in range(5)][-1])


def test_signs_move_where_squares_overflow():
    X, y, _ = curves(30)
    net = fp.Network(3, [fp.Dense(2)], rng=0)
    history = net.fit(1e15 * X, y, optimizer="rprop", epochs=9, **FULL)
    assert history.message == ""
    assert history.loss[-1] < history.loss[0]


@every_kind
def test_each_epoch_is_trained_at_its_rate(optimizer):
    schedule = fp.schedules.Exponential(optimizer.learning_rate, gamma=0.9)
    rates = [optimizer.learning_rate * 0.9**epoch for epoch in range(12)]
    net = make()
    X, y, _ = curves(30)
    twin, losses = twin_fit(net, optimizer, X, y, rates, batch_size=8)
    scheduled = type(optimizer)(schedule, **options(optimizer))
    history = net.fit(X, y, optimizer=scheduled, epochs=12, batch_size=8, shuffle=False)
    np.testing.assert_allclose(net.params, twin.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
