"""The progress bar, by tqdm."""

import warnings
from collections.abc import Mapping
from typing import Any


def progress_bar(total: int, unit: str, done: int = 0) -> Any:
    """A bar that has come as far as `done`: a widget where a notebook shows one, else text."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # In a notebook without ipywidgets tqdm warns of that, and then shows the bar as text.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    return tqdm(total=total, initial=done, unit=unit, leave=True)


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
