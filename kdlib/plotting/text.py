"""Text on a page: boxes and folds, and names that are shown as they are written, whatever signs they hold.

Boxes and folds are HTML around Markdown: alike in the book, in JupyterLab and in the page of one notebook.
"""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import Markdown
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

# Of an element whose text MathJax (its versions 3 and 2) leaves as it is.
NO_MATHEMATICS = "mathjax_ignore tex2jax_ignore"


def boxed(title: str, paragraphs: Sequence[str]) -> Markdown:
    """Markdown paragraphs in a box with a title; the book's theme draws it, elsewhere the title stands above them.

    >>> print(boxed("What we found", ["**Answer.** It depends."]).data)
    <div class="admonition tip">
    <p class="admonition-title">What we found</p>
    <BLANKLINE>
    **Answer.** It depends.
    <BLANKLINE>
    </div>
    """
    # Markdown goes on after a blank line within HTML, for every reader of it that we know.
    body = "\n\n".join(paragraphs)
    return Markdown(f'<div class="admonition tip">\n<p class="admonition-title">{title}</p>\n\n{body}\n\n</div>')


def folded(title: str, lines: Sequence[str]) -> Markdown:
    """Lines of Markdown behind a title that a reader clicks to open.

    >>> print(folded("Solutions", ["1. Yes."]).data)
    <details class="fold"><summary>Solutions</summary>
    <BLANKLINE>
    1. Yes.
    <BLANKLINE>
    </details>
    """
    body = "\n".join(lines)
    return Markdown(f'<details class="fold"><summary>{title}</summary>\n\n{body}\n\n</details>')


def names_are_text(figure: Figure) -> Figure:
    """The figure with all its words read as plain text: a class called "$5 to $10" is no formula.

    matplotlib takes what stands between two dollar signs for mathematics, and fails where it is none. The numbers of
    an axis keep theirs, such as powers of ten.
    """
    numbers: set[Text] = set()
    for axis in figure.findobj(Axis):
        if not isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):
            numbers |= {*axis.get_ticklabels(which="both"), axis.get_offset_text()}
    for text in figure.findobj(Text):
        text.set_parse_math(text in numbers)
    return figure
