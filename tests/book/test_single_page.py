"""The page of one notebook is read without the book: its marks are plain words there."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from kdlib.book.single_page import without_roles, write_page


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("{term}`seed`", "seed"),
        ("{term}`label smoothing <smoothing>`", "label smoothing"),
        ("{cite:p}`bau2017`", "[Bau 2017]"),
        ("{cite:t}`bau2017, tjoa2020`", "[Bau 2017; Tjoa 2020]"),
        ("`{term}` and $x$", "`{term}` and $x$"),
    ],
)
def test_roles_become_words(text, plain):
    assert without_roles(text) == plain


def test_the_notebook_itself_stays_as_it_is(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("A {term}`seed`."), nbformat.v4.new_code_cell("'{term}`x`'")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    page = write_page(notebook, "toy", tmp_path)
    assert "A seed." in page and notebook.cells[0].source == "A {term}`seed`."


def test_a_fold_holds_what_stands_in_it_and_nothing_else(tmp_path):
    text = """Before.

<details class="fold"><summary>Solutions</summary>

1. Two thirds, $2/3$.
2. <b>None</b> of `these`.

</details>

After.
"""
    told = nbformat.v4.new_output("display_data", {"text/markdown": text.replace("Two thirds", "Three fourths")})
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("", outputs=[told])]
    page = write_page(nbformat.v4.new_notebook(cells=cells), "toy", tmp_path)
    folds = re.findall(r'<details class="fold"><summary>Solutions</summary>(.*?)</details>', page, re.S)
    for fold, first in zip(folds, ("Two thirds", "Three fourths"), strict=True):
        items = [re.sub("<[^>]*>", "", item).strip() for item in re.findall(r"<li>(.*?)</li>", fold, re.S)]
        assert items == [f"{first}, $2/3$.", "None of these."]
        assert "Before" not in fold and "After" not in fold
    assert "kdlib-fold" not in page


@pytest.mark.parametrize("name", ["<!--<script>", "</script><b>", "a < b"])
def test_a_name_within_a_widget_ends_no_script_and_begins_none(tmp_path, name):
    mime = "application/vnd.jupyter.widget-state+json"
    state = {"state": {"one": {"model_name": "AnyModel", "state": {"class_names": [name]}}}, "version_major": 2}
    output = nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "one"}})
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("", outputs=[output])], metadata={"widgets": {mime: state}}
    )
    (held,) = re.findall(
        rf'<script type="{re.escape(mime)}">(.*?)</script>', write_page(notebook, "toy", tmp_path), re.S
    )
    assert json.loads(held) == state and "<" not in held
