"""A loss curve that grows while the network trains."""

from flatprop.callbacks import Epoch


class LiveLoss:
    """A callback that draws the loss while the network trains: ``fit(callbacks=LiveLoss())``.

    In Jupyter the picture stands under the cell and is replaced in place; with an interactive
    backend it has a window, which stays; elsewhere a line of text takes its place.

    Parameters
    ----------
    every
        After how many epochs each it may be drawn.
    seconds
        The least time between two drawings. Drawing also takes no more than about a tenth of
        the time of the training, however fast that is.
    log
        As for `history`.
    """

    def __init__(self, every: int = 1, *, seconds: float = 0.25, log: bool | None = None) -> None:
        raise NotImplementedError

    def __call__(self, epoch: Epoch) -> None:
        raise NotImplementedError
