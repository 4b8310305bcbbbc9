"""Solvers: methods that use all samples at once and whose unknown is the flat vector.

To add a solver, write its class in a new file, as in `lbfgs`, and import it here.
"""

from flatprop.solvers.lbfgs import LBFGS
from flatprop.solvers.levenberg_marquardt import LevenbergMarquardt
from flatprop.solvers.solver import SOLVERS, Solver

__all__ = ["LBFGS", "SOLVERS", "LevenbergMarquardt", "Solver"]
