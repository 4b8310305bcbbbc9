"""What C needs of this process: function pointers, networks, optimizers, the header.

The contract is `include/flatprop.h`; the structs here are those of that file.
"""

import ctypes
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numba.core import types
from numpy.typing import DTypeLike

from flatprop.formulas.optimizer import OPTIMIZERS, Optimizer, OptimizerState
from flatprop.kernels.embedded.linking import C_FUNCTIONS
from flatprop.kernels.embedded.roles import FUNCTIONS, EmbeddedFunction
from flatprop.kernels.loops.addresses import CUSTOM
from flatprop.model.layers import checked_dtype
from flatprop.model.model import Model, checked_model
from flatprop.validation import checks
from flatprop.validation.arrays import Array

ABI_VERSION = 3
"""FLATPROP_ABI_VERSION of the header."""


def get_include() -> str:
    """The folder that holds `flatprop.h`, for the compiler's ``-I``.

    Returns
    -------
    str
        Its path.
    """
    return str(Path(__file__).parent / "include")


class CNetwork(ctypes.Structure):
    """A network as C takes it, a ``flatprop_network_f32`` or ``_f64``: see `c_network`.

    Attributes
    ----------
    network : Model
        The one whose parameters these are.
    records : tuple of structured arrays
        Copies of `Network.layers` and `Network.objectives`, as C reads them.
    address : int
        Of the struct.
    """

    _fields_: ClassVar = [
        ("layers", ctypes.c_void_p),
        ("n_layers", ctypes.c_int64),
        ("objective", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("n_params", ctypes.c_int64),
    ]
    network: Model
    records: tuple[Array, Array]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.network.dtype

    @property
    def address(self) -> int:
        return ctypes.addressof(self)


class COptimizer(ctypes.Structure):
    """An optimizer as C takes it, a ``flatprop_optimizer_f32`` or ``_f64``: see `c_optimizer`.

    Attributes
    ----------
    arrays : OptimizerState
        What it points to: the settings, and the state of every parameter.
    address : int
        Of the struct.
    """

    _fields_: ClassVar = [
        ("code", ctypes.c_int64),
        ("settings", ctypes.c_void_p),
        ("n_settings", ctypes.c_int64),
        ("state", ctypes.c_void_p),
        ("n_slots", ctypes.c_int64),
    ]
    arrays: OptimizerState

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.arrays.state.dtype

    @property
    def address(self) -> int:
        return ctypes.addressof(self)


def c_network(net: Model) -> CNetwork:
    """A network for C, which shares its parameters: what C trains, `net` has learnt.

    Parameters
    ----------
    net
        The network.

    Returns
    -------
    CNetwork
        A `ctypes.Structure`: pass ``ctypes.byref(...)`` or its `address`. It keeps `net`
        alive; C may use the address as long as this object exists.

    Raises
    ------
    TypeError
        If `net` is not a Network.
    """
    checked_model("c_network", net)
    layers, objectives, params = net.layers.copy(), net.objectives.copy(), net.params
    # As the header has it; what Python writes there is of no use to C.
    for codes in (layers["activation"], objectives["loss"]):
        codes[codes < 0] = CUSTOM
    struct = CNetwork(
        layers.ctypes.data, layers.size, objectives.ctypes.data, params.ctypes.data, params.size
    )
    struct.network, struct.records = net, (layers, objectives)
    return struct


def c_optimizer(optimizer: str | Optimizer, net: Model) -> COptimizer:
    """An optimizer for C, before its first update.

    Parameters
    ----------
    optimizer
        A name or an object, as `Network.fit` takes it. Of a schedule, the first learning
        rate; a program changes it in the settings.
    net
        The network whose parameters it will update.

    Returns
    -------
    COptimizer
        A `ctypes.Structure`: pass ``ctypes.byref(...)`` or its `address`. C may use the
        address as long as this object exists.

    Raises
    ------
    TypeError, ValueError
        If there is no such optimizer, or `net` is not a Network.
    """
    checked_model("c_optimizer", net)
    if not isinstance(optimizer, Optimizer):
        name = checks.choice("optimizer", optimizer, OPTIMIZERS)
        optimizer = OPTIMIZERS[name]()  # type: ignore[call-arg]
    code, settings, state = arrays = optimizer.start(net.params)
    struct = COptimizer(code, settings.ctypes.data, settings.size, state.ctypes.data, len(state))
    struct.arrays = arrays
    return struct


class CFunctions:
    """The compiled functions of one dtype: see `c_functions`.

    Attributes
    ----------
    dtype : numpy.dtype
        float32 or float64.
    address : int
        Of the ``flatprop_functions_f32`` or ``_f64`` with all the pointers.
    forward, loss, training_step, ...
        The functions as `ctypes` functions with the arguments of the header. For
        structs they take what `c_network` and `c_optimizer` give, for arrays C-contiguous
        ones of the dtype, or None where the header allows NULL. Sizes are not checked.
        A call releases the global interpreter lock.
    """

    def __init__(self, dtype: np.dtype[Any], names: tuple[str, ...]) -> None:
        self.dtype = dtype
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._names:
            raise AttributeError(f"there is no C function {name!r}; {', '.join(self._names)}")
        return _function(name, self.dtype)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names]

    @property
    def address(self) -> int:
        return ctypes.addressof(_table(self.dtype, self._names))

    def __repr__(self) -> str:
        return f"CFunctions({self.dtype.name}: {', '.join(self._names)})"


