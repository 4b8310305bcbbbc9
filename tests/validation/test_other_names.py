"""Names from other libraries: what keywords and attributes that there are not are answered."""

import copy
import inspect
import pickle
import pydoc
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar
from unittest import mock

import numpy as np
import pytest

import flatprop as fp
from flatprop.validation import other_names
from small_calls import DENSE, X, Y, fit, network

OTHER_NAMES = {
    "a rate": (fit(learning_rate=0.1), r"'learning_rate'.*optimizer=fp\.Adam\(0\.1\)"),
    "a rate beside a name": (fit(optimizer="sgd", lr=0.1), r"optimizer=fp\.SGD\(0\.1\)"),
    "a rate beside an object": (fit(optimizer=fp.RMSprop(), lr=1), r"optimizer=fp\.RMSprop\(1\)"),
    "a rate beside a class": (fit(optimizer=fp.Adagrad, eta=2), r"optimizer=fp\.Adagrad\(2\)$"),
    "a rate beside nothing": (fit(optimizer=None, lr=0.1), r"optimizer=fp\.Adam\(0\.1\)$"),
    "a rate beside a list": (fit(optimizer=["sgd"], lr=0.1), r"optimizer=fp\.Adam\(0\.1\)$"),
    "a rate beside settings": (
        fit(optimizer=fp.SGD(0.3, momentum=0.9), lr=np.float32(0.5)),
        r"optimizer=fp\.SGD\(0\.5, momentum=0\.9\)$",
    ),
    "a rate that is a word": (fit(learning_rate="adaptive"), r"optimizer=fp\.Adam\(0\.001\)$"),
    "a rate that is a schedule": (
        fit(optimizer="sgd", lr=fp.schedules.Step(0.1, 5)),
        r"fp\.SGD\(fp\.schedules\.Step\(0\.1, step_size=5\)\)$",
    ),
    "a rate of a solver": (fit(optimizer="lbfgs", lr=0.1), r"Leave it out: fp\.LBFGS has no"),
    "a rate of a solver's class": (
        fit(optimizer=fp.LevenbergMarquardt, learning_rate_init=0.1),
        r"Leave it out: fp\.LevenbergMarquardt has no learning rate$",
    ),
    "decay of a solver": (fit(optimizer=fp.LBFGS(), l2=0.1), "has no weight decay$"),
    "a schedule of a solver": (fit(optimizer="lbfgs", scheduler="cosine"), "no learning rate$"),
    "decay": (fit(weight_decay=0.1), r"fp\.AdamW\(0\.001, weight_decay=0\.1\)$"),
    "decay beside a name": (
        fit(optimizer="rmsprop", alpha=0.1),
        r"fp\.RMSprop\(0\.01, weight_decay=0\.1\)$",
    ),
    "decay beside an object": (
        fit(optimizer=fp.SGD(0.3, momentum=0.9), weight_decay=0.1),
        r"fp\.SGD\(0\.3, momentum=0\.9, weight_decay=0\.1\)$",
    ),
    "momentum beside a name": (
        fit(optimizer="rmsprop", momentum=0.5),
        r"RMSprop\(.*momentum=0\.5",
    ),
    "no decay": (fit(l2=0.0), "'l2'. Leave it out$"),
    "not verbose": (fit(verbose=0), "'verbose'. Leave it out$"),
    "no progress": (fit(show_progress=np.False_), "Leave it out$"),
    "no early stopping": (fit(early_stopping=False), "Leave it out$"),
    "no rounds": (fit(early_stopping_rounds=None), "Leave it out$"),
    "rounds": (fit(n_iter_no_change=7), "patience=7$"),
    "no split": (fit(validation_fraction=0), "Leave it out$"),
    "no weights of classes": (fit(class_weights=None), "Leave it out$"),
    "no callback": (fit(callback=None), "Leave it out$"),
    "the seed 0": (fit(seed=0), "rng=0$"),
    "one batch": (fit(batchsize=None), "batch_size=None$"),
    "verbose": (fit(verbose=1), "progress=True"),
    "a split": (fit(val_split=0.2), r"validation_split=0\.2$"),
    "a metric": (fit(metric=max), r"metrics=\{name: function\}, where function\(y, prediction\)"),
    "weights of classes": (fit(class_weights="balanced"), "class_weight='balanced'$"),
    "averages": (fit(use_ema=True), r"Here it is: ema=0\.999$"),
    "a decay of averages": (fit(ema_momentum=0.99), r"ema=0\.99$"),
    "no averages": (fit(use_ema=False), "Leave it out$"),
    "groups": (fit(param_groups=[]), "learning_rate_factors=factors, an array over net.params"),
    "iterations": (fit(max_iter=7), "epochs=7"),
    "early stopping": (fit(early_stopping=True), "patience=10"),
    "a loss for fit": (fit(loss="mse"), r"fp\.Network\(inputs, layers, loss="),
    "a seed": (fit(random_state=3), "rng=3"),
    "a misspelt option": (fit(ephocs=3), "Did you mean 'epochs'"),
    "nothing like it": (fit(qqq=3), "unexpected keyword argument 'qqq'$"),
    "lr of an optimizer": (lambda: fp.AdamW(lr=0.1), r"AdamW\(\) got.*learning_rate=0\.1"),
    "betas": (lambda: fp.Adam(beta_1=0.9), r"betas=\(0\.9, 0\.999\)"),
    "a solver's option": (lambda: fp.LBFGS(gtoll=1), r"LBFGS\(\) got.*Did you mean 'gtol'"),
    "a layer's input": (lambda: fp.Dense(3, input_dim=2), r"fp\.Network\(inputs, layers\)"),
    "a misspelt activation=": (lambda: fp.Dense(3, activatoin="relu"), "mean 'activation'"),
    "an optimizer for the network": (
        lambda: fp.Network(3, DENSE, optimizer="sgd"),
        r"Network\(\) got.*fit\(optimizer='sgd'\)",
    ),
    "weights of a loss": (
        lambda: network().loss(X, Y, weights=1),
        r"loss\(\) got.*sample_weight=1$",
    ),
    "weights of a gradient": (
        lambda: network().loss_and_gradient(X, Y, w=1),
        r"loss_and_gradient\(\) got.*sample_weight=1$",
    ),
    "a quantile": (lambda: fp.losses.Quantile(tau=0.9), r"Quantile\(\) got.*: q=0\.9$"),
    "Huber's": (lambda: fp.losses.Huber(threshold=2), r"Huber\(\) got.*: delta=2$"),
    "a loss without settings": (lambda: fp.losses.MAE(scale=2), r"MAE\(\) got.*It takes none$"),
    "a sum": (lambda: fp.losses.MSE(reduction="sum"), r"MSE\(\) got.*ssr"),
    "a function": (lambda: fp.losses.Own(fn=abs), r"Own\(\) got.*function="),
    "lr of a schedule": (lambda: fp.schedules.Exponential(lr=1), ": learning_rate=1$"),
    "steps of a schedule": (lambda: fp.schedules.Cosine(1, decay_steps=5), "T_max=5"),
    "steps of another": (lambda: fp.schedules.Step(1, T_0=5), "takes learning_rate, step_size, g"),
    "a file": (lambda: fp.Checkpoint(filename="a"), r"Checkpoint\(\) got.*: path='a'$"),
    "how often": (lambda: fp.Checkpoint("a", period=3), "every=3$"),
    "a solver's iterations": (lambda: fp.LBFGS(maxiter=5), r"fit\(epochs=5\)$"),
    "a solver's rate": (lambda: fp.LevenbergMarquardt(lr=5), "solver has no learning rate$"),
    "a solver's damping": (lambda: fp.LevenbergMarquardt(damping=5), "mu=5$"),
    "a network's rate": (
        lambda: fp.Network(3, DENSE, optimizer="sgd", lr=1),
        r"fit\(optimizer='sgd'\)",
    ),
    "a rate beside a position": (
        lambda: fp.Trainer(network(), fp.SGD(momentum=0.5), lr=1),
        r"optimizer=fp\.SGD\(1, momentum=0\.5\)$",
    ),
    "a trainer's rate": (lambda: fp.Trainer(network(), lr=1), r"optimizer=fp\.Adam\(1\)"),
    "a rate of one call": (
        lambda: fp.Trainer(network()).partial_fit(X, Y, lr=1),
        r"trainer\.learning_rate = 1",
    ),
    "score": (lambda: network().score(X, Y), r"no attribute 'score'.*net\.loss\(X, y\)"),
    "evaluate": (lambda: network().evaluate(X, Y), r"net\.loss\(X, y\)"),
    "forward": (lambda: network().forward(X), r"net\.predict\(X\)"),
    "state_dict": (lambda: network().state_dict(), r"net\.params"),
    "compile": (lambda: network().compile("adam"), "nothing to call"),
    "Keras's history": (lambda: fp.History().history["loss"], r"history\.loss"),
    "Sequential": (lambda: fp.Sequential, r"fp\.Network"),
    "misspelt Network": (lambda: fp.Netwrok, "Did you mean 'Network'"),
}


