"""Boxes and folds as HTML around Markdown: alike in the book, in JupyterLab and in the page of one notebook."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import Markdown


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
