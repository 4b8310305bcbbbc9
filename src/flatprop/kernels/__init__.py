"""Compiled functions over flat arrays; nothing here knows the floors above.

`forward` and `loss_and_gradient` are made to be called from your own `@njit`
code: they take a network as data (`net.layers`, `net.objectives[0]`, `net.params`),
write into arrays that you own, allocate nothing and hold no lock. Nothing is
checked; sizes are in their docstrings, those of their workspaces are given by
`workspace_size` and `gradient_workspace_size`.
"""

from flatprop.kernels.backprop import (
    forward,
    gradient_workspace_size,
    loss_and_gradient,
    workspace_size,
)

__all__ = ["forward", "gradient_workspace_size", "loss_and_gradient", "workspace_size"]
