"""The exponential moving average of the parameters, in `fit` and in a `Trainer`."""

import pickle

import numpy as np
import pytest

import flatprop as fp
from networks import KINDS, both_dtypes, every_kind, make, network, samples

DECAY = 0.9


def averaged(path, decay=DECAY):
    """The average of the rows of `path`, oldest first, in float64."""
    weight = decay ** np.arange(len(path))[::-1]
    return weight @ np.asarray(path, float) / weight.sum()


def path_of(net, x, y, batch_size, epochs, optimizer, **options):
    """The parameters after each update, one call of a Trainer for each of them."""
    trainer = fp.Trainer(net, optimizer, **options)
    size = batch_size or len(x)
    path = []
    for _ in range(epochs):
        for start in range(0, len(x), size):
            trainer.partial_fit(x[start : start + size], y[start : start + size])
            path.append(net.params.copy())
    return path


def problem(dtype="float64", rows=101):
    net = network([4, 24, 2], dtype=dtype)
    x, y, _ = samples(net, rows)
    return net, x.astype(dtype), y.astype(dtype)


# ---- what the average is


@pytest.mark.parametrize("batch_size", [None, 1, 16])
@both_dtypes
@every_kind
def test_the_average_of_all_updates(optimizer, dtype, batch_size):
    net, x, y = problem(dtype)
    path = path_of(net.copy(), x, y, batch_size, 2, optimizer)
    how = {"optimizer": optimizer, "epochs": 2, "batch_size": batch_size, "shuffle": False}
    plain = net.copy()
    expected = plain.fit(x, y, **how)
    history = net.fit(x, y, ema=DECAY, **how)
    tolerance = 1e-13 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(net.params, averaged(path), rtol=0, atol=tolerance)
    # The training itself is the one without an average, bit for bit.
    assert history.raw_params.tobytes() == plain.params.tobytes()
    assert history.loss.tobytes() == expected.loss.tobytes()
    assert expected.raw_params is None
    assert not np.array_equal(net.params, plain.params)


@pytest.mark.parametrize("optimizer", [fp.SGD(0.05), fp.Adam(0.01)], ids=repr)
def test_large_layers_that_are_updated_in_panels(optimizer, monkeypatch):
    monkeypatch.setattr("flatprop.training.stepper.PANEL_PARAMETERS", 60)
    net, x, y = problem()
    path = path_of(net.copy(), x, y, 25, 2, optimizer)
    how = {"optimizer": optimizer, "epochs": 2, "batch_size": 25, "shuffle": False}
    net.fit(x, y, ema=DECAY, **how)
    np.testing.assert_allclose(net.params, averaged(path), rtol=0, atol=1e-13)


def test_batches_of_several_blocks():
    net, x, y = problem(rows=3000)
    path = path_of(net.copy(), x, y, 1400, 3, "adam")
    net.fit(x, y, optimizer="adam", epochs=3, batch_size=1400, shuffle=False, ema=DECAY)
    np.testing.assert_allclose(net.params, averaged(path), rtol=0, atol=1e-13)


