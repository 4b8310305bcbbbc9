"""Tables: from a file to a pipeline of scikit-learn that ends in networks.

| file | what it is for |
| --- | --- |
| `table_files` | a file -> a data frame |
| `unpacked_files`, `delimited_text`, `table_columns` | what that takes |
| `targets` | the column to predict -> labels or numbers |
| `splits` | rows to train on, and rows held back |
| `numbers_in_text` | the first step: texts such as 75.9 m2 -> numbers, as `written_numbers` says |
| `useful_columns` | the second: which columns say anything |
| `recipe` | the other two: columns -> inputs (by skrub), and the networks, with their defaults |
| `table_model` | the pipeline of these: made, told of, saved, loaded |
| `worth` | what its predictions are worth |
| `plain_inputs` | a table for a network that knows no names of columns |
"""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imported late, since polars, skrub and scikit-learn come with it
        from flatprop.tables.table_model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
