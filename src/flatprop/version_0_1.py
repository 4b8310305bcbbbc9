"""Where pickles of version 0.1 look for what they hold: the places that it has left since.

A pickle names the module of each class. Each module here stands in for one that there is no
more, and has what a pickle may ask of it.
"""

import sys
from types import ModuleType

from flatprop.embedding.specialized import Specialized
from flatprop.evaluation.laid_open import LayerTrace, Trace
from flatprop.kernels.network.training_loop import Progress, Rule
from flatprop.model.dense_layer import Dense
from flatprop.model.layers import Summary
from flatprop.training.callbacks import Checkpoint, Epoch
from flatprop.training.history import History
from flatprop.training.stepper import Stepper
from flatprop.validation.alerts import DivergenceWarning, ResolutionWarning

_LEFT: dict[str, dict[str, object]] = {
    "alerts": {"DivergenceWarning": DivergenceWarning, "ResolutionWarning": ResolutionWarning},
    "callbacks": {"Checkpoint": Checkpoint, "Epoch": Epoch},
    "description": {"Dense": Dense, "Summary": Summary},
    "explain": {"LayerTrace": LayerTrace, "Trace": Trace},
    "history": {"History": History},
    "specialized": {"Specialized": Specialized},
    "kernels.epochs": {"Progress": Progress, "Rule": Rule},
    "training.updates": {"Updates": Stepper},
}


def stand_in() -> None:
    """Let the old places be found."""
    for name, contents in _LEFT.items():
        module = ModuleType(f"flatprop.{name}", __doc__)
        module.__dict__.update(contents)
        sys.modules.setdefault(module.__name__, module)
