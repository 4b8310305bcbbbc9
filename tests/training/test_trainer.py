"""`Trainer`: it goes on where `fit` begins anew, and takes what comes."""

import pickle
from functools import partial

import numpy as np
import pytest

import flatprop as fp
import reference
from networks import curves, every_kind, in_batches, network

ROWS = 203


make = partial(network, (3, 8, 2), dtype="float32")


@every_kind
def test_a_trainer_goes_on_where_fit_begins_anew(optimizer):
    data = curves(ROWS)
    net, trainer = make(), fp.Trainer(make(), optimizer)
    expected = net.fit(
        *data[:2],
        sample_weight=data[2],
        optimizer=optimizer,
        epochs=2,
        batch_size=32,
        shuffle=False,
    )
    batches = in_batches(data)
    losses = [trainer.partial_fit(*batch) for batch in batches]
    assert trainer.partial_fit(*data, batch_size=32) == expected.loss[1]
    assert np.array_equal(trainer.network.params, net.params)
    shares = [batch[2].sum() for batch in batches]
    assert np.average(losses, weights=shares) == pytest.approx(expected.loss[0], rel=1e-6)
    assert trainer.updates == 2 * len(batches)


@pytest.mark.parametrize(
    "optimizer", [fp.Adam(0.01), fp.SGD(0.1, momentum=0.9, nesterov=True)], ids=repr
)
def test_a_stream_is_that_of_pytorch(optimizer):
    """Another batch in each step: what torch's optimizer remembers goes on, and so must ours."""
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    net = make(dtype="float64")
    trainer = fp.Trainer(net, optimizer)
    parts = [part for pair in zip(net.weights, net.biases, strict=True) for part in pair]
    parameters = [torch.tensor(part, requires_grad=True) for part in parts]
    named = {k: v for k, v in vars(optimizer).items() if k != "learning_rate"}
    rule = getattr(torch.optim, type(optimizer).__name__)(
        parameters, lr=optimizer.learning_rate, **named
    )
    W1, b1, W2, b2 = parameters
    for X, y in 4 * in_batches(curves(ROWS)[:2]):
        rule.zero_grad()
        hidden = torch.tanh(torch.tensor(X) @ W1 + b1)
        loss = torch.nn.functional.mse_loss(hidden @ W2 + b2, torch.tensor(y))
        loss.backward()
        assert trainer.partial_fit(X, y) == pytest.approx(loss.item(), rel=1e-10)
        rule.step()
    expected = np.concatenate([part.detach().numpy().ravel() for part in parameters])
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", ["mse", "ssr"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_penalty_is_a_term_of_the_loss(loss, weighted):
    """Of a step with SGD the gradient is known; held against finite differences."""
    X, y, weight = curves(20)
    weight = weight if weighted else None
    net = fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(2)], loss, "float64", rng=0)
    net.params[:] = np.random.default_rng(3).normal(0, 0.5, net.params.size)
    alpha, before = 0.7, net.params.copy()
    divisor = 1 if loss == "ssr" else 20 if weight is None else weight.sum()

    def penalised(theta):
        twin = reference.Twin(net)
        twin.theta = theta
        squares = sum((W**2).sum() for W in reference.split(theta, twin.sizes)[0])
        return twin.loss_and_gradient(X, y, weight)[0] + alpha / 2 * squares / divisor

    trainer = fp.Trainer(net, fp.SGD(1e-3), penalty=alpha)
    value = trainer.partial_fit(X, y, weight)
    assert value == pytest.approx(penalised(before), rel=1e-12)
    slope = reference.difference(penalised, before)
    np.testing.assert_allclose((before - net.params) / 1e-3, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", ["mse", "ssr"])
def test_the_loss_of_parts_counts_each_batch_with_its_share(loss, mapped, small_parts):
    """A file in parts, batches of which the last is short, weights, and a penalty."""
    X, y, weight = curves(ROWS)
    weight[40:80] = 0  # two batches without weight
    net = fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(2)], loss, "float64", rng=0)
    squares = sum((W**2).sum() for W in net.weights)
    losses, shares = [], []
    for start in range(0, ROWS, 20):
        part = slice(start, start + 20)
        if not (total := weight[part].sum()):
            if loss == "ssr":  # a sum over nothing
                losses.append(0.0)
                shares.append(1.0)
            continue
        shares.append(1.0 if loss == "ssr" else total)
        losses.append(net.loss(X[part], y[part], weight[part]) + 0.35 * squares / shares[-1])
    assert len(losses) == (11 if loss == "ssr" else 9)
    trainer = fp.Trainer(net, fp.SGD(0.0), penalty=0.7)
    for inputs in (X, mapped(X)):
        value = trainer.partial_fit(inputs, y, weight, batch_size=20)
        assert value == pytest.approx(np.average(losses, weights=shares), rel=1e-12)


