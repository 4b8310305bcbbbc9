"""The exponential moving average of the parameters, in the place of the parameters.

An optimizer changes the parameters themselves. Whoever looks at the network after an epoch sees
their average: validation, metrics, callbacks, checkpoints, and the user at the end.
"""

import numpy as np

from flatprop.validation.arrays import Array


class Average:
    """A network's parameters and their average, one of which the network holds.

    Attributes
    ----------
    shown : bool
        Whether `params` holds the average.
    """

    def __init__(self, params: Array, average: Array) -> None:
        self._params, self._average = params, average
        self._hidden = params.copy()
        self.shown = False

    def show(self) -> None:
        """Put the average where the parameters are."""
        if not self.shown:
            self._hidden[:] = self._params
            self.shown = True  # from here on an interruption finds the parameters in `_hidden`
            self._params[:] = self._average

    def hide(self) -> None:
        """Put the parameters back where they were.

        If somebody has changed the average meanwhile, training goes on from what they wrote.
        """
        if self._changed:
            self._average[:] = self._params
        else:
            self._params[:] = self._hidden
        self.shown = False

    @property
    def raw(self) -> Array:
        """The parameters from which the training goes on."""
        return self._params if not self.shown or self._changed else self._hidden

    def resume(self, raw: Array) -> None:
        """Go on from a network that holds the average, and these parameters."""
        self._average[:] = self._params
        self._params[:] = raw

    @property
    def _changed(self) -> bool:
        """Whether somebody wrote into `params` while it held the average."""
        return not np.array_equal(self._params, self._average)