@pytest.mark.parametrize("case", OTHER_NAMES)
def test_a_name_from_elsewhere_is_answered(case):
    call, message = OTHER_NAMES[case]
    with pytest.raises((TypeError, AttributeError), match=message):
        call()


def test_answers_change_nothing_else():
    net = network()
    assert not hasattr(net, "score")
    assert getattr(net, "score", None) is None
    for copied in (pickle.loads(pickle.dumps(net)), copy.copy(net), copy.deepcopy(net)):
        assert np.array_equal(copied.params, net.params)
    for function in (fp.Network.fit, fp.Network, fp.Adam, fp.Dense, fp.Trainer):
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert not hasattr(fp.Network, "score")
    assert "score" not in {*dir(net), *dir(fp.Network)}
    assert "fit" in dir(net)
    known = set(inspect.signature(fp.Network.fit).parameters)
    assert not known & other_names.FIT.keys()
    assert not set(dir(net)) & other_names.ATTRIBUTES.keys()
    assert not set(dir(fp.History())) & other_names.HISTORY.keys()
    net.score = 3  # somebody's own
    assert net.score == 3
    assert "score" in dir(net)


T = TypeVar("T")


class Measuring:
    def __init_subclass__(cls, unit="", **options):
        super().__init_subclass__(**options)
        cls.unit = unit

    kernel = 5

    def score(self):
        return 43

    @property
    def optimizer(self):
        return "a property"

    @classmethod
    def from_file(cls):
        return cls


