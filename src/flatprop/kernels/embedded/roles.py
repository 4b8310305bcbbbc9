"""What the arguments of the embedded functions are: one table for Numba, for C and for checks.

An argument has the role that its name says. From the roles of a function's arguments follow

| what | where |
| --- | --- |
| the types that compiled code may pass, and the call itself | `linking` |
| the functions themselves, for C and for Numba | `faces` |
| the check of sizes and overlaps before a function of `kernels.checked` | `faults` |
| what the functions of `fp.c_functions` take from Python | `embedding.c_interface` |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.np.numpy_support import from_dtype

from flatprop.kernels.compile import arguments_of
from flatprop.kernels.network.least_squares_call import N_SOLVER

SIZES = ["1", "rows", "inputs", "outputs", "y_columns", "params.size", "rows * outputs"]
SIZES += ["workspace_size", "gradient_workspace_size", "settings", "slots"]
SIZES += [str(N_SOLVER), "levenberg_marquardt_workspace_size"]
SIZES += ["n_directions", "rows * n_directions", "derivatives_workspace_size"]
SIZES += ["inputs * inputs", "hessian_workspace_size"]
"""The names of the lengths of arrays. `y_columns` is 1 for class indices, else the targets.
`slots` are the rows of an optimizer's state. `faults` computes the lengths, in this order."""


class ArrayRole(NamedTuple):
    """The role of an array."""

    shape: tuple[str, ...]
    """One or two of `SIZES`."""
    written: bool = False
    absent: str = ""
    """What may stand for no array: "None" or "empty". Both are NULL in C."""


def read(*shape: str, absent: str = "") -> ArrayRole:
    """An array that is only read."""
    return ArrayRole(shape, absent=absent)


def written(*shape: str, absent: str = "") -> ArrayRole:
    """An array that is overwritten or added to."""
    return ArrayRole(shape, True, absent)


ARRAYS = {
    "layers": read("1"),  # `faults` checks the records of layers and loss by itself
    "objectives": read("1"),
    "params": read("params.size"),
    "v": read("params.size"),
    "x": read("rows", "inputs"),
    "y": read("rows", "y_columns"),
    "weight": ArrayRole(("rows",), absent="None"),
    "dL_dy": read("rows", "outputs"),
    "directions": read("n_directions", "inputs"),
    "gradient": written("params.size"),
    "workspace": written("gradient_workspace_size"),
    "settings": written("settings"),  # these two are parts of `optimizer`
    "state": written("slots", "params.size"),
}
"""The usual roles of arrays. `@embedded(...)` lists the arguments with other roles."""

NUMBERS = {"rows": types.int64, "y_columns": types.int64, "learning_rate": types.float64}
NUMBERS |= {"iterations": types.int64, "n_directions": types.int64}

IN_C: dict[str, tuple[str, ...]] = dict.fromkeys(("layers", "objectives", "params"), ())
IN_C |= {"x": ("rows", "x"), "y": ("y", "y_columns")}
IN_C |= {"directions": ("n_directions", "directions")}
"""What C passes for an argument, where C's argument has another name. The first three are in
`network`, the first argument of every function."""


@dataclass(frozen=True, eq=False)
class EmbeddedFunction:
    """An embedded function: what it computes, and what follows from its arguments."""

    body: Callable[..., Any]
    result: Any
    arrays: dict[str, ArrayRole]
    """The role of every argument that is an array, and of the arrays of an optimizer."""

    @property
    def name(self) -> str:
        return self.body.__name__

    @property
    def arguments(self) -> tuple[str, ...]:
        """What compiled code passes."""
        return arguments_of(self.body)

    @property
    def c_arguments(self) -> tuple[str, ...]:
        """What C passes."""
        return "network", *(c for name in self.arguments for c in IN_C.get(name, (name,)))

    def c_signature(self, dtype: np.dtype[Any]) -> tuple[Any, tuple[Any, ...]]:
        """The types of the result and of what C passes; arrays are pointers to `dtype`."""
        array = types.CPointer(from_dtype(dtype))
        kinds = NUMBERS | dict.fromkeys(self.arrays, array)
        return self.result, tuple(kinds.get(name, types.voidptr) for name in self.c_arguments)


FUNCTIONS: dict[str, EmbeddedFunction] = {}
"""The embedded functions by name, in the order of the table in C."""
