"""Networks and checkpoints as files: safetensors, described by JSON in the header.

No pickle: reading a file runs nothing. Parameters come back bit for bit.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from flatprop.description import Dense
from flatprop.formulas.losses import LOSSES, Own
from flatprop.network import Network

FORMAT = "flatprop 1"
PathOrName = str | PathLike[str]


def save(network: Network, path: PathOrName, extra: Mapping[str, Any] | None = None) -> None:
    """Write a network to one file.

    Parameters
    ----------
    network
        What to write: the description, the parameters and the random state.
    path
        Where to; an existing file is replaced in one step.
    extra
        Anything JSON can hold, kept beside the description under "extra".

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    _write(path, {"params": network.params}, _describe(network, extra))


def load(path: PathOrName, functions: Mapping[str, Any] | None = None) -> Network:
    """Read a network that `Network.save` or `fp.Checkpoint` wrote.

    Parameters
    ----------
    path
        The file.
    functions
        Your own activations and loss, by name, for a network that was made with such;
        the file holds their names only.

    Returns
    -------
    Network
        With exactly the parameters and the random state that were saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a flatprop file, is damaged, contradicts itself, or needs a function
        that was not given.
    """
    tensors, description = _read(path)
    return _network(path, tensors, description, functions or {})


def load_extra(path: PathOrName) -> Any:
    """What was saved beside the network under `extra`; None if nothing was."""
    return _read(path)[1].get("extra")


# ---- checkpoints


@dataclass
class TrainingState:
    """What a training needs, beside its arguments, to go on as if never stopped."""

    settings: dict[str, Any]
    epochs: int
    seed: int
    cursor: NDArray[np.int64]
    losses: NDArray[np.float64]
    val_losses: NDArray[np.float64]
    rates: NDArray[np.float64]
    optimizer_state: NDArray[Any]
    best_epoch: int | None = None
    best_params: NDArray[Any] | None = None
    params: NDArray[Any] | None = None
    rng: np.random.Generator | None = None

    def check(self, settings: dict[str, Any], epochs: int) -> None:
        """Raise unless the training that goes on is the one that was interrupted."""
        done = len(self.losses)
        if done > epochs:
            raise ValueError(
                f"the checkpoint has {done} epochs behind it, more than epochs={epochs}"
            )
        for name, before in self.settings.items():
            if settings.get(name) != before:
                raise ValueError(
                    f"the checkpoint was written with {name} = {before}, but fit was called "
                    f"with {settings.get(name)}; call it as the interrupted training was"
                )


_ARRAYS = ("cursor", "losses", "val_losses", "rates", "optimizer_state")


def save_checkpoint(network: Network, state: TrainingState, path: PathOrName) -> None:
    """Write a network and the state of its training to one file."""
    tensors = {name: np.ascontiguousarray(getattr(state, name)) for name in _ARRAYS}
    tensors["params"] = network.params
    if state.best_params is not None:
        tensors["best_params"] = state.best_params
    description = _describe(network, None)
    description["training"] = {
        "settings": state.settings,
        "epochs": state.epochs,
        "seed": state.seed,
        "best_epoch": state.best_epoch,
    }
    _write(path, tensors, description)


def load_checkpoint(network: Network, path: PathOrName) -> TrainingState:
    """Read the state of a training; `network` must have the checkpoint's description."""
    tensors, description = _read(path)
    training = description.get("training")
    if training is None:
        raise ValueError(
            f"{path} holds a network but no training to resume; files that do are written by "
            "fit(callbacks=fp.Checkpoint(path))"
        )
    saved = _network(path, tensors, description, _own_functions(network))
    for name, ours, theirs in (
        ("layers", network.dense, saved.dense),
        ("inputs", network.inputs, saved.inputs),
        ("loss", network.loss_function, saved.loss_function),
        ("dtype", network.dtype, saved.dtype),
    ):
        if ours != theirs:
            raise ValueError(
                f"{path} was written by a network with other {name}: {theirs}, not {ours}; "
                "read it with fp.load and call fit of that network"
            )
    missing = [name for name in _ARRAYS if name not in tensors]
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(missing)}")
    return TrainingState(
        settings=training["settings"],
        epochs=training["epochs"],
        seed=training["seed"],
        cursor=tensors["cursor"],
        losses=tensors["losses"],
        val_losses=tensors["val_losses"],
        rates=tensors["rates"],
        optimizer_state=tensors["optimizer_state"],
        best_epoch=training["best_epoch"],
        best_params=tensors.get("best_params"),
        params=tensors["params"],
        rng=saved.rng,
    )


