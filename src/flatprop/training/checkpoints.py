"""Checkpoints: a network and the state of its training in one file.

A file may come from anywhere. Every number in it is checked against the training that is to be
resumed, before anything of that training is changed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.export import files
from flatprop.export.files import PathOrName, required
from flatprop.export.random_states import checked_generator
from flatprop.export.tensor_file import TensorFile, shown, size
from flatprop.kernels.network import training_loop as loop
from flatprop.model.model import Model
from flatprop.validation.checks import is_finite

_ARRAYS = "cursor", "losses", "val_losses", "rates", "optimizer_state"
_ENTRIES = "settings", "epochs", "seed", "best_epoch", "stopped_by"
"""What a file has of every `TrainingState`: tensors, and entries of the header."""


@dataclass
class TrainingState:
    """What a training needs, besides its arguments, to go on as if it had never stopped."""

    settings: dict[str, Any]
    epochs: int
    seed: int
    cursor: NDArray[np.int64]
    losses: NDArray[np.float64]
    val_losses: NDArray[np.float64]
    rates: NDArray[np.float64]
    optimizer_state: NDArray[Any]
    metrics: NDArray[np.float64]
    """(metrics, epochs)"""
    best_epoch: int | None = None
    best_params: NDArray[Any] | None = None
    stopped_by: list[str] = field(default_factory=list)
    """The names of the callbacks that ended the training. Whether another rule ended it follows
    from the losses."""
    raw_params: NDArray[Any] | None = None
    """With `ema`: the parameters themselves, of which those of the network are the average."""
    params: NDArray[Any] | None = None
    rng: np.random.Generator | None = None


def save_checkpoint(network: Model, state: TrainingState, path: PathOrName) -> None:
    """Write a network and the state of its training to one file."""
    tensors = {"params": network.params} | {name: getattr(state, name) for name in _ARRAYS}
    if state.metrics.size:
        tensors["metrics"] = state.metrics
    if state.best_params is not None:
        tensors["best_params"] = state.best_params
    if state.raw_params is not None:
        tensors["raw_params"] = state.raw_params
    training = {name: getattr(state, name) for name in _ENTRIES}
    files.write(path, tensors, files.described(network) | {"training": training})


def load_checkpoint(
    network: Model, path: PathOrName, settings: dict[str, Any], epochs: int, slots: int
) -> TrainingState:
    """Read the state of a training.

    Parameters
    ----------
    network
        The network that is to be trained; the file must describe such a network.
    path
        The file.
    settings, epochs
        Of the training that is to be resumed; the settings must be the ones in the file.
    slots
        How many numbers the optimizer keeps for each parameter.

    Returns
    -------
    TrainingState
        Its parts agree with each other and with the network.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged, or belongs to another training.
    """
    with TensorFile(path) as file:
        said = files.read_description(file, path)
        training = _training_in(said, path)
        _check_network(network, path, said)
        try:
            # Some bit generators cannot be written. The network then keeps its own generator.
            rng = checked_generator(said["rng"]) if said.get("rng") is not None else None
            shape = file.shape("losses")
            done = size("the number of losses", shape[0] if len(shape) == 1 else -1)
        except ValueError as error:
            raise ValueError(f"the training in {path} is damaged: {error}") from None
        _check_settings(training["settings"], settings, done, epochs)
        dtype, count = network.dtype, network.params.size
        best = training["best_epoch"] is not None
        state = TrainingState(
            settings=settings,
            epochs=training["epochs"],
            seed=training["seed"],
            cursor=file.tensor("cursor", np.int64, (3,)),
            losses=file.tensor("losses", np.float64, (done,)),
            val_losses=file.tensor(
                "val_losses", np.float64, (done if settings["validation"] else 0,)
            ),
            rates=file.tensor("rates", np.float64, (done + 1,)),
            optimizer_state=file.tensor("optimizer_state", dtype, (slots, count)),
            metrics=_metrics_in(file, len(settings["metrics"] or ()), done),
            best_epoch=training["best_epoch"],
            best_params=file.tensor("best_params", dtype, (count,)) if best else None,
            stopped_by=training.get("stopped_by") or [],
            raw_params=file.tensor("raw_params", dtype, (count,)) if settings["ema"] else None,
            params=file.tensor("params", dtype, (count,)),
            rng=rng,
        )
    try:
        _check_state(state)
    except ValueError as error:
        raise ValueError(f"{path} contradicts itself: {error}") from None
    return state


def seed_in(path: PathOrName) -> int:
    """The seed of the training in a file; the rest of the file is not looked at."""
    with TensorFile(path) as file:
        training = _training_in(files.read_description(file, path), path)
    seed: int = training["seed"]
    return seed


def _metrics_in(file: TensorFile, metrics: int, epochs: int) -> NDArray[np.float64]:
    """Their values, (metrics, epochs); without metrics the file has no such tensor."""
    shape = metrics, epochs
    return file.tensor("metrics", np.float64, shape) if metrics else np.empty(shape)


def _training_in(said: dict[str, Any], path: PathOrName) -> dict[str, Any]:
    """The entry of the header that `save_checkpoint` writes, checked."""
    training: Any = said.get("training")
    if training is None:
        raise ValueError(
            f"{path} holds a network but no training to resume; files that do are written by "
            "fit(callbacks=fp.Checkpoint(path))"
        )
    try:
        _check_training(training)
    except ValueError as error:
        raise ValueError(f"the training in {path} is damaged: {error}") from None
    return dict(training)


def _check_network(network: Model, path: PathOrName, said: dict[str, Any]) -> None:
    """Raise unless the file describes this network."""
    ours = files.described(network)
    for name in ("layers", "inputs", "loss", "dtype"):
        if said.get(name) != ours[name]:
            raise ValueError(
                f"{path} was written by a network with other {name}: {shown(said.get(name))}, not "
                f"{shown(ours[name])}; read it with fp.load and call fit of that network"
            )


def _check_training(training: Any) -> None:
    """Raise unless the header has the entries that `save_checkpoint` writes."""
    if not isinstance(required(training, "settings"), dict):
        raise ValueError("its settings are no table")
    size("epochs", required(training, "epochs"))
    seed, best = required(training, "seed"), required(training, "best_epoch")
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise ValueError(f"seed must be a whole number of 64 bits, got {shown(seed)}")
    if best is not None:
        size("best_epoch", best, least=0)
    stoppers = training.get("stopped_by") or []  # version 0.1 did not write it
    if not isinstance(stoppers, list) or not all(isinstance(name, str) for name in stoppers):
        raise ValueError(f"it cannot have been stopped by {shown(stoppers)}")


def _check_settings(
    before: dict[str, Any], settings: dict[str, Any], done: int, epochs: int
) -> None:
    """Raise unless the training has the settings of the one that was interrupted."""
    if done > epochs:
        raise ValueError(f"the checkpoint has {done} epochs behind it, more than epochs={epochs}")
    for name in {**settings, **before}:
        if before.get(name) != settings.get(name):
            raise ValueError(
                f"the checkpoint was written with {_plainly(name)} = "
                f"{_plainly(before.get(name))}, but fit was called with {settings.get(name)}; "
                "call it as the interrupted training was"
            )


def _plainly(value: Any) -> str:
    """A value of the header as text, without the quotes of a string."""
    text = shown(value, 300)
    return text[1:-1] if isinstance(value, str) else text


def _check_state(state: TrainingState) -> None:
    """Raise unless the numbers are possible and agree with each other."""
    done, updates = len(state.losses), int(state.cursor[loop.UPDATES])
    if state.cursor[loop.EPOCH] != done or state.cursor[loop.ROW] != 0:
        raise ValueError(
            f"its cursor is {state.cursor.tolist()}, but it has the losses of {done} whole epochs"
        )
    if done > state.epochs:
        raise ValueError(f"it has the losses of {done} epochs out of {state.epochs}")
    rows, batch_size = state.settings.get("rows"), state.settings.get("batch_size")
    most = 2**53 if rows is None else done * -(-rows // (batch_size or rows))
    if not done <= updates <= most:
        raise ValueError(f"{done} epochs cannot have taken {updates} updates")
    for name in ("losses", "val_losses", "rates", "params", "best_params", "raw_params"):
        array = getattr(state, name)
        if array is not None and not is_finite(array):
            raise ValueError(f"its {name} are not finite")
    if np.isnan(state.optimizer_state).any():
        raise ValueError("its optimizer_state holds NaN")
    if (state.rates < 0).any():
        raise ValueError("its rates are negative")
    if state.best_epoch is not None and state.best_epoch >= done:
        raise ValueError(f"its best epoch is {state.best_epoch}, but only {done} are done")
