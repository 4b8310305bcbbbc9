"""Commas inside numbers: 3,5 for 3.5, or 1,234 for 1234."""

import re
from typing import Any, Literal, TypeAlias

Style: TypeAlias = Literal["", "decimal", "thousands"]
"""What the commas of a column are; "" if it has none, or is no column of numbers."""

DECIMAL = r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*"
GROUPED = r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?\s*"
SURELY_GROUPED = r".*(?:,.*,|\.).*"
"""Those of the grouped numbers whose commas cannot be decimal ones."""


def style(column: Any, decimals: bool = False) -> Style:
    """What the commas of a column of texts are.

    Parameters
    ----------
    column
        A column of a data frame.
    decimals
        Whether the rest of the file is known to have decimal commas: then 1,234
        is read so too. Otherwise it is 1234, unless the column holds other decimals.
    """
    present = column.dropna()
    if present.empty or not isinstance(present.iloc[0], str):
        return ""
    present = present.astype(str)
    comma = present.str.contains(",", regex=False)
    with_comma, without = present[comma], present[~comma]
    if with_comma.empty or plain_numbers(without) is None:
        return ""
    point = without.str.contains(".", regex=False).any()
    if with_comma.str.fullmatch(GROUPED).all():
        sure = point or with_comma.str.fullmatch(SURELY_GROUPED).any()
        return "decimal" if decimals and not sure else "thousands"
    return "decimal" if with_comma.str.fullmatch(DECIMAL).all() and not point else ""


def converted(column: Any, style: Style) -> Any:
    """The column as numbers; as text, with what can be read so rewritten, if some cannot."""
    if not style:
        return column
    pattern, replacement = (DECIMAL, ".") if style == "decimal" else (GROUPED, "")

    def rewritten(value: Any) -> Any:
        number = isinstance(value, str) and re.fullmatch(pattern, value)
        return value.replace(",", replacement) if number else value

    text = column.astype(object).map(rewritten)
    numbers = plain_numbers(text)
    return text if numbers is None else numbers


def plain_numbers(texts: Any) -> Any:
    """Texts as the numbers they are without commas; None if one is not a number."""
    import pandas as pd

    try:
        return pd.to_numeric(texts)
    except (TypeError, ValueError):
        return None


def notice(what: str, column: Any, style: Style) -> str:
    """How a column was read, with an example."""
    example = next(str(value).strip() for value in column.dropna() if "," in str(value))
    kind = "a decimal comma" if style == "decimal" else "a thousands separator"
    plain = example.replace(",", "." if style == "decimal" else "")
    return f"the comma in {what} was read as {kind}: {example} is {plain}"