def test_a_limit_of_norms_comes_before_the_average():
    layers = [fp.Dense(8, "tanh", max_norm=0.3), fp.Dense(2)]
    net = fp.Network(4, layers, dtype="float64", rng=0)
    x, y, _ = samples(net, 50)
    path = path_of(net.copy(), x, y, 10, 2, fp.SGD(0.5))
    net.fit(x, y, optimizer=fp.SGD(0.5), epochs=2, batch_size=10, shuffle=False, ema=DECAY)
    np.testing.assert_allclose(net.params, averaged(path), rtol=0, atol=1e-14)
    assert np.linalg.norm(net.weights[0], axis=0).max() <= 0.3 + 1e-12


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_an_averaged_model_of_pytorch(optimizer):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    from torch.optim.swa_utils import AveragedModel

    net = fp.Network(3, [fp.Dense(8, "tanh"), fp.Dense(2)], dtype="float64", rng=0)
    x, y, _ = samples(net, 30)
    module = fp.interchange.to_torch(net)

    def mean(average, now, updates):
        return average + (now - average) * (1 - DECAY) / (1 - DECAY ** (float(updates) + 1))

    average = AveragedModel(module, avg_fn=mean)
    rule = getattr(torch.optim, optimizer)(module.parameters(), lr=0.02)
    for _ in range(40):
        rule.zero_grad()
        torch.nn.functional.mse_loss(module(torch.tensor(x)), torch.tensor(y)).backward()
        rule.step()
        average.update_parameters(module)
    chosen = getattr(fp, optimizer)(0.02)
    history = net.fit(x, y, optimizer=chosen, epochs=40, batch_size=None, ema=DECAY)
    expected = fp.interchange.from_torch(average.module, loss="mse").params
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-10)
    raw = fp.interchange.from_torch(module, loss="mse").params
    np.testing.assert_allclose(history.raw_params, raw, rtol=0, atol=1e-10)


def test_a_batch_without_weight_is_no_update():
    net, x, y = problem(rows=40)
    weight = np.ones(40)
    weight[10:30] = 0
    twin = net.copy()
    how = {"epochs": 3, "batch_size": 10, "shuffle": False, "ema": DECAY}
    net.fit(x, y, sample_weight=weight, **how)
    twin.fit(x[weight > 0], y[weight > 0], **how)
    assert net.params.tobytes() == twin.params.tobytes()


def test_an_average_is_less_noisy():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 1))
    y = np.sin(3 * x) + 0.5 * rng.normal(size=x.shape)
    losses = []
    for ema in (None, 0.99):
        net = fp.Network(1, [fp.Dense(16, "tanh"), fp.Dense(1)], rng=0)
        net.fit(x, y, optimizer=fp.Adam(0.05), epochs=60, batch_size=8, ema=ema)
        losses.append(net.loss(x, np.sin(3 * x)))
    assert losses[1] < losses[0] / 2


# ---- who sees the average


def test_validation_metrics_and_callbacks_see_the_average(data):
    seen = []

    def look(epoch):
        net = epoch.network
        seen.append((net.params.copy(), net.loss(*held), epoch.val_loss, epoch.metrics["mse"]))

    net, held = make(), tuple(part[:30] for part in data)
    metrics = {"mse": lambda y, prediction: float(np.mean((y - prediction) ** 2))}
    how = {"epochs": 4, "validation_data": held, "metrics": metrics, "ema": DECAY}
    history = net.fit(*data, callbacks=look, **how)
    for (_, loss, val_loss, mse), of_history in zip(seen, history.val_loss, strict=True):
        assert loss == val_loss == of_history
        assert mse == pytest.approx(loss, rel=1e-5)
    assert net.params.tobytes() == seen[-1][0].tobytes()
    assert net.loss(*held) == history.val_loss[-1]
    assert not np.array_equal(history.raw_params, net.params)
    # Looking changes nothing.
    alone = make()
    again = alone.fit(*data, epochs=4, ema=DECAY)
    assert alone.params.tobytes() == net.params.tobytes()
    assert again.loss.tobytes() == history.loss.tobytes()


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("batch_size", [10, None])
def test_patience_keeps_the_average_of_the_best_epoch(data, validated, batch_size):
    seen = []
    how = {"optimizer": fp.Adam(0.5), "epochs": 200, "batch_size": batch_size, "patience": 3}
    if validated:
        how["validation_data"] = data
    net = make()
    look = lambda epoch: seen.append(epoch.network.params.copy())  # noqa: E731
    history = net.fit(*data, callbacks=look, ema=0.5, **how)
    assert history.stopped_by == "patience"
    assert net.params.tobytes() == seen[history.best_epoch].tobytes()
    if validated:
        assert net.loss(*data) == history.val_loss.min()


