"""Ensembles: their parameters, what they compute, what `fit` does for each member."""

import pickle

import numpy as np
import pytest

import flatprop as fp
from flatprop.many import shared_out

MEMBERS = 5
RNG = np.random.default_rng(3)
X = RNG.uniform(-1, 1, (20, 2))
Y = np.sin(X.sum(axis=1, keepdims=True))


def ensemble(dtype="float64", members=MEMBERS, **options):
    layers = [fp.Dense(4, "tanh"), fp.Dense(1)]
    return fp.Ensemble(2, layers, members=members, dtype=dtype, rng=0, **options)


def trained_alone(ens, X=X, Y=Y, each=lambda i: {}, **options):
    """Copies of the members, each trained by its own `fit`, and their histories."""
    alone = [member.copy() for member in ens]
    histories = []
    for i, net in enumerate(alone):
        x, y = X[i] if np.ndim(X) == 3 else X, Y[i] if np.ndim(Y) == 3 else Y
        histories.append(net.fit(x, y, **options, **each(i)))
    return alone, histories


def assert_like(ens, history, alone, histories, rtol=1e-11):
    for i, (net, own) in enumerate(zip(alone, histories, strict=True)):
        np.testing.assert_allclose(ens[i].params, net.params, rtol=rtol, atol=1e-13)
        np.testing.assert_allclose(history[i].loss, own.loss, rtol=rtol)
        np.testing.assert_allclose(history[i].val_loss, own.val_loss, rtol=rtol)
        assert history[i].stopped_by == own.stopped_by
        assert history[i].best_epoch == own.best_epoch


# ---- what it is


def test_rows_of_params_are_the_members():
    ens = ensemble()
    assert ens.params.shape == (MEMBERS, ens[0].params.size)
    assert ens.params.flags.c_contiguous
    ens[2].weights[0][1, 3] = 7.0
    assert ens.params[2, 7] == 7.0
    ens.params[4] = 0.5
    assert (ens[4].params == 0.5).all()
    assert ens[2] is ens[2]
    assert [net.params[7] for net in ens[1:3]] == [ens.params[1, 7], 7.0]
    assert ens[-1] is ens[MEMBERS - 1]
    with pytest.raises(IndexError, match="no member"):
        ens[MEMBERS]


def test_weights_and_biases_are_views():
    ens = ensemble()
    assert [W.shape for W in ens.weights] == [(MEMBERS, 2, 4), (MEMBERS, 4, 1)]
    assert [b.shape for b in ens.biases] == [(MEMBERS, 4), (MEMBERS, 1)]
    ens.weights[1][3] = 2.0
    ens.biases[0][2] = 1.0
    assert (ens[3].weights[1] == 2).all()
    assert (ens[2].biases[0] == 1).all()


def test_initial_values_follow_from_spawned_generators():
    ens = ensemble()
    generators = np.random.default_rng(0).spawn(MEMBERS)
    for member, rng in zip(ens, generators, strict=True):
        alone = fp.Network(2, [fp.Dense(4, "tanh"), fp.Dense(1)], dtype="float64", rng=rng)
        np.testing.assert_array_equal(member.params, alone.params)
    before = ens.params.copy()
    assert (ens.reset(0).params == before).all()
    assert (ens.reset().params != before).any()


def test_assigning_params_copies_and_is_checked():
    ens = ensemble()
    given = np.ones_like(ens.params)
    ens.params = given
    given[:] = 3
    assert (ens.params == 1).all()
    ens.params = np.arange(17)
    assert (ens.params == np.arange(17)).all()
    with pytest.raises(ValueError, match="must have shape"):
        ens.params = np.ones((2, 17))


def test_copies_and_pickles_are_independent():
    ens = ensemble()
    for other in (ens.copy(), pickle.loads(pickle.dumps(ens))):
        np.testing.assert_array_equal(other.params, ens.params)
        assert other[1].rng.random() == ens.copy()[1].rng.random()
        other[0].params[:] = 0
        assert (ens[0].params != 0).any()


def test_description():
    ens = ensemble(loss="huber")
    assert repr(ens) == (
        "Ensemble(5 x 2 -> 4 tanh -> 1 identity; huber, float64, 17 parameters each)"
    )
    assert (len(ens), ens.inputs, ens.outputs, ens.targets) == (MEMBERS, 2, 1, 1)
    assert "5 members" in ens.summary()
    with pytest.raises(ValueError, match="members must be at least 1"):
        ensemble(members=0)
    with pytest.raises(TypeError, match="learning_rate"):
        ensemble(learning_rate=0.1)


