"""Tables as the book shows them."""

from __future__ import annotations

import pandas as pd

from kdlib.plotting.text import HYPHEN, NO_MATHEMATICS

MINUS = "\u2212"
_HYPHEN_OF_A_NAME = "\ufdd0"  # stands for it while a page is made; Unicode keeps it free, so that no name has it


def with_minus(text: str) -> str:
    """`text` with the sign of minus before its negative numbers, where Python writes a hyphen.

    Records keep the hyphen; whatever a reader sees has the sign. For numbers and words about them: a name, which may
    be "-5" too, is put in afterwards, by `kdlib.plotting.text.in_markdown`, or as a `Name`.

    >>> with_minus("-3 (-4.5 to -0.1) points on 2026-11-20, pp. 3-4")
    '−3 (−4.5 to −0.1) points on 2026-11-20, pp. 3-4'
    """
    return HYPHEN.sub(MINUS, text)


class Name(str):
    """A name in a `Table`, of a class or file, say, which is shown as it is written even if it reads like a number.

    >>> "<td>-5</td>" in Table([{"class": Name("-5")}]).to_html(), MINUS in Table([{"class": Name("-5")}])._repr_html_()
    (True, False)
    """


class Table(pd.DataFrame):
    """A plain table without its index that shows texts in full: pandas would cut them at 50 characters.

    >>> "label smoothing" in Table([{"network": "label smoothing"}])._repr_html_()
    True
    """

    @property
    def _constructor(self) -> type[Table]:
        # What pandas makes of a table (fillna, say) is a table of this kind.
        return Table

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            # What stands in a cell is text: a name with two dollar signs is no formula.
            page = _without_hyphens(self).to_html(index=False, justify="left", border=0, classes=NO_MATHEMATICS)
        # Jupyter's own style would set texts to the right.
        page = with_minus(page.replace("<td>", '<td style="text-align: left">'))
        return page.replace(_HYPHEN_OF_A_NAME, "-")


def _without_hyphens(table: pd.DataFrame) -> pd.DataFrame:
    changed = table.copy()
    for place in range(table.shape[1]):
        cells = table.iloc[:, place].tolist()
        if any(isinstance(cell, Name) for cell in cells):  # else pandas might take a column for another type
            kept = [cell.replace("-", _HYPHEN_OF_A_NAME) if isinstance(cell, Name) else cell for cell in cells]
            changed.isetitem(place, pd.Series(kept, index=table.index, dtype=object))
    return changed


def facts(values: dict[str, object]) -> Table:
    """Names and values in two columns; of the values, texts are names too.

    >>> facts({"torch": "2.13.0"}).shape
    (1, 2)
    """
    texts = [Name(value) if isinstance(value, str) else str(value) for value in values.values()]
    columns = {"": [Name(name) for name in values], " ": texts}
    return Table({head: pd.Series(cells, dtype=object) for head, cells in columns.items()})