# ---- the description


def _describe(network: Network, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    loss = network.loss_function
    _own_functions(network)  # which must have names of their own
    return {
        "format": FORMAT,
        "inputs": network.inputs,
        "layers": [
            [layer.units, {"own": layer.name} if callable(layer.activation) else layer.name]
            for layer in network.dense
        ],
        "loss": {"own": loss.name, "reduction": loss.reduction}
        if isinstance(loss, Own)
        else {"name": loss.name, **asdict(loss)},
        "dtype": network.dtype.name,
        "rng": _plain(network.rng.bit_generator.state),
        "extra": extra,
    }


def _own_functions(network: Network) -> dict[str, Any]:
    """The user's own functions in a network, by name."""
    given: list[Any] = [layer.activation for layer in network.dense]
    if isinstance(network.loss_function, Own):
        given.append(network.loss_function.function)
    functions: dict[str, Any] = {}
    for function in filter(callable, given):
        if functions.setdefault(function.__name__, function) is not function:
            raise ValueError(
                f"two of the network's own functions are called {function.__name__!r}, and a file "
                "holds nothing but their names; give one of them another"
            )
    return functions


def _network(
    path: PathOrName,
    tensors: Mapping[str, NDArray[Any]],
    description: dict[str, Any],
    functions: Mapping[str, Any],
) -> Network:
    def function(name: str) -> Any:
        if name not in functions:
            raise ValueError(
                f"it was made with your own function {name!r}, of which it holds the name only; "
                f'read it with fp.load(path, functions={{"{name}": {name}}})'
            )
        return functions[name]

    def activation(entry: Any) -> Any:
        return function(entry["own"]) if isinstance(entry, dict) else entry

    try:
        loss = dict(description["loss"])
        network = Network(
            description["inputs"],
            [Dense(units, activation(entry)) for units, entry in description["layers"]],
            Own(function(loss.pop("own")), **loss)
            if "own" in loss
            else LOSSES[loss.pop("name")](**loss),
            description["dtype"],
            _generator(description.get("rng")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} does not describe a network that can be built: {error}"
        ) from None
    params = tensors.get("params")
    if params is None:
        raise ValueError(f"{path} is damaged: it holds no parameters")
    if params.shape != network.params.shape or params.dtype != network.dtype:
        raise ValueError(
            f"{path} contradicts itself: {network!r} needs {network.params.size} parameters of "
            f"{network.dtype}, but the file holds {params.shape} of {params.dtype}"
        )
    network.params[:] = params  # not through the setter: a saved NaN stays a NaN
    network.rng = _generator(description.get("rng"))
    return network


def _plain(state: Any) -> Any:
    """The state of a bit generator in what JSON can hold."""
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return state.tolist()
    return state.item() if isinstance(state, np.generic) else state


def _generator(state: Any) -> np.random.Generator:
    """A generator in the given state; with fresh entropy if it is of an unknown kind."""
    kind = getattr(np.random, str(state.get("bit_generator")), None) if state else None
    if not (isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)):
        return np.random.default_rng()
    bits = kind()
    bits.state = state
    return np.random.Generator(bits)


# ---- the file


def _write(path: PathOrName, tensors: Mapping[str, NDArray[Any]], description: Any) -> None:
    from safetensors.numpy import save as serialise

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_in_one_step(path, serialise(arrays, metadata={"flatprop": json.dumps(description)}))


def write_in_one_step(path: PathOrName, content: bytes) -> None:
    """Write a file beside its place and rename it: a reader never sees half of one."""
    target = Path(path).resolve()  # of a link, the file behind it
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}")
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:12]}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: PathOrName) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        kind = "a folder" if Path(path).is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {kind}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}") from None
    if "flatprop" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but flatprop did not write it")
    try:
        description = json.loads(metadata["flatprop"])
    except json.JSONDecodeError as error:
        raise ValueError(f"the description in {path} is damaged: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else description
        raise ValueError(
            f"{path} has the format {found!r}; this version of flatprop reads {FORMAT!r}"
        )
    return tensors, description