def test_a_file_holds_all_of_it(tmp_path):
    ens, path = ensemble(), tmp_path / "ensemble.safetensors"
    ens.fit(X, Y, epochs=2)
    ens.save(path)
    again = fp.load(path)
    assert isinstance(again, fp.Ensemble)
    np.testing.assert_array_equal(again.params, ens.params)
    for one, other in zip(again, ens, strict=True):
        assert one.rng.bit_generator.state == other.rng.bit_generator.state
    ens[1].save(path)
    assert isinstance(fp.load(path), fp.Network)


def test_a_file_of_other_generators(tmp_path):
    philox = np.random.Generator(np.random.Philox(1))
    ens, path = fp.Ensemble(2, [fp.Dense(1)], members=3, rng=philox), tmp_path / "e.st"
    ens.save(path)
    np.testing.assert_array_equal(fp.load(path).params, ens.params)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda said, _: said.update(members=4), "contradicts itself"),
        (lambda said, _: said.update(members=0), "members must be at least 1"),
        (lambda said, _: said.update(members="5"), "members must be a whole number"),
        (lambda said, _: said.update(inputs=3), "contradicts itself"),
        (lambda _, tensors: tensors.update(generators=np.zeros((5, 6), np.int64)), "impossible"),
        (lambda _, tensors: tensors.update(generators=np.ones((5, 5), np.int64)), "contradicts"),
        (lambda _, tensors: tensors.pop("params"), "lacks the tensor"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, change, error):
    from flatprop.export import files

    path, write = tmp_path / "ensemble.safetensors", files.write

    def damaged(path, tensors, said):
        change(said, tensors)
        write(path, tensors, said)

    monkeypatch.setattr(files, "write", damaged)
    ensemble().save(path)
    with pytest.raises(ValueError, match=error):
        fp.load(path)


# ---- what it computes


def test_outputs_losses_and_gradients_are_those_of_the_members():
    ens = ensemble()
    own = RNG.uniform(-1, 1, (MEMBERS, 7, 2))
    outputs = ens.predict(own)
    assert outputs.shape == (MEMBERS, 7, 1)
    np.testing.assert_allclose(outputs, [net.predict(x) for net, x in zip(ens, own, strict=True)])
    np.testing.assert_allclose(ens.predict(X, threads=3), [net.predict(X) for net in ens])
    weight = RNG.uniform(0.5, 1, (MEMBERS, 20))
    losses, gradients = ens.loss_and_gradient(X, Y, weight)
    for i, net in enumerate(ens):
        loss, gradient = net.loss_and_gradient(X, Y, weight[i])
        np.testing.assert_allclose(losses[i], loss)
        np.testing.assert_allclose(gradients[i], gradient)
    np.testing.assert_allclose(ens.loss(X, Y, weight), losses)


def test_dropout_is_sampled_as_by_each_member():
    layers = [fp.Dense(8, "tanh"), fp.Dropout(0.5), fp.Dense(1)]
    ens = fp.Ensemble(2, layers, members=2, rng=0)
    twins = [net.copy() for net in ens]
    expected = [net.predict(X, dropout=True) for net in twins]
    np.testing.assert_array_equal(ens.predict(X, dropout=True), expected)


# ---- fit