def test_training_goes_on_from_what_a_callback_writes(data):
    def shrink(epoch):
        epoch.network.params[:] *= 0.5
        written.append(epoch.network.params.copy())

    written = []
    net = make()
    how = {"optimizer": fp.SGD(0.1), "batch_size": None}
    history = net.fit(*data, epochs=2, ema=DECAY, callbacks=shrink, **how)
    assert net.params.tobytes() == written[-1].tobytes() == history.raw_params.tobytes()
    other = make()
    other.params = written[0]
    other.fit(*data, epochs=1, **how)
    average = (DECAY * written[0] + other.params) / (DECAY + 1)
    np.testing.assert_allclose(written[1], average / 2, rtol=1e-5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("during", ["callback", "metric"])
def test_an_interruption_leaves_the_average(data, error, during):
    def interrupt(*_):
        calls.append(0)
        if len(calls) == 3:
            raise error
        return 0.0

    calls, net, whole = [], make(), make()
    how = {"callbacks": interrupt} if during == "callback" else {"metrics": {"none": interrupt}}
    try:
        history = net.fit(*data, epochs=9, ema=DECAY, **how)
    except RuntimeError:
        history = None
    expected = whole.fit(*data, epochs=3, ema=DECAY)
    assert (history is None) == (error is RuntimeError)
    assert net.params.tobytes() == whole.params.tobytes()
    if history is not None:
        assert history.raw_params.tobytes() == expected.raw_params.tobytes()


@pytest.mark.parametrize("optimizer", [fp.SGD(1e6), fp.SGD(3.0), fp.SGD(1e38)], ids=repr)
@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("validated", [True, False])
def test_a_divergence_leaves_finite_averages(data, optimizer, batch_size, validated):
    net = make()
    how = {"validation_data": data} if validated else {}
    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(
            *data, optimizer=optimizer, epochs=10**5, batch_size=batch_size, ema=DECAY, **how
        )
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.params).all()
    assert np.isfinite(history.raw_params).all()


def test_no_update_leaves_the_parameters(data, tmp_path):
    path = tmp_path / "run.ckpt"
    net = make()
    net.fit(*data, epochs=3, ema=DECAY, callbacks=fp.Checkpoint(path))
    before = net.params.copy()
    history = net.fit(*data, epochs=3, ema=DECAY, resume=path)
    assert history.epochs == 3
    assert net.params.tobytes() == before.tobytes()


# ---- checkpoints


@pytest.mark.parametrize("batch_size", [16, None])
@pytest.mark.parametrize("source", ["arrays", "file"])
def test_a_resumed_training_is_the_one_that_never_stopped(
    data, tmp_path, mapped, small_parts, batch_size, source
):
    path = tmp_path / "run.ckpt"
    X, y = data
    X = mapped(X) if source == "file" else X
    how = {
        "epochs": 8,
        "batch_size": batch_size,
        "optimizer": fp.Adam(fp.schedules.Cosine(0.02)),
        "validation_data": (X[:20], y[:20]),
        "patience": 20,
        "ema": DECAY,
        "learning_rate_factors": np.linspace(0, 2, make().params.size),
    }
    whole, stopped = make(), make()
    expected = whole.fit(X, y, **how)
    halt = [fp.Checkpoint(path, every=2), lambda epoch: epoch.epoch == 4]
    stopped.fit(X, y, callbacks=halt, **how)
    kept = fp.load(path)  # after epoch 3; the callback that stopped had it written again
    assert kept.predict(X).shape == y.shape
    resumed = make()
    history = resumed.fit(X, y, resume=path, **how)
    assert resumed.params.tobytes() == whole.params.tobytes()
    for name in ("loss", "val_loss", "learning_rate", "raw_params"):
        assert getattr(history, name).tobytes() == getattr(expected, name).tobytes()
    assert history.best_epoch == expected.best_epoch


