"""The progress bar of a training."""

from collections.abc import Mapping
from typing import Any


def opened(epochs: int, done: int) -> Any:
    """A bar of so many epochs, of which some are done."""
    from tqdm.auto import tqdm

    return tqdm(total=epochs, initial=done, unit="epoch", leave=True)


def show(
    bar: Any,
    done: int,
    loss: float,
    val_loss: float | None,
    rate: float | None,
    metrics: Mapping[str, float],
) -> None:
    """Show that so many epochs are done, and what was measured after the last one."""
    figures = {name: f"{value:.4g}" for name, value in metrics.items()}
    figures |= {"loss": f"{loss:.4g}"}
    if val_loss is not None:
        figures["val_loss"] = f"{val_loss:.4g}"
    if rate is not None:
        figures["lr"] = f"{rate:.3g}"
    bar.set_postfix(figures, refresh=False)
    bar.update(done - bar.n)
