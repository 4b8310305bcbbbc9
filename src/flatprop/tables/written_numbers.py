"""Text that holds numbers -> numbers: units, currencies, commas and a few stray cells.

| text | number |
| --- | --- |
| `75.9 m2`, `15.2 %`, `$1,200`, `12-inch` | 75.9, 15.2, 1200, 12 |
| `138.300,00`, `1 234`, `1'234`, `12,34,567` | 138300, 1234, 1234, 1234567 |
| `(1,234.5)`, `−3`, `12-`, `5,-`, `1e-3` | -1234.5, -3, -12, 5, 0.001 |
| `?`, `N/A`, `-`, `missing` | none |

A column has one unit and one decimal mark. All is done by expressions of polars over the distinct
texts of a column.
"""

import re
from typing import NamedTuple, TypeAlias

import polars as pl

Format: TypeAlias = dict[str, str]
"""How a column writes numbers: its "decimal" mark, "." or ",", and its "unit", "" for none."""

MOST_STRAYS = 0.05
"""So many of the cells in a column of numbers, of those with a text, may be none."""
LOOKED_AT = 100_000
"""What a column is, is decided by so many of its cells, drawn at random from all."""
MISSING = (
    r"(?i)^(|#?n/?a|n\. ?a\.|n/d|n\.d\.|[+-]?nan|<na>|nil|null|none|-{1,3}|—|\.{1,3}|:|\?+|\*|s/d"
    r"|#(div/0|name|null|num|ref|value)[!?]|-?1\.#(ind|qnan)|blank|empty|k\.a\.|missing|no data"
    r"|not (applicable|available)|tb[ad]|undefined|unknown)$"
)
"""What stands for a missing number in a column of numbers."""

_POWER = "(?:[eE][+-]?[0-9]+)?"
_BODY = rf"(?:[0-9]+(?:[.,' ][0-9]+)*[.,]?|[.,][0-9]+){_POWER}|inf"
_MONEY = r"(?:[A-Z]{0,3}\p{Sc}|EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|Fr\.|Rs\.?|kr\.?)"
_LETTER = r"\p{L}\p{Sc}%‰°²³"
_UNIT = rf"[{_LETTER}\"″′'](?:[{_LETTER}0-9^]| ?[/·*.] ?| [{_LETTER}]){{0,24}}"
_CELL = (
    rf"^(?P<front>[+-]? ?{_MONEY}?|{_MONEY} ?[+-]) ?(?P<body>{_BODY})"
    rf"(?:(?P<behind>-)|[ -]?(?P<after>{_UNIT}))?$"
)


def _shape(decimal: str, other: str) -> str:
    """What the digits of a number look like, given its decimal mark."""
    groups = "|".join(rf"(?:{mark}[0-9]{{3}})+" for mark in (f"[{other}]", " ", "'"))
    lakhs = "|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}" if other == "," else ""
    whole = rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:{groups}){lakhs})"
    return rf"^[+-]?(?:(?:{whole}(?:[{decimal}][0-9]*)?|[{decimal}][0-9]+){_POWER}|inf)$"


_OTHER = {".": ",", ",": "."}
_SHAPES = {decimal: _shape(decimal, other) for decimal, other in _OTHER.items()}
_SCALED = re.compile(
    r"(^| )([kKmMbBGT]|[bmM]n|mi[ol]|mrd|tsd|thousand|[bmtr]+illion|lakh|crore|%|‰|percent|pct)"
    r"($| |[$€£¥₹])"
)
"""Beside `5k`, or `5 %`, a number without a unit may be on another scale."""
_POINT_GROUPS = re.compile("€|kr|zł|R\\$|₺")
"""Money without three decimals, where a point groups thousands: 1.200 EUR."""
_NUMBERED = r"^(\+[0-9]{7,15}|[0-9]{3}( [0-9]{3}){2,}|[0-9]{3}(\.[0-9]{3}){3})$"
"""Telephone numbers and addresses of computers."""


class Stray(NamedTuple):
    """A text among numbers that is none: where it is first, from row 1 on, and how often."""

    text: str
    row: int
    times: int


class Findings(NamedTuple):
    """What a column of texts holds.

    `point` and `comma` count the cells that are numbers given that decimal mark; `unclear` has
    the marks of those that are numbers either way. `why_text` says why they stay text after all.
    """

    unit: str
    point: int
    comma: int
    unclear: str = ""
    why_text: str = ""
    codes: bool = False

    def format(self, others: str) -> Format | None:
        """How numbers are written, if these are; `others` as in `learn_format`."""
        if self.why_text:
            return None
        surely, grouping = self.point != self.comma, bool(_POINT_GROUPS.fullmatch(self.unit))
        if surely:
            comma = self.comma > self.point
        elif self.unclear == ",":  # 1,234
            comma = "," in others
        elif self.unclear == ".":  # 1.234
            comma = others == "," or grouping
        else:
            comma = others == ","
        return {"decimal": "," if comma else ".", "unit": self.unit}