@every_kind
def test_a_pickled_trainer_goes_on_bit_for_bit(optimizer):
    X, y, _ = curves(ROWS)
    trainer = fp.Trainer(make(), optimizer, clip_norm=1.0, penalty=0.1)
    trainer.partial_fit(X, y, batch_size=16, shuffle=True)
    trainer.learning_rate *= 0.5
    copy = pickle.loads(pickle.dumps(trainer))
    losses = [t.partial_fit(X, y, batch_size=16, shuffle=True) for t in (trainer, copy)]
    assert losses[0] == losses[1]
    assert np.array_equal(trainer.network.params, copy.network.params)
    assert np.array_equal(trainer.state, copy.state)
    assert copy.updates == trainer.updates
    assert copy.rng.bit_generator.state == trainer.rng.bit_generator.state


def test_state_and_updates_are_all_that_another_trainer_needs():
    X, y, _ = curves(ROWS)
    one, other = (fp.Trainer(make(), "adam") for _ in range(2))
    one.partial_fit(X, y, batch_size=16)
    other.network.params, other.updates = one.network.params, one.updates
    other.state[:] = one.state
    for trainer in (one, other):
        trainer.partial_fit(X, y)
    assert np.array_equal(one.network.params, other.network.params)
    with pytest.raises(ValueError, match="updates must be at least 0"):
        other.updates = -1


def test_a_trainer_s_errors_change_nothing():
    X, y, _ = curves(ROWS)
    trainer = fp.Trainer(make(), "adam")
    trainer.partial_fit(X, y)

    def everything():
        arrays = trainer.network.params.tobytes(), trainer.state.tobytes()
        return arrays, trainer.updates, trainer.rng.bit_generator.state

    before = everything()
    bad = X.copy()
    bad[5, 0] = np.inf
    for arguments, options, message in (
        ((bad, y), {}, r"X\[5, 0\] is inf"),
        ((X, y[:3]), {}, "X has 203 rows, but y has"),
        ((X, y), {"batch_size": 0}, "batch_size must be at least 1"),
        ((X, y, np.zeros(ROWS)), {"shuffle": True}, "nothing would be learnt"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer.partial_fit(*arguments, **options)
        assert everything() == before
    for rate, error in (("fast", TypeError), (-1, ValueError), (np.nan, ValueError)):
        with pytest.raises(error, match="learning_rate must be"):
            trainer.learning_rate = rate
    with pytest.raises(ValueError, match="LBFGS needs all samples at once"):
        fp.Trainer(make(), "lbfgs")
    with pytest.raises(ValueError, match="penalty must be finite and not negative"):
        fp.Trainer(make(), penalty=-1)


def test_the_learning_rate_of_a_trainer():
    X, y, _ = curves(ROWS)
    net = make(dtype="float64")
    trainer = fp.Trainer(net, fp.SGD(fp.schedules.Cosine(0.1)))
    assert trainer.learning_rate == 0.1
    for rate in (0.1, 0.0, 0.3):
        trainer.learning_rate = rate
        expected = net.params - rate * net.loss_and_gradient(X, y)[1]
        trainer.partial_fit(X, y)
        np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-14)


def test_a_trainer_that_diverges_returns_nan_and_keeps_finite_parameters():
    X, y, _ = curves(ROWS)
    trainer = fp.Trainer(make(), fp.SGD(1e30))
    assert np.isnan([trainer.partial_fit(X, y, batch_size=8) for _ in range(3)]).all()
    assert np.isfinite(trainer.network.params).all()


def test_a_trainer_takes_a_file_by_parts(mapped, small_parts):
    X, y, _ = curves(ROWS)
    file = mapped(X)
    one, other = (fp.Trainer(make(), "adam") for _ in range(2))
    assert one.partial_fit(X, y, batch_size=16) == other.partial_fit(file, y, batch_size=16)
    assert np.array_equal(one.network.params, other.network.params)
    assert one.partial_fit(X, y) == other.partial_fit(file, y)  # one update, with all of them
    assert np.array_equal(one.network.params, other.network.params)
