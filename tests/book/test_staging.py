"""What Jupyter Book reads: the staged tree, each image's description and width, and what a page gets besides."""

from __future__ import annotations

from dataclasses import replace

import nbformat
import pytest
from toy_notebooks import PARAMETERS

from kdlib.book.limits import LIMITS
from kdlib.book.pages import make_pages
from kdlib.book.parameters import Parameter, read_parameters
from kdlib.book.staging import describe_images, executed_in_words, page_notebook, parameter_table, stage


def test_the_stage_mirrors_the_repository_with_executed_notebooks_and_a_ledger(project, ran):
    source = stage(project, make_pages(project, say=lambda line: None))
    staged = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert staged == {
        "_config.yml",
        "_toc.yml",
        "book/intro.md",
        "book/ledger.md",
        "notebooks/first.ipynb",
        "notebooks/second.ipynb",
    }


def image_output(alt: str | None) -> nbformat.NotebookNode:
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return nbformat.v4.new_output("display_data", {"image/png": "iVBO"}, metadata=metadata)


def code_cell(*outputs: nbformat.NotebookNode, **metadata) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell("show('...')", metadata=metadata, outputs=list(outputs))


def alt_of(cell: nbformat.NotebookNode) -> str | None:
    """Where MyST-NB 1.x looks: https://myst-nb.readthedocs.io, "Images" under "Format code outputs"."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt")


def test_an_image_s_description_stands_in_its_cell_s_metadata():
    plain, described = (
        code_cell(image_output(None)),
        code_cell(image_output("A line."), mystnb={"image": {"width": "9"}}),
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T"), plain, described])
    text, first, second = describe_images(notebook).cells
    assert alt_of(text) is None and alt_of(first) is None
    assert second.metadata.mystnb == {"image": {"width": "9", "alt": "A line."}}
    assert second.outputs == described.outputs
    assert "alt" not in described.metadata.mystnb.image, "the executed notebook was changed"


def test_an_image_s_width_is_that_of_its_metadata():
    output = image_output("A line.")
    output.metadata["image/png"]["width"] = 640
    [cell] = describe_images(nbformat.v4.new_notebook(cells=[code_cell(output)])).cells
    assert cell.metadata.mystnb == {"image": {"alt": "A line.", "width": "640px"}}


def test_each_of_several_images_of_a_cell_has_its_own_description():
    between = nbformat.v4.new_output("stream", text="between")
    outputs = [image_output("One."), between, image_output("Two."), image_output("Three.")]
    notebook = nbformat.v4.new_notebook(cells=[code_cell(*outputs, tags=["hide-input", "hide-output"])])
    cells = describe_images(notebook).cells
    assert [alt_of(cell) for cell in cells] == ["One.", "Two.", "Three."]
    assert [output for cell in cells for output in cell.outputs] == outputs
    assert [len(cell.outputs) for cell in cells] == [2, 1, 1]
    assert cells[0].metadata.tags == ["hide-input", "hide-output"]
    for cell in cells[1:]:
        assert cell.metadata.tags == ["remove-input", "hide-output"]
        # MyST-NB drops the outputs of a cell without source.
        assert cell.source.strip()
    assert len({cell.id for cell in cells}) == 3
    assert describe_images(notebook) == describe_images(notebook)


# ---- what a page gets besides ---------------------------------------------------------------------------------------


def test_the_table_of_parameters_stands_below_their_cell(project, ran):
    page = make_pages(project, say=lambda line: None)[0]
    cells = page_notebook(page).cells
    place = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    assert "hide-input" in cells[place].metadata.tags
    rows = cells[place + 1].source.splitlines()
    assert rows[0] == "| parameter | default | range | meaning |"
    assert len(rows) == 2 + len(read_parameters(PARAMETERS))
    assert "| `temperature` | `4.0` | 1e-09 to 1e+06, both excluded | softens both distributions |" in rows
    assert "| `preset` | `'quick'` | `smoke`, `quick`, `retrain`, `gpu` | size of the experiment |" in rows


def test_a_bar_in_a_parameter_s_help_does_not_end_its_cell():
    assert parameter_table([Parameter("x", 1, "p(a | b)")]).splitlines()[-1] == r"| `x` | `1` |  | p(a \| b) |"


@pytest.mark.parametrize("name", LIMITS)
def test_every_range_is_said_in_words(name):
    told = parameter_table([Parameter(name, 1)]).splitlines()[-1].split(" | ")[2]
    limit = LIMITS[name]
    for part in (*limit.choices, *(f"{bound:g}" for bound in (limit.minimum, limit.maximum) if bound is not None)):
        assert part in told


def test_a_page_ends_with_when_and_where_it_was_executed(project, ran):
    page = make_pages(project, say=lambda line: None)[0]
    last = page_notebook(page).cells[-1]
    assert last.cell_type == "markdown"
    told = executed_in_words(page)
    assert told in last.source
    assert told.startswith("This page was executed on 2026-11-27 at preset `quick` in 1 s on Toy, 2 cores, with Python")
    assert "has changed" not in told
    assert "Its source has changed since" in executed_in_words(replace(page, changed=True))
    assert "not known" in executed_in_words(replace(page, stamp=None))


def test_the_staged_tree_is_the_same_at_each_build(project, ran):
    def staged():
        source = stage(project, make_pages(project, say=lambda line: None))
        return {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}

    assert staged() == staged()