def learn_format(texts: pl.Series, others: str = "") -> Format | None:
    """How a column writes numbers; None if it holds something else.

    Parameters
    ----------
    texts
        The column; a series of anything but texts has no format.
    others
        The decimal marks that other columns of the table surely have: "", ".", "," or ",.".

    Examples
    --------
    >>> learn_format(pl.Series(["75.9 m2", "1,080 m2", "n/a"]))
    {'decimal': '.', 'unit': 'm2'}
    """
    look = look_at(texts) if texts.dtype == pl.String else None
    return look.format(others) if look else None


def read(texts: pl.Series, form: Format) -> tuple[pl.Series, list[Stray]]:
    """The numbers of a column, with nulls, and the texts that are none.

    Examples
    --------
    >>> values, strays = read(pl.Series(["3,5", "1.000", "12O"]), {"decimal": ",", "unit": ""})
    >>> values.to_list(), strays
    ([3.5, 1000.0, None], [Stray(text='12O', row=3, times=1)])
    """
    texts = texts.cast(pl.String)
    decimal, other = form["decimal"], _OTHER[form["decimal"]]
    # Columns of nothing but digits and marks, as most are, are read without a look at the parts.
    values = texts.set(texts.str.contains(other, literal=True), None).cast(
        pl.Float64, strict=False
    )
    values = values.fill_nan(None)
    if values.null_count() > texts.null_count():
        digits = texts.set(~texts.str.contains(_SHAPES[decimal]), None).to_frame("digits")
        values = digits.select(_value("digits", decimal)).to_series()
    if _SCALED.search(form["unit"]):
        values = values.set(values != 0, None)
    rest = texts.filter(values.is_null() & texts.is_not_null())
    if rest.is_empty():
        return values.alias(texts.name), []
    value = _value("body", decimal) * pl.when("negative").then(-1.0).otherwise(1.0)
    cells = _cells(rest).with_columns(
        value=pl.when(_reads(decimal) & _has_unit(form["unit"])).then(value)
    )
    known, strange = cells.drop_nulls("value"), cells.filter(pl.col("value").is_null())
    mapped = texts.replace_strict(
        known["text"], known["value"], default=None, return_dtype=pl.Float64
    )
    where = texts.to_frame("text").with_row_index("row", 1).join(strange, on="text")
    first = where.group_by("text").agg(pl.col("row", "count").min()).sort("row")
    strays = [Stray(*stray) for stray in first.iter_rows()]
    return values.zip_with(values.is_not_null(), mapped).alias(texts.name), strays


def stray_note(name: str, values: pl.Series, strays: list[Stray], rows: bool = True) -> list[str]:
    """One sentence about the texts of a column of numbers that are none; none without them.

    `rows` says whether the rows of the column are those that the reader knows.
    """
    if not strays:
        return []
    many = sum(stray.times for stray in strays)
    total = len(values) - values.null_count() + many
    examples = []
    for text, row, times in strays[:3]:
        more = [f"row {row}"] * rows + [f"{times} times"] * (times > 1)
        examples.append(f"{text!r} ({', '.join(more)})" if more else repr(text))
    shown = ", ".join(examples) + (", ..." if len(strays) > 3 else "")
    are, they = ("is no number", "it is") if many == 1 else ("are no numbers", "they are")
    return [f"column {name!r}: {many} of {total} values {are}: {shown}; {they} taken as missing"]


def _cells(texts: pl.Series) -> pl.DataFrame:
    """The distinct texts that are not missing, and their parts where they look like numbers."""
    cells = texts.alias("text").drop_nulls().value_counts(name="count")
    quick = cells["text"].str.contains("^[+-]?[.,]?[0-9][0-9.,]*$")
    text = pl.col("text")
    plain = cells.filter(quick).with_columns(
        negative=text.str.starts_with("-"), body=text.str.strip_chars("+-"), unit=pl.lit("")
    )
    clean = (
        text.str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .str.replace_all("[−–‒]", "-")
        .str.replace_all("[’ʼ´`]", "'")
        .str.replace(r"^([^0-9()]*)\(([^()]*)\)( ?[^0-9() ][^()]*)?$", "-$1$2$3")
        .str.replace("([0-9])[.,]-{1,2}( |$)", "$1$2")
        .str.replace("(?i)^([+-]?)(?:∞|infinity|inf)$", "${1}inf")
    )
    front, after = pl.col("front"), pl.col("after").fill_null("")
    unit = pl.concat_str(front.str.strip_chars("+- "), after, separator=" ")
    unit = unit.str.replace_many(["²", "³", "^"], ["2", "3", ""]).str.strip_chars(" .")
    # mW is not MW, and Mb is not MB: only other units are the same in capitals and small letters.
    folded = unit.str.to_lowercase().str.replace("^(...+)s$", "$1").str.replace("^euro?$", "€")
    rest = (
        cells.filter(~quick)
        .with_columns(parts=clean)
        .filter(~pl.col("parts").str.contains(MISSING))
        .with_columns(pl.col("parts").str.extract_groups(_CELL))
        .unnest("parts")
        .select(
            "text",
            "count",
            negative=front.str.contains("-", literal=True)
            | (pl.col("behind").fill_null("") == "-"),
            body=pl.when((pl.col("body") != "inf") | (after == "")).then("body"),
            unit=pl.when(unit.str.contains("^(...+|[^mM][^bB])$")).then(folded).otherwise(unit),
        )
    )
    return pl.concat([plain, rest])


