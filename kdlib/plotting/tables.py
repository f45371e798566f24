"""Tables as the book shows them."""

from __future__ import annotations

import re

import pandas as pd

from kdlib.plotting.text import NO_MATHEMATICS

MINUS = "\u2212"
# Not within a word, a range, a date or an address.
_HYPHEN = re.compile(r"(?<![\w)\]/.-])-(?=\.?\d)")


def with_minus(text: str) -> str:
    """`text` with the sign of minus before its negative numbers, where Python writes a hyphen.

    Records keep the hyphen; whatever a reader sees has the sign.

    >>> with_minus("-3 (-4.5 to -0.1) points on 2026-11-20, pp. 3-4")
    '−3 (−4.5 to −0.1) points on 2026-11-20, pp. 3-4'
    """
    return _HYPHEN.sub(MINUS, text)


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
            page = self.to_html(index=False, justify="left", border=0, classes=NO_MATHEMATICS)
        # Jupyter's own style would set texts to the right.
        return with_minus(page.replace("<td>", '<td style="text-align: left">'))


def facts(values: dict[str, object]) -> Table:
    """Names and values in two columns.

    >>> facts({"torch": "2.13.0"}).shape
    (1, 2)
    """
    return Table({"": list(values), " ": [str(value) for value in values.values()]})
