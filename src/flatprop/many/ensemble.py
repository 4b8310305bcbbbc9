"""The face of an ensemble: everything that can be done with it, as its methods."""

from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np
from numpy.typing import DTypeLike

from flatprop.formulas.loss import Loss
from flatprop.many import ensemble_file, ensemble_fit, ensemble_values
from flatprop.many.members import Members
from flatprop.model.layer import Layer
from flatprop.training.optimizer_words import optimizer_words
from flatprop.validation import other_names


class Ensemble(Members, metaclass=other_names.Answering, answers=other_names.ATTRIBUTES):
    """Networks of one architecture, each with parameters of its own, trained side by side.

    Parameters
    ----------
    inputs, layers, loss, dtype
        As for `fp.Network`.
    rng
        A seed or a `numpy.random.Generator`. Each member gets a generator of its own from
        ``numpy.random.default_rng(rng).spawn(members)``, so that ``ens[i]`` starts like
        ``fp.Network(inputs, layers, loss, dtype, rng=generators[i])``.
    members
        How many networks there are.

    Attributes
    ----------
    params : ndarray
        (members, parameters), C-contiguous: row i is ``ens[i].params``.
    inputs, outputs, targets, dtype, layers, objectives, dense, loss_function
        What all members have in common, as for `fp.Network`.

    Notes
    -----
    ``ens[i]`` is a `fp.Network` that shares its parameters with the ensemble: what one writes the
    other reads. ``len(ens)`` is the number of members, and iteration goes through them.

    Examples
    --------
    >>> import flatprop as fp
    >>> ens = fp.Ensemble(2, [fp.Dense(8, "tanh"), fp.Dense(1)], members=500, rng=0)
    >>> ens
    Ensemble(500 x 2 -> 8 tanh -> 1 identity; mse, float32, 33 parameters each)
    >>> ens[3]
    Network(2 -> 8 tanh -> 1 identity; mse, float32, 33 parameters)
    """

    @other_names.suggests(other_names.NETWORK, optimizer_words)
    def __init__(
        self,
        inputs: int,
        layers: Sequence[Layer],
        loss: "str | Loss | Callable[[float, float], tuple[float, float]]" = "mse",
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
        *,
        members: int,
    ) -> None:
        super().__init__(inputs, layers, loss, dtype, rng, members)

    fit = ensemble_fit.fit
    predict = ensemble_values.predict
    loss = ensemble_values.loss
    loss_and_gradient = ensemble_values.loss_and_gradient

    def save(self, path: str | PathLike[str]) -> None:
        """Write the ensemble to one file, exactly; `fp.load` reads it."""
        ensemble_file.save(self[0], self._params, self.generators, path)
