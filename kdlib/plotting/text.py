"""Text on a page: boxes and folds, and names that are shown as they are written, whatever signs they hold.

Boxes and folds are HTML around Markdown: alike in the book, in JupyterLab and in the page of one notebook.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from IPython.display import Markdown
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, LogitFormatter, ScalarFormatter

# Of an element whose text MathJax (its versions 3 and 2) leaves as it is.
NO_MATHEMATICS = "mathjax_ignore tex2jax_ignore"
# What a negative number begins with; not within a word, a range, a date or an address.
HYPHEN = re.compile(r"(?<![\w)\]/.-])-(?=\.?\d)")
_MARKUP = re.compile(rf"[\\`*_{{}}\[\]<>|$#&~^!@]|:(?=//)|{HYPHEN.pattern}")
# What writes an axis' numbers, with mathematics of its own; all other labels of an axis are names.
_OF_NUMBERS = (LogFormatter, LogitFormatter, ScalarFormatter)


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


def in_markdown(name: str) -> str:
    """A name within Markdown that is shown as it is written, in one line; one of letters and digits stays as it is.

    Signs that mean something to Markdown, HTML or MathJax become character references, which are text to all three;
    the element keeps MathJax from the text that they give. So does the hyphen of a class "-5", which is no minus.

    >>> in_markdown("traffic light"), in_markdown("a_b")
    ('traffic light', '<span class="mathjax_ignore tex2jax_ignore">a&#95;b</span>')
    """
    line = " ".join(name.split())
    text = _MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", line)
    return line if text == line else f'<span class="{NO_MATHEMATICS}">{text}</span>'


def names_are_text(figure: Figure) -> Figure:
    """The figure with all its words read as plain text: a class called "$5 to $10" is no formula.

    matplotlib takes what stands between two dollar signs for mathematics, and fails where it is none. The numbers of
    an axis keep theirs, such as powers of ten.
    """
    numbers: set[Text] = set()
    for axis in figure.findobj(Axis):
        if isinstance(axis.get_major_formatter(), _OF_NUMBERS):
            numbers |= {*axis.get_majorticklabels(), axis.get_offset_text()}
        if isinstance(axis.get_minor_formatter(), _OF_NUMBERS):
            numbers |= {*axis.get_minorticklabels()}
    for text in figure.findobj(Text):
        text.set_parse_math(text in numbers)
    return figure
