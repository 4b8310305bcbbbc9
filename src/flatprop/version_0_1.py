"""Where pickles of version 0.1 look for what they hold: the places that it has left since.

A pickle names the module of each class. Each module here stands in for one that there is no
more, and has what a pickle may ask of it.
"""

import sys
from types import ModuleType

from flatprop.evaluation.trace import LayerTrace, Trace
from flatprop.kernels.network.training_loop import Progress, Rule
from flatprop.model.layers import Dense, Summary
from flatprop.training.callbacks import Checkpoint, Epoch
from flatprop.training.history import History
from flatprop.training.stepper import Stepper

_LEFT: dict[str, dict[str, object]] = {
    "callbacks": {"Checkpoint": Checkpoint, "Epoch": Epoch},
    "description": {"Dense": Dense, "Summary": Summary},
    "explain": {"LayerTrace": LayerTrace, "Trace": Trace},
    "history": {"History": History},
    "kernels.epochs": {"Progress": Progress, "Rule": Rule},
    "training.updates": {"Updates": Stepper},
}


def stand_in() -> None:
    """Let the old places be found."""
    for name, contents in _LEFT.items():
        module = ModuleType(f"flatprop.{name}", __doc__)
        module.__dict__.update(contents)
        sys.modules.setdefault(module.__name__, module)