class Protocolled(Protocol):
    def evaluate(self): ...


class Required(ABC):
    @abstractmethod
    def clone(self): ...


class Beside(fp.Network, Measuring, unit="m"):
    pass


class Typed(fp.Network, Generic[T]):
    pass


class Overridden(fp.Network, Protocolled):
    def score(self):
        return super().score()

    def evaluate(self):
        return 42


class Unfinished(fp.Network, Required):
    pass


def test_a_member_that_there_is_comes_before_an_answer():
    net = Beside(3, DENSE)
    assert (net.score(), net.kernel, Beside.kernel, net.optimizer) == (43, 5, 5, "a property")
    assert net.from_file() is Beside.from_file() is Beside
    for names in (dir(net), dir(Beside)):
        assert {"score", "kernel", "optimizer", "from_file"} <= set(names)
        assert not {"forward", "evaluate"} & set(names)
    with pytest.raises(AttributeError, match=r"net\.predict"):
        net.forward(X)


def test_members_of_subclasses_are_members():
    net = Overridden(3, DENSE)
    assert net.evaluate() == 42
    assert {"score", "evaluate"} <= set(dir(net)) & set(dir(Overridden))
    assert {"score", "evaluate"} <= {name for name, _ in inspect.getmembers(net)}
    assert callable(mock.create_autospec(net).evaluate)
    with pytest.raises(AttributeError, match=r"no attribute 'score'\. Here it is"):
        net.score()
    with pytest.raises(TypeError, match=r"abstract.*clone"):
        Unfinished(3, DENSE)
    assert Beside.unit == "m"
    assert Typed[int](3, DENSE).predict(X).shape == (4, 2)
    assert isinstance(net, fp.Network)
    assert not isinstance(net, Beside)
    assert not isinstance(3, Overridden)


def test_an_answer_comes_back(monkeypatch):
    net = network()
    with monkeypatch.context() as patch:
        patch.setattr(fp.Network, "evaluate", lambda self: 7, raising=False)
        assert net.evaluate() == 7
        assert "evaluate" in set(dir(net)) & set(dir(fp.Network))
    assert "evaluate" not in dir(net)
    with pytest.raises(AttributeError, match="Here it is"):
        net.evaluate()


def test_help_lists_no_answer():
    text = pydoc.plain(pydoc.render_doc(fp.Network))
    assert "loss_and_gradient" in text
    for name in ("state_dict", "trainable_weights", "load_state_dict"):
        assert name not in text
