"""Layer normalisation, as a description."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flatprop.kernels.network.records import LAYER_NORM
from flatprop.model.layer import SameWidth
from flatprop.validation.arrays import Array


@dataclass(frozen=True)
class LayerNorm(SameWidth):
    """Layer normalisation: (x - m) / √(s² + 1e-5) · γ + β, along each row (Ba et al. 2016).

    m and s² are the mean and the variance (divided by n) of the row, as in PyTorch. The scale γ
    begins with 1, the shift β with 0. They lie in `Network.params` in the place of the layer, γ
    before β. A network has as many of each as the layer before has units.

    Examples
    --------
    >>> import flatprop as fp
    >>> net = fp.Network(4, [fp.Dense(32, "relu"), fp.LayerNorm(), fp.Dense(1)], rng=0)
    """

    kind, parameter_rows = LAYER_NORM, 2

    @property
    def name(self) -> str:
        return "layer_norm"

    def operations(self) -> Callable[..., None]:
        from flatprop.kernels.network.layer_norm import layer_norm

        function: Callable[..., None] = layer_norm
        return function

    def draw(self, rng: np.random.Generator, params: Array) -> None:
        scale, shift = params.reshape(2, -1)
        scale[:] = 1
        shift[:] = 0