def test_a_checkpoint_holds_the_averaged_network(data, tmp_path):
    path = tmp_path / "run.ckpt"
    net = make()
    net.fit(*data, epochs=3, ema=DECAY, callbacks=fp.Checkpoint(path))
    assert fp.load(path).params.tobytes() == net.params.tobytes()


def test_a_callback_after_a_checkpoint_changes_what_is_written(data, tmp_path):
    path = tmp_path / "run.ckpt"

    def shrink(epoch):
        epoch.network.params[:] *= 0.9

    how = {"ema": DECAY, "batch_size": 20}
    whole, net = make(), make()
    whole.fit(*data, epochs=6, callbacks=shrink, **how)
    net.fit(*data, epochs=3, callbacks=[fp.Checkpoint(path), shrink], **how)
    resumed = make()
    resumed.fit(*data, epochs=6, callbacks=shrink, resume=path, **how)
    assert resumed.params.tobytes() == whole.params.tobytes()


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"ema": 0.9}, {}, "ema = 0.9, but fit was called with None"),
        ({}, {"ema": 0.9}, "ema = None, but fit was called with 0.9"),
        ({"ema": 0.9}, {"ema": 0.99}, "ema = 0.9, but fit was called with 0.99"),
        ({"learning_rate_factors": 2}, {}, "learning_rate_factors = an array with checksum"),
        ({}, {"learning_rate_factors": 2}, "learning_rate_factors = None, but fit was called"),
        ({"learning_rate_factors": 2}, {"learning_rate_factors": 3}, "= an array with checksum"),
    ],
)
def test_a_resumed_training_needs_the_same_options(data, tmp_path, first, second, message):
    def of(options):
        if "learning_rate_factors" not in options:
            return options
        factor = options["learning_rate_factors"]
        return {"learning_rate_factors": np.full(make().params.size, factor)}

    path = tmp_path / "run.ckpt"
    make().fit(*data, epochs=2, callbacks=fp.Checkpoint(path), **of(first))
    net = make()
    before = net.params.copy()
    with pytest.raises(ValueError, match=message):
        net.fit(*data, epochs=2, resume=path, **of(second))
    assert net.params.tobytes() == before.tobytes()


# ---- a Trainer


@pytest.mark.parametrize("optimizer", KINDS[:3], ids=repr)
def test_a_trainer_has_the_average_beside_the_network(data, optimizer):
    X, y = data
    net, plain = make(), make()
    trainer = fp.Trainer(net, optimizer, ema=DECAY)
    assert trainer.average.tobytes() == net.params.tobytes()
    path = path_of(plain, X, y, 20, 2, optimizer)
    for _ in range(2):
        trainer.partial_fit(X, y, batch_size=20)
    assert net.params.tobytes() == plain.params.tobytes()
    np.testing.assert_allclose(trainer.average, averaged(path), rtol=0, atol=1e-5)
    assert fp.Trainer(net).average is None


@pytest.mark.parametrize("options", [{"ema": DECAY}, {"learning_rate_factors": True}, {}])
def test_a_pickled_trainer_goes_on(data, options):
    if "learning_rate_factors" in options:
        options = {"learning_rate_factors": np.linspace(0, 2, make().params.size)}
    trainer = fp.Trainer(make(), **options)
    trainer.partial_fit(*data, batch_size=20)
    twin = pickle.loads(pickle.dumps(trainer))
    for each in (trainer, twin):
        each.partial_fit(*data, batch_size=20)
    assert trainer.network.params.tobytes() == twin.network.params.tobytes()
    if "ema" in options:
        assert trainer.average.tobytes() == twin.average.tobytes()


def test_a_trainer_that_diverges_has_a_finite_average(data):
    trainer = fp.Trainer(make(), fp.SGD(1e30), ema=DECAY)
    losses = [trainer.partial_fit(*data) for _ in range(4)]
    assert np.isnan(losses[-1])
    assert np.isfinite(trainer.network.params).all()
    assert np.isfinite(trainer.average).all()
