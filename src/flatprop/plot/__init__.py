"""Pictures of trainings and networks, by Matplotlib: ``pip install 'flatprop[plot]'``.

Each function draws into the Axes (or, where it has several panels, the Figure) that it is
given, or makes a new one, and returns the Axes drawn into. It shows nothing and changes no
setting. Text, background and fonts are those of the current style, light or dark. Colours follow
the Axes or the Figure that is given, if that was made in another style.
"""

from importlib.util import find_spec as _find_spec

if _find_spec("matplotlib") is None:
    raise ImportError("fp.plot needs Matplotlib: pip install 'flatprop[plot]'")

from flatprop.plot.calibration import coverage, reliability
from flatprop.plot.diagram import network
from flatprop.plot.distributions import histograms
from flatprop.plot.live import LiveLoss
from flatprop.plot.loss_curves import history
from flatprop.plot.rates import learning_rate_range
from flatprop.plot.regions import decision_regions
from flatprop.plot.regression import fit

__all__ = [
    "LiveLoss",
    "coverage",
    "decision_regions",
    "fit",
    "histograms",
    "history",
    "learning_rate_range",
    "network",
    "reliability",
]