RECIPES = {
    "shuffled": {"batch_size": 8},
    "one seed": {"batch_size": 8, "rng": 4},
    "full batch": {"batch_size": None, "optimizer": fp.SGD(0.1, momentum=0.9)},
    "validation": {"validation_data": (X[:5], Y[:5]), "patience": 3, "optimizer": fp.Adam(0.1)},
    "split": {"validation_split": 0.2, "metrics": {"sum": lambda y, p: float(np.sum(y - p))}},
    "solver": {"optimizer": "levenberg_marquardt", "epochs": 5},
    "frozen": {"trainable": np.arange(17) % 2 == 0, "clip_norm": 0.1},
    "converged": {"tol": 1e-3},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_member_is_trained_as_by_its_own_fit(recipe):
    ens = ensemble()
    options = {"epochs": 12} | RECIPES[recipe]
    alone, histories = trained_alone(ens, **options)
    history = ens.fit(X, Y, **options)
    assert_like(ens, history, alone, histories)
    assert history.loss.shape == (max(h.epochs for h in histories), MEMBERS)
    for name in RECIPES[recipe].get("metrics", ()):
        np.testing.assert_allclose(history[1].metrics[name], histories[1].metrics[name])


def test_a_generator_counts_for_each_member_as_it_was():
    ens, twin = ensemble(), ensemble()
    rng = np.random.default_rng(5)
    ens.fit(X, Y, epochs=3, batch_size=4, rng=rng)
    alone, _ = trained_alone(
        twin, each=lambda i: {"rng": np.random.default_rng(5)}, epochs=3, batch_size=4
    )
    np.testing.assert_allclose(ens.params, [net.params for net in alone], rtol=1e-11)
    moved = np.random.default_rng(5)
    moved.integers(0, 2**64, dtype=np.uint64)
    assert rng.random() == moved.random()


def test_each_member_has_its_own():
    ens = ensemble()
    own_x = RNG.uniform(-1, 1, (MEMBERS, 20, 2))
    own_y = np.sin(own_x.sum(axis=2, keepdims=True))
    weight = RNG.uniform(0.5, 1, (MEMBERS, 20))
    rates, patience = np.linspace(0.01, 2.0, MEMBERS), [1, None, 2, 1, 3]
    masks = RNG.random((MEMBERS, 17)) < 0.8
    options = {"epochs": 30, "batch_size": 5}

    def of(i):
        return {
            "optimizer": fp.SGD(rates[i]),
            "patience": patience[i],
            "trainable": masks[i],
            "sample_weight": weight[i],
        }

    alone, histories = trained_alone(ens, own_x, own_y, of, **options)
    history = ens.fit(
        own_x,
        own_y,
        sample_weight=weight,
        optimizer="sgd",
        learning_rate=rates,
        patience=patience,
        trainable=masks,
        **options,
    )
    assert_like(ens, history, alone, histories)
    assert len({own.epochs for own in histories}) > 1
    for i, own in enumerate(histories):
        assert np.isnan(history.loss[own.epochs :, i]).all()
        np.testing.assert_allclose(history[i].learning_rate, own.learning_rate)


def test_schedules_by_member():
    ens, rates = ensemble(members=2), [fp.schedules.Cosine(0.1), 0.05]
    history = ens.fit(X, Y, epochs=4, learning_rate=rates)
    assert history.learning_rate[3, 0] < 0.1
    assert (history.learning_rate[:, 1] == 0.05).all()


def test_bootstrap():
    ens = ensemble()
    twins = [net.copy() for net in ens]
    history = ens.fit(X, Y, epochs=5, bootstrap=True, batch_size=7, rng=3)
    rows = history.bootstrap_rows
    assert rows.shape == (MEMBERS, 20)
    assert len({tuple(row) for row in rows}) == MEMBERS
    assert 0 <= rows.min() <= rows.max() < 20
    for net, row, own in zip(twins, rows, ens, strict=True):
        net.fit(X[row], Y[row], epochs=5, batch_size=7, rng=3)
        np.testing.assert_allclose(net.params, own.params, rtol=1e-11)
    again = ensemble().fit(X, Y, epochs=1, bootstrap=True, rng=3)
    np.testing.assert_array_equal(again.bootstrap_rows, rows)
    with pytest.raises(ValueError, match="pass validation_data"):
        ens.fit(X, Y, bootstrap=True, validation_split=0.5)


def test_classes_as_indices_of_each_member():
    layers = [fp.Dense(4, "relu"), fp.Dense(3, "softmax")]
    ens = fp.Ensemble(2, layers, "cross_entropy", members=3, dtype="float64", rng=0)
    y = RNG.integers(0, 3, (3, 20))
    alone = [net.copy() for net in ens]
    ens.fit(X, y, epochs=3, class_weight="balanced")
    for net, own, labels in zip(alone, ens, y, strict=True):
        net.fit(X, labels, epochs=3, class_weight="balanced")
        np.testing.assert_allclose(net.params, own.params, rtol=1e-11)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_nothing(threads):
    results = []
    for count in (1, threads):
        ens = ensemble("float32")
        history = ens.fit(X, Y, epochs=5, threads=count)
        results.append((ens.params.tobytes(), history.loss.tobytes()))
    assert results[0] == results[1]


def test_a_diverged_member_leaves_the_others_alone():
    ens = ensemble("float32")
    rates = [0.05, 1e30, 0.05, 0.05, 0.05]
    with pytest.warns(fp.DivergenceWarning, match="member 1: training diverged") as caught:
        history = ens.fit(X, Y, epochs=20, optimizer="sgd", learning_rate=rates, batch_size=None)
    assert len(caught) == 1
    assert history.stopped_by == ("epochs", "diverged", "epochs", "epochs", "epochs")
    assert np.isfinite(ens.params).all()
    assert np.isfinite(history.loss[:, 0]).all()
    assert np.isnan(history.loss[:, 1]).sum() > 0
    assert "learning rate" in history[1].message


def test_callbacks_see_each_member():
    ens, seen = ensemble(members=3), []

    def note(epoch):
        seen.append((list(ens).index(epoch.network), epoch.epoch))
        return epoch.network is ens[1] and epoch.epoch == 1

    history = ens.fit(X, Y, epochs=4, callbacks=note)
    assert sorted(seen) == [(i, e) for i in range(3) for e in range(2 if i == 1 else 4)]
    assert history.stopped_by == ("epochs", "callback", "epochs")
    with pytest.raises(ValueError, match=r"ens\.save"):
        ens.fit(X, Y, callbacks=fp.Checkpoint("file"))


def test_ctrl_c_stops_all_and_keeps_what_is_done():
    ens = ensemble(members=4)

    def interrupt(epoch):
        if epoch.network is ens[1]:
            raise KeyboardInterrupt

    history = ens.fit(X, Y, epochs=3, callbacks=interrupt, threads=1)
    assert history.stopped_by == ("epochs", "interrupted", "interrupted", "interrupted")
    assert np.isfinite(history.loss).sum(axis=0).tolist() == [3, 1, 0, 0]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"optimizer": ["sgd", "adam"] * 2 + ["sgd"]}, r"learning_rate=\[...\], for optimizers"),
        ({"learning_rate": [0.1, 0.2]}, "one for each of the 5 members"),
        ({"learning_rate": [0.1, -1, 0.1, 0.1, 0.1]}, "member 1: "),
        ({"optimizer": "lbfgs", "learning_rate": 0.1}, "has no learning_rate"),
        ({"patience": [1, 2]}, "patience must be one"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"trainable": np.ones((3, 17), bool)}, "there are 5 members"),
        ({"trainable": np.ones(3, bool)}, "trainable must have shape"),
        ({"X": np.ones((4, 20, 2))}, r"or \(5, n, 2\)"),
        ({"X": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]]}, "fit_many"),
        ({"y": np.ones((5, 19))}, "X has 20 rows"),
        ({"y": np.full((5, 20), np.nan)}, "y"),
        ({"sample_weight": np.ones((4, 20))}, "sample_weight must have shape"),
        ({"sample_weight": np.arange(100.0).reshape(5, 20) - 45}, "member 0: "),
        ({"validation_data": (X, Y[:3])}, "validation_data: X has"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_what_does_not_fit_changes_nothing(options, error):
    ens = ensemble()
    before = ens.params.copy()
    with pytest.raises((ValueError, TypeError), match=error):
        ens.fit(**({"X": X, "y": Y} | options))
    np.testing.assert_array_equal(ens.params, before)


def test_unknown_options():
    with pytest.raises(TypeError, match="Did you mean 'optimizer'"):
        ensemble().fit(X, Y, optimiser="sgd")
    with pytest.raises(TypeError, match="unexpected keyword argument 'resume'"):
        ensemble().fit(X, Y, resume="file")
    with pytest.raises(TypeError, match=r"ens\[i\].fit"):
        ensemble().fit(X, None)


def test_own_targets_that_could_be_either_belong_to_all():
    ens = fp.Ensemble(2, [fp.Dense(3)], members=2, dtype="float64", rng=0)
    y = RNG.random((2, 3))
    np.testing.assert_allclose(ens.loss(X[:2], y), [net.loss(X[:2], y) for net in ens])


def test_warnings_are_told_once_for_all():
    found = [[("far", UserWarning)], [], [("far", UserWarning)], [("near", UserWarning)]]
    with pytest.warns(UserWarning, match=r"members 0, 2 \(2 members\): far\nmember 3: near"):
        shared_out.warn_together(found, "member")
    many = [[(f"text {i}", UserWarning)] for i in range(6)]
    with pytest.warns(UserWarning, match="and 3 more messages"):
        shared_out.warn_together(many, "network")


def test_history_in_a_line():
    history = ensemble().fit(X, Y, epochs=3, validation_data=(X, Y))
    text = repr(history)
    assert text.startswith("EnsembleHistory(5 members, up to 3 epochs")
    assert "stopped 5 by epochs, median loss" in text
    assert len(history) == 5
    assert [own.epochs for own in history] == [3] * 5
    assert history.epochs == 3
