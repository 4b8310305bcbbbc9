"""Compiled functions over flat arrays; nothing here knows the floors above.

`forward` and `loss_and_gradient` are made to be called from your own `@njit`
code: they take a network as data (`net.layers`, `net.objectives[0]`, `net.params`),
write into arrays that you own, allocate nothing and hold no lock. Nothing is
checked; sizes are in their docstrings.
"""

from flatprop.kernels.backprop import forward, loss_and_gradient

__all__ = ["forward", "loss_and_gradient"]
