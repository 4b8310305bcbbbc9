"""`load`: what a file holds decides what it becomes."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from flatprop.export import files
from flatprop.export.tensor_file import TensorFile
from flatprop.many import ensemble_file
from flatprop.many.ensemble import Ensemble
from flatprop.network import Network


def load(
    path: str | PathLike[str], functions: Mapping[str, Any] | None = None
) -> Network | Ensemble:
    """Read what `Network.save`, `fp.Checkpoint` or `Ensemble.save` wrote.

    Parameters
    ----------
    path
        The file. It may come from anywhere: nothing in it is run, and everything that it says is
        checked.
    functions
        Your own activations and loss, by name, for networks that were made with such;
        the file holds their names only.

    Returns
    -------
    Network or Ensemble
        With exactly the parameters and the random states that were saved.

    Raises
    ------
    OSError
        If there is no such file (`FileNotFoundError`), or it cannot be read.
    ValueError
        If it is not a flatprop file, is damaged, contradicts itself, or needs a function
        that was not given.
    """
    with TensorFile(path) as file:
        said = files.read_description(file, path)
        if "members" in said:
            return Ensemble.with_params(*ensemble_file.read(file, said, path, functions))
        return files.read_network(Network, file, said, path, functions)
