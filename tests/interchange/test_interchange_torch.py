"""Networks from and to PyTorch: its forward pass and its gradients are the reference."""

import pickle

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.interchange import from_torch, load_state_dict, state_dict, to_torch
from flatprop.model.dense_layer import Dense
from networks import DTYPES, both_dtypes, network

torch = pytest.importorskip("torch", reason="networks are exchanged with PyTorch")
nn = torch.nn

ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]


@pytest.fixture(autouse=True)
def same_first_values():
    """Modules begin with the same numbers in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def forward(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_to_torch_computes_the_same(activation, dtype):
    hidden = "tanh" if activation == "softmax" else activation
    net = network([5, 20, 11, 4], [hidden, hidden, activation], dtype=dtype, seed=3)
    scale = 0.01 if activation == "exp" else 10
    X = np.random.default_rng(4).normal(0, scale, (50, 5)).astype(dtype)
    if activation == "exp":
        net.params[:] *= 0.3
    before = torch.random.get_rng_state()
    module = to_torch(net)
    assert torch.equal(torch.random.get_rng_state(), before)
    actual, expected = forward(module, X), net.predict(X)
    assert actual.dtype == dtype
    eps = np.finfo(dtype).eps
    sizes = np.maximum(abs(expected).max(axis=1, keepdims=True), 1)
    assert (abs(actual - expected) / sizes).max() < 20 * eps
    again = from_torch(module)
    assert again.dense == net.dense
    np.testing.assert_array_equal(again.params, net.params)
    assert again.dtype == net.dtype
    with torch.no_grad():
        module[0].weight.zero_()
    assert net.params.any()  # parameters are copies
    assert again.weights[0].any()


@pytest.mark.parametrize("z", [19.0, 20.5, 39.0, 41.0, 500.0, -30.0, -700.0])
def test_softplus_has_no_step_at_a_threshold(z):
    net = fp.Network(1, [Dense(1, "softplus")], dtype="float64")
    net.params[:] = 1, 0
    X = np.array([[z]])
    np.testing.assert_allclose(forward(to_torch(net), X), net.predict(X), rtol=1e-15)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "binary_cross_entropy"])
def test_gradients_agree(loss):
    last = {"mse": "identity", "cross_entropy": "softmax"}.get(loss, "sigmoid")
    net = network([4, 7, 6, 3], ["gelu", "mish", last], loss, seed=1)
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(20, 4)), rng.uniform(size=(20, 3))
    y /= y.sum(axis=1, keepdims=True)
    module = to_torch(net)
    p, t = module(torch.from_numpy(X)), torch.from_numpy(y)
    value = {
        "mse": lambda: nn.functional.mse_loss(p, t),
        "cross_entropy": lambda: -(t * p.log()).sum(dim=1).mean(),
        "binary_cross_entropy": lambda: (
            3 * nn.functional.binary_cross_entropy(p, t)  # which is a mean over outputs too
        ),
    }[loss]()
    value.backward()
    expected, gradient = net.loss_and_gradient(X, y)
    np.testing.assert_allclose(value.item(), expected, rtol=1e-13)
    parts = [p.grad.numpy() for p in module.parameters()]
    actual = np.concatenate([part.T.ravel() for part in parts])
    np.testing.assert_allclose(actual, gradient, rtol=1e-10, atol=1e-14)


def test_a_module_can_be_pickled():
    net = network([2, 3, 1], ["exp", "identity"], dtype="float32")
    X = np.random.default_rng(0).normal(0, 0.5, (4, 2)).astype("float32")
    module = pickle.loads(pickle.dumps(to_torch(net)))
    np.testing.assert_array_equal(forward(module, X), forward(to_torch(net), X))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    names=st.lists(st.sampled_from(ELEMENTWISE), min_size=5),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_state_dicts(sizes, names, dtype, seed):
    net = network(sizes, names[: len(sizes) - 1], dtype=dtype, seed=seed)
    module = to_torch(net)
    theirs, ours = module.state_dict(), state_dict(net)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name].numpy())
        assert (array.dtype, array.flags.c_contiguous) == (dtype, True)
        assert not np.shares_memory(array, net.params)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in ours.items()})
    # tensors, under any names, in the order that safetensors sorts them into
    mapping = {f"model.net.{name}": tensor for name, tensor in sorted(theirs.items())}
    other = net.copy().reset(rng=seed + 1)
    load_state_dict(other, mapping)
    np.testing.assert_array_equal(other.params, net.params)


def test_names_and_dtypes_of_a_users_own_module():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 12)
            self.extra = nn.Linear(12, 2)
            self.answer = nn.Linear(2, 1)

        def forward(self, x):
            return self.answer(torch.relu(self.extra(torch.tanh(self.body(x)))))

    model = Model().to(torch.bfloat16)
    net = fp.Network(3, [Dense(12, "tanh"), Dense(2, "relu"), Dense(1)], dtype="float64")
    load_state_dict(net, model.state_dict())
    X = np.random.default_rng(0).normal(size=(9, 3))
    np.testing.assert_allclose(net.predict(X), forward(model.double(), X), rtol=1e-13)


def test_numbers_in_names_count_as_numbers():
    net = network([1] * 13, ["identity"] * 12, dtype="float32")
    arrays = state_dict(net)
    for names in (sorted(arrays), [*arrays][::-1]):
        other = net.copy().reset()
        load_state_dict(other, {name: arrays[name] for name in names})
        np.testing.assert_array_equal(other.params, net.params)
    # of a single layer, the name may be nothing but what it is
    line = fp.Network(2, [Dense(1)])
    load_state_dict(line, {"bias": [1], "weight": [[2, 3]]})
    np.testing.assert_array_equal(line.params, [2, 3, 1])


def test_an_order_that_nothing_tells_is_asked_for():
    net = network([2, 2, 2, 2], ["tanh", "tanh", "identity"], dtype="float32")
    parts = dict(zip(["head", "body", "tail"], range(3), strict=True))
    ours = state_dict(net)
    mapping = {
        f"{name}.{kind}": ours[f"{2 * place}.{kind}"]
        for name, place in sorted(parts.items())
        for kind in ("bias", "weight")
    }
    other = net.copy().reset(rng=5)
    before = other.params.copy()
    with pytest.raises(
        ValueError, match=r"body, head, tail .* not clear.*layers=\['body', 'head'"
    ):
        load_state_dict(other, mapping)
    for wrong in (["head", "body"], ["head", "body", "tial"], "head", ["head", "head", "tail"]):
        with pytest.raises(ValueError, match="layers must name body, head, tail"):
            load_state_dict(other, mapping, wrong)
    np.testing.assert_array_equal(other.params, before)
    load_state_dict(other, mapping, layers=["head", "body", "tail"])
    np.testing.assert_array_equal(other.params, net.params)


@pytest.mark.parametrize(
    ("sizes", "names"),
    [([3, 5, 2, 4], ["x", "c", "a"]), ([3, 3, 3, 3, 1], ["fc1", "fc2", "fc10", "answer"])],
)
def test_shapes_and_numbers_tell_the_order_of_words(sizes, names):
    net = network(sizes, ["tanh"] * len(names), dtype="float32")
    mapping = {
        f"{name}.{kind}": state_dict(net)[f"{2 * place}.{kind}"]
        for name, place in sorted(zip(names, range(9), strict=False))
        for kind in ("bias", "weight")
    }
    other = net.copy().reset(rng=5)
    load_state_dict(other, mapping)
    np.testing.assert_array_equal(other.params, net.params)


def test_tensors_without_real_values_are_refused():
    net = fp.Network(2, [Dense(3)])
    for module, error, message in (
        (nn.Linear(2, 3, dtype=torch.complex64), TypeError, "weight holds complex numbers"),
        (nn.Linear(2, 3, device="meta"), ValueError, "weight has no values yet"),
        (nn.LazyLinear(3), ValueError, "weight has no values yet"),
    ):
        with pytest.raises(error, match=message):
            load_state_dict(net, module.state_dict())
    with pytest.raises(ValueError, match="the weight of Linear 0 has no values"):
        from_torch(nn.Linear(2, 3, device="meta"))


GIVEN = {
    "0.weight": np.ones((3, 2)),
    "0.bias": np.ones(3),
    "2.weight": np.ones((1, 3)),
    "2.bias": np.ones(1),
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"0.weight": np.ones((2, 3))}, ValueError, r"0.weight must .*\(3, 2\).*\(2, 3\).*transp"),
        ({"2.bias": np.ones(2)}, ValueError, r"2.bias must have shape \(units,\) = \(1,\)"),
        ({"2.bias": None}, ValueError, r"lacks 2\.bias; for layers without bias add zeros"),
        ({"2.bias": None, "2.weight": None}, ValueError, r"holds 1 layers \(0\), but .* has 2"),
        ({"4.weight": 1, "4.bias": 1}, ValueError, "holds 3 layers"),
        ({"1.running_mean": 1}, ValueError, r"'1\.running_mean', which a Linear"),
        ({"2.weight": np.full((1, 3), np.nan)}, ValueError, r"2\.weight\[0, 0\] is nan"),
        ({"2.weight": "abc"}, TypeError, r"2\.weight must hold numbers"),
    ],
)
def test_what_does_not_fit_changes_nothing(change, error, message):
    net = fp.Network(2, [Dense(3, "tanh"), Dense(1)], rng=0)
    before = net.params.copy()
    mapping = {key: value for key, value in {**GIVEN, **change}.items() if value is not None}
    with pytest.raises(error, match=message):
        load_state_dict(net, mapping)
    np.testing.assert_array_equal(net.params, before)
    load_state_dict(net, GIVEN)
    assert (net.params == 1).all()


def test_a_module_is_no_mapping():
    net = fp.Network(2, [Dense(1)])
    with pytest.raises(TypeError, match=r"pass module\.state_dict\(\)"):
        load_state_dict(net, to_torch(net))


# ---- from modules


def test_modules_that_do_nothing_to_rows():
    module = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(6, 4), nn.Identity(), nn.ReLU(inplace=True)),
        nn.Dropout(0.5),
        nn.Dropout(0.0),
        nn.Sequential(nn.Linear(4, 5, bias=False), nn.Sequential()),
        nn.AlphaDropout(0.1),
        nn.Linear(5, 2),
        nn.Softplus(),
    )
    module = module.double().eval()
    net = from_torch(module, loss=fp.losses.Huber(2.0))
    expected = Dense(4, "relu"), fp.Dropout(0.5), Dense(5), Dense(2, "softplus")
    assert net.dense == expected
    assert net.loss_function == fp.losses.Huber(2.0)
    assert not net.biases[1].any()
    X = np.random.default_rng(0).normal(size=(8, 6))
    np.testing.assert_allclose(forward(module, X), net.predict(X), rtol=1e-12)


def test_a_module_that_stands_there_twice():
    linear, tanh = nn.Linear(3, 3), nn.Tanh()
    module = nn.Sequential(linear, tanh, linear, tanh, nn.Linear(3, 1)).double()
    net = from_torch(module)
    assert [layer.activation for layer in net.dense] == ["tanh", "tanh", "identity"]
    X = np.random.default_rng(0).normal(size=(8, 3))
    np.testing.assert_allclose(forward(module, X), net.predict(X), rtol=1e-12)


def test_one_linear_is_a_network():
    net = from_torch(nn.Linear(3, 2).double())
    assert repr(net) == "Network(3 -> 2 identity; mse, float64, 8 parameters)"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes(dtype):
    module = nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"float16 and float32; pass dtype="):
        from_torch(module)
    net = from_torch(module, dtype=dtype)
    assert net.dtype == dtype
    np.testing.assert_array_equal(net.weights[0], module[0].weight.detach().numpy().T)


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


LINEAR = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ([LINEAR, nn.LeakyReLU(0.2)], r"module\[1\] is LeakyReLU.*slope=0\.01"),
        ([LINEAR, nn.ELU(2.0)], r"alpha=1\.0"),
        ([LINEAR, nn.GELU("tanh")], "approximate='none'"),
        ([LINEAR, nn.Softplus(beta=2)], r"beta=1\.0"),
        ([LINEAR, nn.Softplus(threshold=5)], "threshold=40"),
        ([LINEAR, nn.Softmax(dim=0)], "dim=1"),
        ([LINEAR, nn.LogSoftmax(dim=1)], r"LogSoftmax, which .* use Softmax\(dim=1\)"),
        ([LINEAR, nn.BatchNorm1d(2)], "BatchNorm1d, which a network cannot have"),
        ([LINEAR, nn.Sequential(nn.Conv1d(1, 1, 1))], r"module\[1\]\[0\] is a Conv1d"),
        ([nn.Flatten(0), LINEAR], "only Flatten"),
        ([LINEAR, nn.Tanh(), nn.Tanh()], r"module\[2\] is a Tanh that does not follow a Linear"),
        ([nn.Tanh(), LINEAR], r"module\[0\] is a Tanh that does not follow"),
        ([LINEAR, nn.Linear(3, 2)], r"module\[1\] takes 3 inputs, but .* gives 2"),
        ([LINEAR, nn.Softmax(1), LINEAR], "only the last layer"),
        ([Doubled(LINEAR)], r"module\[0\] is a Doubled"),
        ([nn.DataParallel(LINEAR)], r"is a DataParallel, .*; pass module\.module"),
        (
            [nn.ModuleList([LINEAR])],
            r"ModuleList, .*load_state_dict\(net, module\.state_dict\(\)\)",
        ),
        ([nn.Dropout()], "no Linear"),
        ([], "no Linear"),
    ],
)
def test_what_a_network_cannot_be(module, message):
    with pytest.raises(ValueError, match=message):
        from_torch(nn.Sequential(*module))


def test_what_else_from_torch_refuses():
    with pytest.raises(TypeError, match=r"takes a torch\.nn\.Sequential, got OrderedDict"):
        from_torch(LINEAR.state_dict())
    with pytest.raises(
        ValueError, match=r"append it .*Sequential\(module, torch\.nn\.Softmax\(dim"
    ):
        from_torch(LINEAR, "cross_entropy")
    with pytest.raises(ValueError, match=r"append it .*torch\.nn\.Sigmoid\(\)"):
        from_torch(LINEAR, fp.losses.BinaryCrossEntropy)
    net = from_torch(nn.Sequential(LINEAR, nn.Softmax(dim=-1)), "cross_entropy")
    assert net.loss_function.name == "cross_entropy"
    poisoned = nn.Linear(1, 1)
    with torch.no_grad():
        poisoned.weight.fill_(np.nan)
    with pytest.raises(ValueError, match="the weight of Linear 0"):
        from_torch(poisoned)


def test_own_activations_are_refused():
    cube = numba.njit(lambda z: (z**3, 3 * z**2))
    net = fp.Network(1, [Dense(2, "tanh"), Dense(1, cube)])
    with pytest.raises(ValueError, match=r"cannot express the activation .* of layers\[1\]"):
        to_torch(net)
    assert list(state_dict(net)) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_without_torch(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    net = fp.Network(1, [Dense(1)])
    load_state_dict(net, state_dict(net))
    with pytest.raises(ImportError, match=r"to_torch needs PyTorch: .*flatprop\[torch\]"):
        to_torch(net)
    with pytest.raises(ImportError, match="from_torch needs PyTorch"):
        from_torch(LINEAR)
