"""Dense neural networks at hardware speed inside numerical Python.

A network is one flat array of parameters and a record per layer; compiled
kernels run, differentiate and train it in place.

    import flatprop as fp

    net = fp.Network(4, [fp.Dense(32, "tanh"), fp.Dense(3, "softmax")], "cross_entropy")
    history = net.fit(X, y, epochs=200)
    probabilities = net.predict(X)
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING
from typing import Any as _Any

from flatprop import kernels
from flatprop.embedding.c_interface import c_functions, c_network, c_optimizer, get_include
from flatprop.embedding.scipy_callable import low_level_callable
from flatprop.embedding.specialized import Specialized, specialize
from flatprop.evaluation.laid_open import LayerTrace, Trace
from flatprop.evaluation.trace import check_gradients
from flatprop.formulas import losses, schedules
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from flatprop.kernels.configuration import show_config
from flatprop.many.ensemble import Ensemble
from flatprop.many.ensemble_history import EnsembleHistory
from flatprop.many.fit_many import fit_many
from flatprop.many.loading import load
from flatprop.model.dense_layer import Dense
from flatprop.model.dropout_layer import Dropout
from flatprop.model.layer import Layer
from flatprop.model.layer_normalisation import LayerNorm
from flatprop.model.residual_block import Residual, ResidualBegin, ResidualEnd
from flatprop.network import Network
from flatprop.samples.equation import Equation
from flatprop.solvers import LBFGS, LevenbergMarquardt, Solver
from flatprop.training.callbacks import Checkpoint, Epoch
from flatprop.training.history import History
from flatprop.training.range_test import LearningRateRange, learning_rate_range
from flatprop.training.trainer import Trainer
from flatprop.validation import answers as _answers
from flatprop.validation import other_names as _other_names
from flatprop.validation.alerts import DivergenceWarning, ResolutionWarning
from flatprop.version_0_1 import stand_in as _stand_in

if TYPE_CHECKING:
    from flatprop import interchange as interchange
    from flatprop import plot as plot
    from flatprop import sklearn as sklearn

__version__ = _version("flatprop")

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "Dense",
    "DivergenceWarning",
    "Dropout",
    "Ensemble",
    "EnsembleHistory",
    "Epoch",
    "Equation",
    "History",
    "Layer",
    "LayerNorm",
    "LayerTrace",
    "LearningRateRange",
    "LevenbergMarquardt",
    "Network",
    "Optimizer",
    "RMSprop",
    "Residual",
    "ResidualBegin",
    "ResidualEnd",
    "ResolutionWarning",
    "Rprop",
    "Solver",
    "Specialized",
    "Trace",
    "Trainer",
    "c_functions",
    "c_network",
    "c_optimizer",
    "check_gradients",
    "fit_many",
    "get_include",
    "kernels",
    "learning_rate_range",
    "load",
    "losses",
    "low_level_callable",
    "schedules",
    "show_config",
    "specialize",
]

_stand_in()

_LAZY = ("interchange", "plot", "sklearn")
"""Submodules that are imported when they are first used: `import flatprop` stays light."""


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        return _import_module(f"flatprop.{name}")
    members = *__all__, *_LAZY
    raise _answers.no_member("flatprop", name, members, _other_names.MODULE)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
