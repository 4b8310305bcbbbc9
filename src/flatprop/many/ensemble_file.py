"""Ensembles as files: the description of one network, parameters and random states of all."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from flatprop.export import files
from flatprop.export.random_states import checked_generator, plain_state
from flatprop.export.tensor_file import TensorFile, size
from flatprop.model.layers import starts_in_params
from flatprop.network import Network
from flatprop.validation.arrays import Array

WORDS = 6
"""A generator's state: two numbers of 128 bits, and two small ones for half of a draw."""
BITS = 64


def save(
    network: Network,
    params: Array,
    generators: Sequence[np.random.Generator],
    path: str | PathLike[str],
) -> None:
    """Write an ensemble; `network` is one of its members.

    Random states are written if all generators are of the kind that `numpy.random.default_rng`
    gives. Otherwise the members have new ones when they are read.
    """
    described = files.described(network) | {"members": len(params), "rng": None}
    tensors = {"params": params}
    states = [_words(generator) for generator in generators]
    if None not in states:
        tensors["generators"] = np.array(states, np.uint64).view(np.int64)
    files.write(path, tensors, described)


def read(
    file: TensorFile, said: files.Json, path: str | PathLike[str], functions: Any
) -> tuple[Network, Array, list[np.random.Generator]]:
    """One member, the parameters and the generators of all, out of an open file."""
    description = files.described_in(said, path, functions)
    inputs, layers, _, dtype, _ = description
    try:
        members = size("members", files.required(said, "members"))
    except ValueError as error:
        raise ValueError(f"{path} does not describe an ensemble: {error}") from None
    params = file.tensor("params", dtype, (members, starts_in_params(inputs, layers)[-1]))
    generators = np.random.default_rng().spawn(members)
    if "generators" in file:
        words = file.tensor("generators", np.int64, (members, WORDS)).view(np.uint64)
        try:
            generators = [_generator(row.tolist()) for row in words]
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from None
    return files.built(Network, description, params[0], path), params, generators


def _words(generator: np.random.Generator) -> list[int] | None:
    """The state of a PCG64 as 64-bit numbers; None for another bit generator."""
    state = plain_state(generator)
    if state is None or state["bit_generator"] != "PCG64":
        return None
    numbers = state["state"]["state"], state["state"]["inc"]
    halves = [half for number in numbers for half in divmod(number, 2**BITS)]
    return [*halves, state["has_uint32"], state["uinteger"]]


def _generator(words: list[int]) -> np.random.Generator:
    state, inc = (words[i] * 2**BITS + words[i + 1] for i in (0, 2))
    rest = {"has_uint32": words[4], "uinteger": words[5]}
    return checked_generator(
        {"bit_generator": "PCG64", "state": {"state": state, "inc": inc}, **rest}
    )
