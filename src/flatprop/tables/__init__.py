"""Tables: from a file to a pipeline of scikit-learn that ends in networks.

| file | what it is for |
| --- | --- |
| `table_files` | a file -> a data frame |
| `targets` | the column to predict -> labels or numbers |
| `numbers_in_text` | the first step: texts such as 75.9 m2 -> numbers |
| `useful_columns` | the second: which columns say anything |
| `recipe` | the other two: columns -> inputs (by skrub), and the networks, with their defaults |
| `table_model` | the pipeline of these: made, told of, saved, loaded |
"""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imported late, since polars, skrub and scikit-learn come with it
        from flatprop.tables.table_model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
