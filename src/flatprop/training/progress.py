"""The progress bar, by tqdm."""

import warnings
from typing import Any


def progress_bar(total: int, unit: str, done: int = 0) -> Any:
    """A bar that has come as far as `done`: a widget where a notebook shows one, else text."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # In a notebook without ipywidgets tqdm warns of that, and then shows the bar as text.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    return tqdm(total=total, initial=done, unit=unit, leave=True)