def c_functions(dtype: DTypeLike, only: Iterable[str] | None = None) -> CFunctions:
    """The functions of `flatprop.kernels` for C, and for whatever can call C.

    `flatprop.h`, in `get_include()`, says what they do and what they take.

    Parameters
    ----------
    dtype
        "float32" or "float64": that of the networks.
    only
        The names of the functions wanted; the pointers of the others are NULL.

    Returns
    -------
    CFunctions
        Its `address` is what a C library takes; each function is an attribute, too.
        A function is compiled when its attribute is first asked for, all of them with
        `address`: up to half a minute where they are not in the cache yet, for
        which `only` is a remedy, and a tenth of a second otherwise. Addresses hold until
        the process ends.

    Raises
    ------
    TypeError, ValueError
        If there is no such dtype or function.
    """
    if isinstance(only, str):
        raise TypeError(f'only must be a list of names; write only=["{only}"]')
    wanted = None if only is None else {checks.choice("function", n, FUNCTIONS) for n in only}
    names = tuple(name for name in FUNCTIONS if wanted is None or name in wanted)
    return CFunctions(checked_dtype(dtype), names)


_tables: dict[Any, Any] = {}
"""The structs of pointers, kept: C may have their addresses."""


def _table(dtype: np.dtype[Any], names: tuple[str, ...]) -> Any:
    key = dtype, names
    if key not in _tables:
        pointers = [C_FUNCTIONS[n].address(dtype) if n in names else 0 for n in FUNCTIONS]
        numbers = [ABI_VERSION, dtype.itemsize, *pointers]
        # of two threads that come here at once, both take the first one's
        _tables.setdefault(key, (ctypes.c_int64 * len(numbers))(*numbers))
    return _tables[key]


@functools.cache
def _function(name: str, dtype: np.dtype[Any]) -> Any:
    """The `ctypes` function."""
    function = FUNCTIONS[name]
    result, kinds = function.c_signature(dtype)
    plain = {types.int64: ctypes.c_int64, types.float64: ctypes.c_double, types.void: None}
    arguments = [
        plain[kind] if kind in plain else _Argument(argument, function, dtype)
        for argument, kind in zip(function.c_arguments, kinds, strict=True)
    ]
    prototype = ctypes.CFUNCTYPE(plain[result], *arguments)  # type: ignore[arg-type]
    return prototype(C_FUNCTIONS[name].address(dtype))


class _Argument:
    """A struct or an array on its way to C, checked as `ctypes` asks for it."""

    structs: ClassVar = {"network": CNetwork, "optimizer": COptimizer}

    def __init__(self, name: str, function: EmbeddedFunction, dtype: np.dtype[Any]) -> None:
        self.name, self.dtype = name, dtype
        self.struct = self.structs.get(name)
        role = function.arrays.get(name)
        self.optional = role is not None and bool(role.absent)
        self.written = role is not None and role.written
        self.trains = "params" in function.arrays and function.arrays["params"].written

    def from_param(self, value: Any) -> Any:
        if self.struct is not None:
            return self._of_struct(value)
        if value is None and self.optional:
            return None
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{self.name} must be an array of {self.dtype.name}, got {value!r}")
        if value.dtype != self.dtype or not value.flags.c_contiguous:
            raise TypeError(
                f"{self.name} must be a C-contiguous array of {self.dtype.name}, got one of "
                f"{value.dtype} with strides {value.strides}"
            )
        if self.written and not value.flags.writeable:
            raise TypeError(f"{self.name} is overwritten, but the array is read-only")
        return ctypes.c_void_p(value.ctypes.data)

    def _of_struct(self, value: Any) -> Any:
        assert self.struct is not None
        if not isinstance(value, self.struct):
            raise TypeError(
                f"{self.name} must be what flatprop.c_{self.name} gives, got {value!r}"
            )
        if value.dtype != self.dtype:
            raise TypeError(
                f"this function is for {self.dtype.name}, but {self.name} is of {value.dtype}; "
                f'take flatprop.c_functions("{value.dtype}")'
            )
        if self.trains and isinstance(value, CNetwork):
            checks.writable("network.network.params", value.network.params)
        return ctypes.byref(value)
