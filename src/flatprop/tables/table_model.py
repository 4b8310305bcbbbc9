"""The pipeline of a table: made, told of, saved without pickle, and loaded."""

import re
import warnings
import zipfile
from collections.abc import Callable, Collection
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from skrub import TableVectorizer

from flatprop.export.writing import write_in_one_step
from flatprop.sklearn.outcome import NON_FINITE
from flatprop.tables.numbers_in_text import NumbersInText
from flatprop.tables.recipe import recipe
from flatprop.tables.splits import BLOCK
from flatprop.tables.table_columns import listed
from flatprop.tables.targets import Task
from flatprop.tables.useful_columns import UsefulColumns

KINDS = {
    "numeric": "numbers",
    "datetime": "dates",
    "low_cardinality": "categories",
    "high_cardinality": "texts",
}
"""What skrub's vectorizer calls its kinds of columns, and how they are called here."""
ENOUGH = 50_000
"""Rows that say how columns are distributed and which categories there are."""
_PLAIN = re.compile(
    r"flatprop\.(formulas|model|network|sklearn|tables)\.([a-z_]+\.)*[A-Z][A-Za-z]+"
    r"|numpy\.dtype|polars\.datatypes\.classes\.[A-Z][A-Za-z0-9]+"
)
"""Classes of this package that an estimator, or a network, is made of, and types of columns."""


def make(task: Task, rows: int, *, keep: Collection[str] = (), **overrides: Any) -> Pipeline:
    """A pipeline from a data frame to predictions, which is not fitted.

    Parameters
    ----------
    task
        Classification or regression.
    rows
        How many rows it is to learn from.
    keep
        Columns that are used even if they seem to say nothing.
    **overrides
        As for `recipe`.
    """
    vectorizer, estimator = recipe(task, rows, **overrides)
    return Pipeline(
        [
            ("numbers", NumbersInText()),
            ("columns", UsefulColumns(keep)),
            ("inputs", vectorizer),
            ("networks", estimator),
        ]
    )


def describe(model: Pipeline) -> list[str]:
    """What has become of the columns."""
    vectorizer = next(
        step for _, step in model["inputs"].steps if isinstance(step, TableVectorizer)
    )
    lines = []
    for kind, name in KINDS.items():
        columns = sorted(
            vectorizer.kind_to_columns_.get(kind, ()), key=model["columns"].kept_.index
        )
        if columns:
            lines.append(f"{name}: {listed(columns)}")
    if model["columns"].gaps_:
        lines.append(f"missing values are marked, in: {listed(model['columns'].gaps_)}")
    return lines


def notes(model: Pipeline) -> list[str]:
    """What a reader should know of the columns as they were learnt."""
    return [*model["numbers"].notes_, *model["columns"].notes_]


# ---- the inputs


def fit_inputs(model: Pipeline, frame: pl.DataFrame, y: NDArray[Any], seed: int = 0) -> None:
    """Fit the steps before the networks; the vectorizer to no more than `ENOUGH` of the rows."""
    frame = model["numbers"].fit_transform(frame)
    frame = model["columns"].fit_transform(frame)
    if len(frame) > ENOUGH:
        rows = np.sort(np.random.default_rng(seed).choice(len(frame), ENOUGH, replace=False))
        frame, y = frame[rows], y[rows]
    model["inputs"].fit(frame, y)


def inputs(steps: Pipeline, blocks: list[pl.DataFrame]) -> NDArray[Any]:
    """What these steps make of the rows, (rows, inputs); each block leaves the list once used."""
    rows, at, found = sum(map(len, blocks)), 0, np.empty((0, 0))
    while blocks:
        block = steps.transform(blocks.pop(0))
        if not found.size:
            found = np.empty((rows, block.shape[1]), block.dtype)
        found[at : at + len(block)] = block
        at += len(block)
    return found


# ---- the networks


class NothingLearntError(Exception):
    """The loss is no longer finite."""


def _ensemble(model: Pipeline, fitted: bool = True) -> Any:
    """The ensemble at the end of a pipeline; numbers have a scaler of the target around it."""
    return getattr(model[-1], "regressor_" if fitted else "regressor", model[-1])


def fit_networks(
    model: Pipeline, features: NDArray[Any], y: NDArray[Any], callbacks: list[Callable[..., Any]]
) -> bool:
    """Train the last step of a pipeline; whether Ctrl-C ended that.

    Raises NothingLearntError if nothing came of it.
    """
    networks = _ensemble(model, fitted=False)
    networks.set_params(callbacks=callbacks)
    try:
        with warnings.catch_warnings():
            # That all epochs were used, and that it was interrupted, is no news.
            warnings.simplefilter("ignore")
            model[-1].fit(features, y)
    except ValueError as error:
        if NON_FINITE in str(error):
            raise NothingLearntError(
                "the training diverged: the loss is no longer finite"
            ) from None
        raise
    finally:
        networks.set_params(callbacks=())
    fitted = _ensemble(model)
    for estimator in (fitted, *fitted.estimators_):
        estimator.set_params(callbacks=())
    interrupted = [member._interrupted for member in fitted.estimators_]
    return any(interrupted) or len(interrupted) < fitted.n_estimators


def epochs(model: Pipeline) -> int:
    """The most epochs that all networks together can have."""
    networks = _ensemble(model, fitted=False)
    return int(networks.n_estimators * networks.max_iter)


