"""Which function the kernels call for a loss that is none of their formulas."""

from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from flatprop.formulas.loss import Loss
from flatprop.formulas.losses import CrossEntropy, Own, Row
from flatprop.formulas.row_losses import RowLoss
from flatprop.kernels.loops.custom import loss_address
from flatprop.kernels.loops.own_rows import own_row_address
from flatprop.kernels.loops.row_loops import compiled_row_loss
from flatprop.kernels.loops.weighted_classes import compiled_cross_entropy


@global_compiler_lock
def function_of(loss: Loss, outputs: int, dtype: np.dtype[Any]) -> int:
    """The address of the function of a loss for so many outputs; each is made once."""
    if isinstance(loss, Own):
        return loss_address(loss.function, dtype)
    if isinstance(loss, Row):
        return own_row_address(loss, outputs, dtype)
    key = loss, outputs, dtype
    if key not in _addresses:
        if isinstance(loss, CrossEntropy):
            _addresses[key] = compiled_cross_entropy(loss, outputs, dtype)
        else:
            assert isinstance(loss, RowLoss)
            _addresses[key] = compiled_row_loss(loss, outputs, dtype)
    return _addresses[key]


_addresses: dict[Any, int] = {}
