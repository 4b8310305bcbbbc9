"""Networks as files: safetensors, described by JSON in the header.

No pickle: reading a file runs nothing. Parameters come back bit for bit. A file may come from
anywhere, so whatever it says is checked before parameters are read.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from os import PathLike
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from flatprop.export.random_states import checked_generator, plain_state
from flatprop.export.tensor_file import MOST_HEADER_BYTES, TensorFile, parsed, shown, size
from flatprop.export.writing import write_in_one_step
from flatprop.formulas.loss import REDUCTIONS, Loss, OwnFunction
from flatprop.formulas.losses import LOSSES_BY_NAME, CrossEntropy, Own, Quantiles, Row
from flatprop.model.layer import Layer
from flatprop.model.layers import checked_layers, starts_in_params
from flatprop.model.model import Model
from flatprop.validation import checks

FORMAT = "flatprop 1"
M = TypeVar("M", bound=Model)
PathOrName: TypeAlias = str | PathLike[str]
Json: TypeAlias = dict[str, Any]


def save(network: Model, path: PathOrName, extra: Mapping[str, Any] | None = None) -> None:
    """Write a network to one file.

    Parameters
    ----------
    network
        What to write: the description, the parameters and the random state. The state of a bit
        generator that is not one of NumPy's is left out.
    path
        Where to write; an existing file is replaced in one step.
    extra
        Anything JSON can hold, kept beside the description under "extra".

    Raises
    ------
    TypeError, ValueError
        If `extra` is no JSON, or too much of it for a header.
    OSError
        If the file cannot be written.
    """
    write(path, {"params": network.params}, described(network) | {"extra": extra})


def load(
    kind: type[M], path: PathOrName, functions: Mapping[str, Any] | None = None
) -> tuple[M, Any]:
    """A network of this class out of a file, and what was saved beside it under `extra`.

    See `flatprop.load`. Where nothing was saved beside it, that is None.
    """
    with TensorFile(path) as file:
        said = read_description(file, path)
        if "members" in said:
            raise ValueError(f"{path} holds an ensemble of networks; fp.load reads it")
        return read_network(kind, file, said, path, functions), said.get("extra")


def read_network(
    kind: type[M],
    file: TensorFile,
    said: Json,
    path: PathOrName,
    functions: Mapping[str, Any] | None,
) -> M:
    """The network in an open file whose description is `said`."""
    description = described_in(said, path, functions)
    inputs, layers, _, dtype, _ = description
    if "params" not in file:
        raise ValueError(f"{path} is damaged: it holds no parameters")
    params = file.tensor("params", dtype, (starts_in_params(inputs, layers)[-1],))
    return built(kind, description, params, path)


Description: TypeAlias = tuple[int, Any, Loss, Any, Any]
"""Inputs, layers, loss, dtype and generator."""


def described_in(said: Json, path: PathOrName, functions: Mapping[str, Any] | None) -> Description:
    """What the JSON of `described` says, out of a file."""
    if functions is not None and not isinstance(functions, Mapping):
        raise TypeError(f"functions must be a table of functions by name, got {functions!r}")
    try:
        return _made(said, functions or {})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not describe a network that can be built: {error}"
        ) from None


def built(kind: type[M], description: Description, params: Any, path: PathOrName) -> M:
    """The network of a description and of parameters that fit it."""
    try:
        return kind.with_params(*description, params)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} contradicts itself: {error}") from None


# ---- the description


def described(network: Model) -> Json:
    """What the header says of a network."""
    from flatprop.export.layer_formats import entry  # import flatprop stays light

    loss = network.loss_function
    own_functions(network)  # raises where two of them have the same name
    return {
        "format": FORMAT,
        "inputs": network.inputs,
        "layers": [entry(layer) for layer in network.dense],
        "loss": _described_loss(loss),
        "dtype": network.dtype.name,
        "rng": plain_state(network.rng),
        "extra": None,
    }


def _described_loss(loss: Loss) -> Json:
    if isinstance(loss, Own):
        return {"own": loss.name, "reduction": loss.reduction}
    if isinstance(loss, Row):
        return {"row": loss.name, "reduction": loss.reduction, "targets": loss.targets}
    return {"name": loss.name, **loss.described()}


def _made(said: Json, functions: Mapping[str, Any]) -> Description:
    """Inputs, layers, loss, dtype and generator of the JSON that `described` gave.

    Raises TypeError or ValueError if it is something else.
    """
    inputs, dtype = size("inputs", required(said, "inputs")), required(said, "dtype")
    if dtype not in ("float32", "float64"):
        raise ValueError(f'dtype must be "float32" or "float64", got {shown(dtype)}')
    layers = checked_layers(_layers(required(said, "layers"), functions), inputs)
    loss = _loss(required(said, "loss"), functions)
    return inputs, layers, loss, np.dtype(dtype), checked_generator(said.get("rng"))


def required(said: Any, name: str) -> Any:
    """A field that has to be there."""
    if not isinstance(said, dict) or name not in said:
        raise ValueError(f"{name!r} is missing")
    return said[name]


def _layers(entries: Any, functions: Mapping[str, Any]) -> list[Layer]:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"layers must be a list of layers, got {shown(entries)}")
    from flatprop.export.layer_formats import of_entry

    made: dict[str, Layer] = {}  # of a thousand layers most are the same, and checks take time
    for l, entry in enumerate(entries):
        if str(entry) not in made:
            made[str(entry)] = of_entry(l, entry, partial(_function, functions))
    return [made[str(entry)] for entry in entries]


def _loss(loss: Any, functions: Mapping[str, Any]) -> Loss:
    if isinstance(loss, dict) and ("own" in loss or "row" in loss):
        own, *more = ("own",) if "own" in loss else ("row", "targets")
        named = loss.keys() == {own, *more, "reduction"} and isinstance(loss[own], str)
        if not named or loss["reduction"] not in REDUCTIONS:
            raise ValueError(f"the loss is no own function: {shown(loss)}")
        function, reduction = _function(functions, loss[own]), loss["reduction"]
        if own == "own":
            return Own(function, reduction=reduction)
        return Row(function, size("targets", loss["targets"]), reduction=reduction)
    name = loss.get("name") if isinstance(loss, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"the loss must have a name, got {shown(loss)}")
    kinds = LOSSES_BY_NAME | {Quantiles.name: Quantiles}
    kind: Any = kinds[checks.choice("loss", name, kinds)]
    expected = {f.name for f in fields(kind)}
    plain = kind is CrossEntropy and loss.keys() == {"name"}
    if not plain and loss.keys() != {"name", *expected}:
        raise ValueError(f"the loss {name!r} does not have the fields {shown(sorted(loss))}")
    given = {key: value for key, value in loss.items() if key != "name"}
    for key, value in given.items():
        several = key in ("quantiles", "class_weight")
        if not (_are_numbers(value) if several else _is_number(value)):
            wanted = "a list of numbers" if several else "a number"
            raise ValueError(f"{key} of the loss {name!r} must be {wanted}, got {shown(value)}")
    made: Loss = kind(**given)
    return made


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e300


def _are_numbers(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_number, value)))


def _function(functions: Mapping[str, Any], name: str) -> Any:
    if name not in functions:
        yours = name if name.isidentifier() and len(name) < 60 else "..."
        raise ValueError(
            f"it was made with your own function {shown(name)} and holds only its name; "
            f'read it with fp.load(path, functions={{"{yours}": {yours}}})'
        )
    return functions[name]


def own_functions(network: Model) -> dict[str, Callable[..., Any]]:
    """The user's own functions in a network, by name."""
    given: list[Any] = [layer.activation for layer in network.dense]
    if isinstance(network.loss_function, OwnFunction):
        given.append(network.loss_function.function)
    functions: dict[str, Any] = {}
    for function in filter(callable, given):
        if functions.setdefault(function.__name__, function) is not function:
            raise ValueError(
                f"two of the network's own functions are called {function.__name__!r}, and a file "
                "holds nothing but their names; give one of them another"
            )
    return functions


# ---- the file


def write(path: PathOrName, tensors: Mapping[str, NDArray[Any]], description: Json) -> None:
    """Write tensors and a description in one step."""
    from safetensors.numpy import save as serialise

    try:
        text = json.dumps(description)
        parsed(text)
        if len(json.dumps(text)) > MOST_HEADER_BYTES - 2**16:  # which the tensors may take
            raise ValueError(f"it takes {len(text):,} characters")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"what is saved beside the parameters is too much for a header: {error}"
        ) from None
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_in_one_step(path, serialise(arrays, metadata={"flatprop": text}))


def read_description(file: TensorFile, path: PathOrName) -> Json:
    """What flatprop wrote into the header: a table of the known format, not checked further."""
    if "flatprop" not in file.metadata:
        raise ValueError(f"{path} is a safetensors file, but flatprop did not write it")
    try:
        description = parsed(file.metadata["flatprop"])
    except ValueError as error:
        raise ValueError(f"the description in {path} is damaged: {error}") from None
    found = description.get("format") if isinstance(description, dict) else description
    if not isinstance(description, dict) or found != FORMAT:
        raise ValueError(
            f"{path} has the format {shown(found)}; this version of flatprop reads {FORMAT!r}"
        )
    return description
