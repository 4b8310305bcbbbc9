"""Solvers: methods that take all samples at once and the flat vector as their unknown.

To add one, write its class in a file of its own, as `lbfgs` is, and import it here.
"""

from flatprop.solvers.lbfgs import LBFGS
from flatprop.solvers.levenberg_marquardt import LevenbergMarquardt
from flatprop.solvers.solver import SOLVERS, Solver

__all__ = ["LBFGS", "SOLVERS", "LevenbergMarquardt", "Solver"]