def networks(model: Pipeline) -> str:
    """What was trained, and how far."""
    found = _ensemble(model).estimators_
    first, times = found[0], [member.n_iter_ for member in found]
    layers = [first.n_features_in_, *(len(bias) for bias in first.intercepts_)]
    last = f"{times[0]}" if min(times) == max(times) else f"{min(times)} to {max(times)}"
    several = f"{len(found)} networks of" if len(found) > 1 else "a network of"
    told = f"{several} {' -> '.join(map(str, layers))} units, {last} epoch{'s' * (last != '1')}"
    # Interrupted in its first epoch, a network has no loss.
    losses = [member.loss_ for member in found if getattr(member, "loss_", None) is not None]
    return f"{told}; training loss {np.mean(losses):.4g}" if losses else told


# ---- files


def save(model: Pipeline, path: str | PathLike[str], target: str) -> None:
    """Write a fitted pipeline to a file that holds no code.

    Parameters
    ----------
    model
        What `make` made.
    path
        The file.
    target
        The name of the column that it predicts.
    """
    import skops.io

    model.target_name_ = target
    write_in_one_step(path, skops.io.dumps(model, compression=zipfile.ZIP_DEFLATED))


def load(path: str | PathLike[str]) -> Pipeline:
    """The pipeline that `train FILE --save` wrote, of scikit-learn's class.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    sklearn.pipeline.Pipeline
        It predicts from data frames of polars or pandas, whose columns are found by their
        names. ``model.target_name_`` is the name of what it predicts.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged, or something else, or written by versions of the libraries that
        do not go with those that are installed.

    Examples
    --------
    >>> from flatprop.tables import load
    >>> model = load("flowers.net")  # doctest: +SKIP
    >>> model.predict(frame)  # doctest: +SKIP
    """
    import skops.io

    content = Path(path).read_bytes()
    try:
        names = skops.io.get_untrusted_types(data=content)
        strange = [name for name in names if not _is_known(name)]
        if strange:
            raise ValueError(f"it holds {', '.join(strange[:3])}, which no table needs")
        model = skops.io.loads(content, trusted=names)
        _check(model)
    except Exception as error:  # whatever a file that lies makes the libraries do
        raise ValueError(
            f"{path} is no file of `train FILE --save`, or is damaged, or was written by other "
            f"versions of skrub or scikit-learn: {error}"
        ) from None
    return model


def _is_known(name: str) -> bool:
    """Whether the pipeline of a table may have objects of this name in it.

    Beside this package's own classes these are what vectorizers consist of, and other classes of
    the same modules: which of them there are depends on the columns.
    """
    if _PLAIN.fullmatch(name) or name in _of_vectorizers():
        return True
    module, _, last = name.rpartition(".")
    is_class = re.fullmatch("_?[A-Z][A-Za-z]+", last) is not None
    return is_class and any(known.startswith(f"{module}.") for known in _of_vectorizers())


@cache
def _of_vectorizers() -> frozenset[str]:
    """What vectorizers are made of: the libraries give it other names in other versions."""
    import skops.io

    rows = range(40)
    frame = pl.DataFrame(
        {
            "number": [None if row % 8 else row / 3 for row in rows],
            "date": [f"2024-01-{row % 28 + 1:02d}" for row in rows],
            "word": ["a", "b"] * 20,
            "text": ["ab", "bc", "ca", "cc"] * 10,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few texts have no 30 directions
        vectorizer, _ = recipe("regression", len(frame), dtype="float64")
        vectorizer.set_params(encode__cardinality_threshold=3).fit(frame)
    return frozenset(skops.io.get_untrusted_types(data=skops.io.dumps(vectorizer)))


def _check(model: Any) -> None:
    """Raise if a pipeline is not one that `make` made and that predicts."""
    steps = {name: type(step) for name, step in model.steps}
    if list(steps) != ["numbers", "columns", "inputs", "networks"]:
        raise ValueError("it is another pipeline")
    if steps["numbers"] is not NumbersInText or steps["columns"] is not UsefulColumns:
        raise ValueError("its first steps are others")
    if not isinstance(model.target_name_, str):
        raise ValueError("the name of the target is no text")
    numbers, columns = model["numbers"], model["columns"]
    row: dict[str, list[Any]] = {name: [None, None] for name in numbers.feature_names_in_}
    row |= {name: [None, 1.0] for name in (*numbers.numeric_, *numbers.formats_)}
    row |= {name: [None, "some text"] for name in numbers.words_}
    row |= {name: [None, seen[0]] for name, seen in columns.seen_.items() if seen}
    predicted(model, pl.DataFrame(row))


# ---- predictions


def predicted(model: Pipeline, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Predictions for a table, and what a reader should know of its columns.

    For classes a column with the probability of each, called p(class), follows the predictions.
    """
    frame, told = model["numbers"].transform_and_tell(frame)
    told += model["columns"].notes(frame)
    features = inputs(model[1:-1], list(frame.iter_slices(BLOCK)))
    # As many digits as the arithmetic has.
    digits = 7 if features.dtype == np.float32 else 15
    if not hasattr(model[-1], "predict_proba"):
        value = pl.Series(model.target_name_, model[-1].predict(features).astype(np.float64))
        return pl.DataFrame([value.round_sig_figs(digits)]), told
    p, labels = model[-1].predict_proba(features), model.classes_
    columns = [pl.Series(labels[p.argmax(axis=1)]).alias(model.target_name_)]
    for label, column in zip(labels.tolist(), p.T, strict=True):
        name = f"p({label})"
        name += "_" * (name == model.target_name_)
        columns.append(pl.Series(name, column.astype(np.float64)).round_sig_figs(digits))
    return pl.DataFrame(columns), told
