"""Figures with descriptions: the same picture as `plt.show()`, and an alternative text beside it."""

from __future__ import annotations

import base64
import re
import struct
from html import unescape
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from toy_notebooks import write_notebook

from kdlib.book.execute import execute_notebook
from kdlib.book.single_page import write_page
from kdlib.errors import KdlibError
from kdlib.plotting.style import show

DRAW = """\
import matplotlib.pyplot as plt
from kdlib.plotting.style import show, use_style
use_style()
figure, axis = plt.subplots(figsize=(3, 2))
axis.plot([1, 2, 4])
axis.set_title("Doubling")
"""


@pytest.fixture(autouse=True)
def no_figure_left():
    plt.close("all")
    yield
    plt.close("all")


def pixels(png: str) -> tuple[int, int]:
    """Width and height of a PNG in base64."""
    return struct.unpack(">II", base64.b64decode(png)[16:24])


def test_show_gives_the_picture_of_plt_show_at_twice_the_pixels_once_and_its_description(tmp_path):
    alt = 'A line with "quotes" that doubles.'
    left = "print(plt.get_fignums())"
    write_notebook(tmp_path / "toy.ipynb", DRAW + "plt.show()", DRAW + f"show({alt!r})", left)
    plain, described, after = execute_notebook(tmp_path / "toy.ipynb", {}).notebook.cells[-3:]
    assert [output.output_type for output in described.outputs] == ["display_data"]
    (before,), (output,) = plain.outputs, described.outputs
    (width, height), (wide, high) = (pixels(shown.data["image/png"]) for shown in (before, output))
    assert (abs(wide - 2 * width) <= 2, abs(high - 2 * height) <= 2) == (True, True)
    assert output.metadata == {"image/png": {"alt": alt, "width": wide // 2}}
    assert output.data["text/plain"] == alt
    assert after.outputs[0].text.strip() == "[]"


def test_outside_a_notebook_the_description_is_printed_and_the_figure_closed(capsys):
    plt.plot([1, 2])
    show("A rising line.")
    assert capsys.readouterr().out == "A rising line.\n"
    assert plt.get_fignums() == []


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_a_description_is_refused(alt):
    plt.plot([1, 2])
    with pytest.raises(KdlibError, match="a figure needs a description"):
        show(alt)


def test_without_a_drawn_figure_there_is_nothing_to_show():
    with pytest.raises(KdlibError, match="no figure to show"):
        show("Nothing.")
    plt.figure()
    with pytest.raises(KdlibError, match="no figure to show"):
        show("Nothing.")


def test_the_description_is_the_alternative_text_on_the_page_of_kdlib_run():
    alts = ['A <rising> "line" & it\'s more.', "Another."]
    cells = [
        nbformat.v4.new_code_cell(
            "show(...)",
            outputs=[
                nbformat.v4.new_output("display_data", {"image/png": "iVBO"}, metadata={"image/png": {"alt": alt}})
                for alt in alts
            ],
        )
    ]
    page = write_page(nbformat.v4.new_notebook(cells=cells), "toy", Path("no scripts"))
    found = re.findall(r"""<img alt=(?:"([^"]*)"|'([^']*)')""", page)
    assert [unescape(double or single) for double, single in found] == alts
