"""What Jupyter Book reads: the text, the chapters with their outputs, and the ledger, laid out as in the repository.

On its page a chapter gets what is made from other sources: the table of its parameters, and when and where it was
executed.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat

from kdlib.book.chapters import fill_chapters
from kdlib.book.execute import notebook_form
from kdlib.book.pages import Page
from kdlib.book.parameters import Parameter
from kdlib.book.project import Project


def stage(project: Project, pages: Sequence[Page]) -> Path:
    """Lay out what Jupyter Book reads, mirroring the repository, in `_build/source`; return that folder."""
    from kdlib.claims.ledger import ledger_page

    source = project.build / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(project.root / name, source / name)
    hidden = shutil.ignore_patterns("executed", "results", "__pycache__", "*.py", ".*")
    shutil.copytree(project.root / "book", source / "book", ignore=hidden)
    (source / "notebooks").mkdir()
    for page in pages:
        (source / "notebooks" / page.path.name).write_text(nbformat.writes(page_notebook(page)), encoding="utf-8")
    (source / "book/ledger.md").write_text(ledger_page(project.results), encoding="utf-8")
    fill_chapters(source / "book", project.results)
    return source


def page_notebook(page: Page) -> nbformat.NotebookNode:
    """The chapter as the book shows it."""
    shown = describe_images(page.notebook)
    form = notebook_form(shown, page.path.stem)
    if form:
        place = next(i for i, cell in enumerate(shown.cells) if "parameters" in cell.metadata.get("tags", []))
        # The table says the same; papermill and JupyterLab need the cell.
        shown.cells[place].metadata["tags"] = sorted({*shown.cells[place].metadata["tags"], "hide-input"})
        shown.cells.insert(place + 1, _text_cell(parameter_table(form), "parameter-table"))
    shown.cells.append(_text_cell(f":::{{div}} kdlib-executed\n{executed_in_words(page)}\n:::", "executed"))
    return shown


def _text_cell(text: str, identity: str) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_markdown_cell(text)
    cell.id = identity  # a new cell's is random, and the staged tree must be the same at each build
    return cell


def parameter_table(form: Sequence[Parameter]) -> str:
    """The form as a table in Markdown.

    >>> from kdlib.book.parameters import read_parameters
    >>> print(parameter_table(read_parameters("alpha = 0.5  # weight of the teacher")))
    | parameter | default | range | meaning |
    |---|---|---|---|
    | `alpha` | `0.5` | 0 to 1 | weight of the teacher |
    """
    lines = ["| parameter | default | range | meaning |", "|---|---|---|---|"]
    for parameter in form:
        cells = (f"`{parameter.name}`", f"`{parameter.default!r}`", _range(parameter), parameter.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _range(parameter: Parameter) -> str:
    limit = parameter.limit
    if limit is None:
        return ""
    if limit.choices:
        return ", ".join(f"`{choice}`" for choice in limit.choices)
    low, high = limit.minimum, limit.maximum
    kind = "whole number, " if limit.whole else ""
    if low is not None and high is not None:
        return f"{kind}{low:g} to {high:g}{', both excluded' if limit.exclusive else ''}"
    return f"{kind}{'above' if limit.exclusive else 'at least'} {low:g}" if low is not None else kind.rstrip(", ")


def executed_in_words(page: Page) -> str:
    """When and where the outputs of a page were made, and whether they still fit."""
    again = "`make reproduce` executes every chapter anew"
    if page.stamp is None:
        return f"It is not known when the outputs of this page were made: {again}."
    stamp, versions = page.stamp, page.stamp["versions"]
    with_what = ", ".join(f"{name} {versions[key]}" for name, key in _SHOWN.items() if key in versions)
    executed = (
        f"This page was executed on {stamp['finished'][:10]} at preset `{stamp['preset']}` in {stamp['seconds']:.0f} s "
        f"on {stamp['machine']}, with {with_what}"
    )
    if page.changed:
        return f"{executed}. Its source has changed since; {again}."
    return f"{executed}; {again}."


_SHOWN = {"Python": "python", "torch": "torch"}


def describe_images(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of an executed notebook whose cells name their image's alternative text and width where MyST-NB looks.

    JupyterLab and `kdlib.plotting.style.show` keep both with the image; MyST-NB takes one of each a cell, from the
    cell's metadata. So the outputs from a cell's second described image on move to cells of their own, without input.
    """
    described = copy.deepcopy(notebook)
    cells = []
    for cell in described.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        outputs, cell.outputs, number = cell.outputs, [], 0
        for output in outputs:
            image = output.get("metadata", {}).get("image/png", {})
            if image.get("alt"):
                number += 1
                if number > 1:
                    cells.append(_cell_of_outputs(cell, number))
                shown = cells[-1].metadata.setdefault("mystnb", {}).setdefault("image", {})
                shown["alt"] = image["alt"]
                if image.get("width"):
                    shown["width"] = f"{image['width']}px"
            cells[-1].outputs.append(output)
    described.cells = cells
    return described


def _cell_of_outputs(cell: nbformat.NotebookNode, number: int) -> nbformat.NotebookNode:
    """A cell that shows nothing but outputs, in the manner of `cell`."""
    tags = ["remove-input"]
    for tag in cell.metadata.get("tags", []):
        if tag in ("hide-output", "hide-cell"):
            tags.append("hide-output")
        elif tag in ("remove-output", "remove-cell"):
            tags.append(tag)
    # MyST-NB passes over a cell whose source is empty, its outputs with it.
    alone = nbformat.v4.new_code_cell(f"# image {number} of the cell above", metadata={"tags": tags})
    # A new cell has a random identity; the staged tree must be the same at each build.
    alone.id = f"{cell.get('id', 'cell')[:50]}-image-{number}"
    return alone