def _value(column: str, decimal: str) -> pl.Expr:
    """The number of digits and marks that are known to have the shape of one."""
    digits = pl.col(column).str.replace_all(f"[{_OTHER[decimal]} ']", "")
    return digits.str.replace(decimal, ".", literal=True).cast(pl.Float64, strict=False)


def _reads(decimal: str) -> pl.Expr:
    return pl.col("body").str.contains(_SHAPES[decimal]).fill_null(False)


def _has_unit(unit: str) -> pl.Expr:
    """Whether a cell has this unit, or leaves it out where that cannot mislead."""
    bare = pl.col("unit") == ""
    if _SCALED.search(unit):
        bare &= pl.col("body").str.contains("^0+([.,]0*)?$")
    return (pl.col("unit") == unit) | bare


def look_at(texts: pl.Series) -> Findings | None:
    """What a column of texts holds; None, and quickly, if most of it is unlike numbers."""
    present = texts.drop_nulls()
    for size in (1000, LOOKED_AT):
        some = present.sample(size, seed=0) if len(present) > size else present
        cells = _cells(some).with_columns(point=_reads("."), comma=_reads(","))
        shaped = cells.filter(pl.col("point") | pl.col("comma"))
        if 2 * len(shaped) <= len(cells):
            return None
    total = _total(cells)
    most = MOST_STRAYS * total
    units = shaped.group_by("unit").agg(pl.col("count").sum()).sort("count", "unit")
    common = units.filter((pl.col("unit") != "") & (pl.col("count") > most))
    unit = common["unit"][-1] if len(common) else ""
    fitting = shaped.filter(_has_unit(unit))
    point, comma = (_total(fitting.filter(mark)) for mark in ("point", "comma"))
    found = Findings(unit, point, comma)
    if len(units) < 5 and total - _total(shaped) <= most < total - _total(fitting):
        kinds = ", ".join(repr(kind) if kind else "none" for kind in units["unit"])
        return found._replace(why_text=f"its numbers have different units: {kinds}")
    fitting = fitting.filter("comma" if comma > point else "point")
    bad = total - _total(fitting)
    if bad > most or 2 * len(fitting) <= len(cells):
        strays = cells.join(fitting, on="text", how="anti").sort("count", "text")["text"]
        why = f"{bad / total:.0%} of its values are no numbers like the others, as {strays[-1]!r}"
        return found._replace(why_text=why) if 2 * bad <= total else None
    if why := _why_codes(fitting, most):
        return found._replace(why_text=why, codes=True)
    both = fitting.filter(pl.col("point") & pl.col("comma"))["body"]
    unclear = "".join(mark for mark in ".," if both.str.contains(mark, literal=True).any())
    return found._replace(unclear=unclear)


def _total(cells: pl.DataFrame) -> int:
    return int(cells["count"].sum())


def _why_codes(cells: pl.DataFrame, most: float) -> str:
    """Why these cells, which could be read as numbers, are none; "" if they are."""
    texts = cells["text"].str.strip_chars()
    if texts.str.contains(_NUMBERED).all():
        return f"telephone numbers and the like are no quantities, as {texts.min()!r}"
    zeros = texts.str.contains("^0[0-9]+$")
    if not (zeros.any() and texts.str.contains("^[0-9]+$").all()):
        return ""
    one_width = texts.str.len_chars().n_unique() == 1
    are_codes = one_width or _total(cells.filter(zeros)) > most
    return f"digits that begin with zeros are codes, as {texts.min()!r}" if are_codes else ""


def example_note(texts: pl.Series, values: pl.Series, form: Format) -> list[str]:
    """One sentence about a column whose texts are not plain numbers, with an example."""
    plain = texts.str.strip_chars().cast(pl.Float64, strict=False)
    odd = texts.set(values.is_null() | plain.eq_missing(values), None).str.len_chars()
    at = odd.arg_max()
    if at is None:
        return []
    text = texts[at].strip()
    comma = "is a decimal mark" if form["decimal"] == "," else "groups thousands"
    marks = [f"the comma {comma}"] if "," in text else []
    marks += ["the point groups thousands"] if "." in text and form["decimal"] == "," else []
    more = f" ({', '.join(marks)})" if marks else ""
    return [f"column {texts.name!r} is read as numbers: {text!r} is {values[at]:.15g}{more}"]
