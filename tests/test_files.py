"""Saved networks: exact, without pickle, and files that lie."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import flatprop as fp
from flatprop import files


def make(**options):
    layers = [fp.Dense(5, "mish"), fp.Dense(3, "exp")]
    return fp.Network(2, layers, **{"loss": fp.losses.Huber(0.7), "rng": 4, **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "loss", ["mse", "ssr", "poisson", fp.losses.Huber(0.1), fp.losses.Quantile(0.9)]
)
def test_round_trip_is_exact(tmp_path, dtype, loss):
    net = make(dtype=dtype, loss=loss)
    net.params[:3] = [0.1, -0.0, np.finfo(dtype).tiny / 4]
    path = tmp_path / "net.safetensors"
    net.save(path)
    twin = fp.load(path)
    assert twin.params.tobytes() == net.params.tobytes()
    assert repr(twin) == repr(net)
    assert twin.dense == net.dense
    assert twin.loss_function == net.loss_function
    assert np.array_equal(twin.predict([[1, 2]]), net.predict([[1, 2]]))


def test_training_goes_on_as_if_it_had_not_been_saved(tmp_path):
    X, y = np.random.default_rng(0).uniform(size=(2, 60, 3))
    net = make()
    net.fit(X[:, :2], y, epochs=2)
    net.save(tmp_path / "net")
    twin = fp.load(str(tmp_path / "net"))
    for each in (net, twin):
        each.fit(X[:, :2], y, epochs=2)
    assert np.array_equal(net.params, twin.params)


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_bit_generator_survives(tmp_path, kind):
    net = make(rng=np.random.Generator(kind(3)))
    net.save(tmp_path / "net")
    twin = fp.load(tmp_path / "net")
    assert np.array_equal(twin.rng.integers(0, 99, 20), net.rng.integers(0, 99, 20))


def test_saving_replaces_in_one_step(tmp_path):
    net = make()
    path = tmp_path / "net"
    net.save(path)
    net.params += 1
    net.save(path)
    assert np.array_equal(fp.load(path).params, net.params)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_links_and_permissions_survive(tmp_path):
    net, path, link = make(), tmp_path / "net", tmp_path / "link"
    net.save(path)
    path.chmod(0o600)
    link.symlink_to(path)
    net.params += 1
    net.save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert np.array_equal(fp.load(path).params, net.params)


def test_numpy_numbers_as_parameters_of_a_loss(tmp_path):
    net = make(loss=fp.losses.Huber(np.float32(1.5)))
    net.save(tmp_path / "net")
    assert fp.load(tmp_path / "net").loss_function == fp.losses.Huber(1.5)


def test_extra_information_is_kept(tmp_path):
    files.save(make(), tmp_path / "net", extra={"columns": ["a", "b"], "mean": [0.1, 2.5]})
    assert files.load_with_extra(tmp_path / "net")[1] == {
        "columns": ["a", "b"],
        "mean": [0.1, 2.5],
    }
    make().save(tmp_path / "plain")
    assert files.load_with_extra(tmp_path / "plain")[1] is None


def test_the_file_is_readable_by_anyone(tmp_path):
    net = make()
    net.save(tmp_path / "net")
    assert np.array_equal(load_file(tmp_path / "net")["params"], net.params)


def altered(tmp_path, change):
    """A saved network whose tensors or description `change` has made a lie of."""
    net = make()
    description = files.described(net)
    tensors = {"params": net.params.copy()}
    change(tensors, description)
    path = tmp_path / "liar"
    save_file(tensors, path, metadata={"flatprop": json.dumps(description)})
    return path


LIES = {
    "too few parameters": (
        lambda t, d: t.update(params=t["params"][:-1].copy()),
        "contradicts itself",
    ),
    "other dtype": (
        lambda t, d: t.update(params=t["params"].astype("float64")),
        "contradicts itself",
    ),
    "no parameters": (lambda t, d: t.update(other=t.pop("params")), "holds no parameters"),
    "newer format": (lambda t, d: d.update(format="flatprop 9"), "'flatprop 9'"),
    "unknown activation": (lambda t, d: d.update(layers=[[5, "mush"], [3, "exp"]]), "mush"),
    "negative width": (lambda t, d: d.update(layers=[[-5, "mish"]]), "at least 1"),
    "no layers": (lambda t, d: d.pop("layers"), "layers"),
    "unknown loss": (lambda t, d: d.update(loss={"name": "hinge"}), "hinge"),
    "unknown parameter of a loss": (
        lambda t, d: d.update(loss={"name": "huber", "epsilon": 1}),
        "epsilon",
    ),
    "a list for a description": (lambda t, d: d.clear(), "format None"),
}


@pytest.mark.parametrize("lie", LIES)
def test_files_that_lie(tmp_path, lie):
    change, message = LIES[lie]
    with pytest.raises(ValueError, match=message):
        fp.load(altered(tmp_path, change))


def test_files_that_are_not_networks(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        fp.load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="a folder"):
        fp.load(tmp_path)
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        fp.load(text)
    net = make()
    net.save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"):
        fp.load(tmp_path / "half")
    save_file({"params": net.params}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="did not write it"):
        fp.load(tmp_path / "foreign")


def test_resuming_what_cannot_be_resumed(tmp_path):
    X, y = np.random.default_rng(0).uniform(size=(2, 60, 3))
    net = make()
    net.save(tmp_path / "net")
    net.fit(X[:, :2], y, epochs=2, callbacks=fp.Checkpoint(tmp_path / "run"))
    before = net.params.copy()
    for path, options, message in (
        ("net", {}, "no training to resume"),
        ("run", {"batch_size": 5}, "batch_size = 32"),
        ("run", {"optimizer": "rmsprop"}, "optimizer = Adam"),
        ("run", {"epochs": 1}, "has 2 epochs behind it, more than epochs=1"),
        ("run", {"trainable": np.arange(33) > 3}, "trainable = a mask"),
    ):
        with pytest.raises(ValueError, match=message):
            net.fit(X[:, :2], y, resume=tmp_path / path, **options)
    other = fp.Network(2, [fp.Dense(3, "exp")], loss=fp.losses.Huber(0.7))
    with pytest.raises(ValueError, match="other layers"):
        other.fit(X[:, :2], y, resume=tmp_path / "run")
    assert np.array_equal(net.params, before)


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        make().save(tmp_path / "nowhere" / "net")
