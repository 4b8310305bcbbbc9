"""Whatever is done to a network from outside, no kernel writes or reads where it must not."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import flatprop as fp
from flatprop.kernels.network import training_loop as loop
from flatprop.samples.in_memory import in_memory
from networks import make

DESCRIPTION = ("inputs", "dense", "dtype", "outputs", "loss_function", "layers", "objectives")


# ---- what describes a network


@pytest.mark.parametrize("name", DESCRIPTION)
def test_a_description_cannot_be_assigned(name):
    net = make()
    before = repr(net), net.layers.tobytes()
    with pytest.raises(AttributeError, match=f"{name} describes the network and cannot be chang"):
        setattr(net, name, getattr(fp.Network(300, [fp.Dense(2)]), name))
    assert (repr(net), net.layers.tobytes()) == before


def test_a_description_cannot_be_deleted():
    net = make()
    for name in ("inputs", "dtype", "_arrays"):
        with pytest.raises(AttributeError, match="describes the network"):
            delattr(net, name)
    net.label = "mine"
    del net.label


@pytest.mark.parametrize("name", ["layers", "objectives"])
def test_records_cannot_be_made_writable(name):
    net = make()
    with pytest.raises(ValueError, match="WRITEABLE"):
        getattr(net, name).flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        getattr(net, name)[:] = 0


def test_what_is_done_to_a_view_stays_in_it(data):
    net, twin = make(), make()
    with warnings.catch_warnings():  # NumPy will forbid some of this one day
        warnings.simplefilter("ignore", DeprecationWarning)
        net.layers.shape = (2, 1)
        net.layers.dtype = "u1"
        net.params.shape = (1, -1)
        net.params.dtype = "float64" if net.params.size % 2 == 0 else "u1"
        net.weights[0].shape = (-1,)
    assert net.params.shape == twin.params.shape
    assert net.params.dtype == twin.dtype
    assert net.predict(data[0]).tobytes() == twin.predict(data[0]).tobytes()
    for each in (net, twin):
        each.fit(*data, epochs=2)
    assert net.params.tobytes() == twin.params.tobytes()


def test_params_stay_the_same_object():
    net = make()
    assert net.params is net.params
    net.params += 1
    assert np.array_equal(net.weights[0].ravel(), net.params[:64])


def test_a_generator_is_checked_when_assigned():
    net = make()
    net.rng = 7
    assert isinstance(net.rng, np.random.Generator)
    with pytest.raises(TypeError, match="rng must be"):
        net.rng = "seven"


# ---- parameters that say they are read-only

CHANGING = {
    "fit": lambda net, X, y: net.fit(X, y, epochs=1),
    "fit by a solver": lambda net, X, y: net.fit(X, y, optimizer="levenberg_marquardt"),
    "fit on batches": lambda net, X, y: net.fit([(X, y)], epochs=1),
    "reset": lambda net, X, y: net.reset(),
    "Trainer": lambda net, X, y: fp.Trainer(net),
}
READING = {
    "predict": lambda net, X, y: net.predict(X),
    "loss": lambda net, X, y: net.loss(X, y),
    "loss_and_gradient": lambda net, X, y: net.loss_and_gradient(X, y)[1],
    "jacobian": lambda net, X, y: net.jacobian(X),
    "copy": lambda net, X, y: net.copy().params,
}


@pytest.mark.parametrize("name", CHANGING)
def test_read_only_parameters_are_not_trained(data, name):
    net = make(dtype="float64")
    before, state = net.params.tobytes(), net.rng.bit_generator.state
    net.params.flags.writeable = False
    with pytest.raises(ValueError, match=r"net\.params is read-only, but would be changed; allow"):
        CHANGING[name](net, *data)
    assert net.params.tobytes() == before
    assert net.rng.bit_generator.state == state
    net.params.flags.writeable = True
    CHANGING[name](net, *data)


@pytest.mark.parametrize("name", READING)
def test_read_only_parameters_are_read(data, name):
    net, twin = make(dtype="float64"), make(dtype="float64")
    net.params.flags.writeable = False
    assert np.array_equal(READING[name](net, *data), READING[name](twin, *data))


def test_a_trainer_asks_again(data):
    net = make()
    trainer = fp.Trainer(net)
    trainer.partial_fit(*data)
    net.params.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        trainer.partial_fit(*data)


# ---- pickles: arrays may come back read-only, mapped from a file, or shared


def read_only_copy(thing):
    """As joblib's workers get things: every array a read-only view of somebody else's memory."""
    buffers = []
    content = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    assert buffers
    return pickle.loads(content, buffers=[bytes(buffer.raw()) for buffer in buffers])


def test_a_network_from_read_only_memory_trains(data):
    net = make()
    twin = read_only_copy(net)
    assert twin.params.flags.writeable
    for each in (net, twin):
        each.fit(*data, epochs=2)
    assert net.params.tobytes() == twin.params.tobytes()


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rprop", fp.SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("copied", [read_only_copy, copy.deepcopy, copy.copy])
def test_a_trainer_from_read_only_memory_goes_on(data, optimizer, copied):
    trainer = fp.Trainer(make(), optimizer, clip_norm=1.0)
    trainer.partial_fit(*data)
    twin = copied(trainer)
    assert twin.state.flags.writeable
    if copied is copy.copy:  # which shares the network
        twin.partial_fit(*data)
        assert np.isfinite(trainer.network.params).all()
        return
    assert twin.updates == 1
    for each in (trainer, twin):
        each.partial_fit(*data, batch_size=7)
    assert trainer.network.params.tobytes() == twin.network.params.tobytes()
    assert trainer.state.tobytes() == twin.state.tobytes()


def altered(trainer, **changes):
    stepper = trainer._stepper
    for name, value in changes.items():
        if name in stepper.rule._fields:
            stepper.rule = stepper.rule._replace(**{name: value})
        else:
            assert hasattr(stepper, name)
            setattr(stepper, name, value)
    return trainer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.zeros((2, 7), "float32")}, r"\(2, 114\) are needed by Adam"),
        ({"state": np.zeros((2, 114))}, "float32 with shape"),
        ({"settings": np.zeros(2)}, "settings and a state"),
        ({"code": 99}, "no update of an optimizer with the code 99"),
        ({"code": -1}, "no update of an optimizer"),
        ({"trainable": np.array([[0, 115]])}, "no ranges of 114 parameters"),
        ({"trainable": np.array([[-1, 4]])}, "no ranges of 114 parameters"),
        ({"trainable": np.array([4, 9])}, "no ranges of 114 parameters"),
        ({"factors": np.ones(7, "float32")}, r"factors must be of float32 with shape \(114,\)"),
        ({"averages": np.ones(114)}, r"averages must be of float32 with .* not of float64"),
        ({"averages": np.ones((1, 114), "float32")}, "averages must be of float32"),
    ],
)
def test_a_pickled_trainer_that_lies(data, changes, message):
    trainer = altered(fp.Trainer(make()), **changes)
    with pytest.raises(ValueError, match=message):
        pickle.loads(pickle.dumps(trainer))


def test_a_pickled_network_that_lies():
    state = make().__getstate__()
    params = state["params"]
    for lie in (
        {"params": params[:5]},
        {"params": params.astype("float64")},
        {"params": params[:, None]},
        {"inputs": 300},
        {"dtype": np.dtype("float64")},
        {"dense": (fp.Dense(9), fp.Dense(1))},
    ):
        with pytest.raises(ValueError, match=r"needs \d+ parameters of float"):
            fp.Network.__new__(fp.Network).__setstate__(state | lie)
    for name, value in (("inputs", -3), ("dense", ()), ("dtype", "float16"), ("rng", "x")):
        with pytest.raises((ValueError, TypeError)):
            fp.Network.__new__(fp.Network).__setstate__(
                {k: v for k, v in state.items() if k != f"_{name}"} | {name: value}
            )


def test_what_a_trainer_trains_cannot_be_exchanged(data):
    trainer = fp.Trainer(make())
    with pytest.raises(AttributeError):
        trainer.network = fp.Network(300, [fp.Dense(1)])
    with pytest.raises(AttributeError):
        trainer.optimizer = fp.SGD(0.1)
    trainer.state.flags.writeable = False  # of a view
    trainer.partial_fit(*data)


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given")
def test_estimators_in_the_workers_of_joblib():
    multioutput = pytest.importorskip("sklearn.multioutput")
    from flatprop.sklearn import MLPRegressor

    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(100, 784)), rng.normal(size=(100, 2))
    model = multioutput.MultiOutputRegressor(MLPRegressor(random_state=0), n_jobs=2)
    alone = MLPRegressor(random_state=0)
    for _ in range(2):  # the second time what the first one made is mapped read-only
        model.partial_fit(X, Y)
        alone.partial_fit(X, Y[:, 0])
    assert np.array_equal(model.predict(X)[:, 0], alone.predict(X))


# ---- several at once, and callbacks


def test_a_trainer_is_at_work_once_at_a_time(data):
    trainer = fp.Trainer(make())

    def batches():
        with pytest.raises(RuntimeError, match="at work already, in another thread or below"):
            trainer.partial_fit(*data)
        yield data

    class Source:
        def parts(self, batch_size, rng=None):
            yield from (in_memory(trainer.network, *batch) for batch in batches())

    trainer.go_through(Source())
    assert trainer.updates == 1
    trainer.partial_fit(*data)
    assert trainer.updates == 2


def test_epochs_that_another_call_came_between(data):
    trainer = fp.Trainer(make())
    samples = in_memory(trainer.network, *data)
    losses = trainer.epochs(samples, 0, 1, 7, False)
    next(losses)
    whole = trainer.epochs(samples, 0, 2, 7, False)
    trainer.partial_fit(data[0][:3], data[1][:3])
    assert len(list(whole)) == 2  # it begins only now
    twin = copy.copy(trainer)
    begun = trainer.epochs(samples, 0, 10**6, 7, False)  # longer than one call
    next(begun)
    twin.partial_fit(data[0][:3], data[1][:3])
    with pytest.raises(RuntimeError, match="in the middle of a training"):
        list(begun)


def reshape(epoch):
    epoch.network.params.shape = (-1, 1)


def retype(epoch):
    epoch.network.params.dtype = np.int32


@pytest.mark.filterwarnings("ignore:Setting the (shape|dtype)")
@pytest.mark.parametrize("change", [reshape, retype])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 3, "batch_size": None},
        {"optimizer": "levenberg_marquardt"},
        {"validation_data": True, "patience": 2},
    ],
)
def test_callbacks_that_reshape_what_they_get(data, change, options):
    options = options | ({"validation_data": data} if "validation_data" in options else {})
    net, twin = make(dtype="float64"), make(dtype="float64")
    net.fit(*data, epochs=6, callbacks=change, **options)
    twin.fit(*data, epochs=6, callbacks=lambda epoch: None, **options)
    assert net.params.tobytes() == twin.params.tobytes()


@pytest.mark.parametrize("optimizer", ["adam", "levenberg_marquardt"])
@pytest.mark.parametrize("of", ["params", "weights", "biases"])
def test_callbacks_that_forbid_changes(data, optimizer, of):
    def forbid(epoch):
        array = epoch.network.params if of == "params" else getattr(epoch.network, of)[1]
        array.flags.writeable = False

    name = "params" if of == "params" else rf"{of}\[1\]"
    with pytest.raises(ValueError, match=rf"net\.{name} is read-only"):
        make(dtype="float64").fit(*data, epochs=6, optimizer=optimizer, callbacks=forbid)


# ---- data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_at_odd_addresses(data, dtype):
    net = make(dtype=dtype)
    raw = bytearray(1 + data[0].size * net.dtype.itemsize)
    X = np.frombuffer(raw, net.dtype, offset=1).reshape(data[0].shape)
    X[:] = data[0]
    assert not X.flags.aligned
    compiled = len(loop.train.signatures)
    assert np.array_equal(net.predict(X), net.predict(data[0]))
    net.fit(X, data[1], epochs=1)
    net.fit(X.copy(), data[1], epochs=1)
    assert len(loop.train.signatures) <= compiled + 1


def test_a_sparse_matrix_whose_indices_lie():
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.csr_array(np.eye(3))
    X.indices[1] = 10**6
    with pytest.raises(ValueError, match="X is no sound sparse matrix: "):
        make().predict(X)
