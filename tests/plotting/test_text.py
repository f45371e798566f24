"""Names are shown as they are written, in figures, tables and widgets; boxes and folds are Markdown within HTML."""

from __future__ import annotations

import html
import io
import re

import matplotlib.pyplot as plt
import pytest
import torch
from IPython.display import Markdown

from kdlib.data.image_set import ImageSet
from kdlib.papers.first_steps.figures import softened_outputs
from kdlib.plotting.style import image_grid, show
from kdlib.plotting.tables import Table, with_minus
from kdlib.plotting.text import NO_MATHEMATICS, boxed, folded, in_markdown, names_are_text
from kdlib.widgets import temperature_explorer
from kdlib.widgets.common import static_figure

NAMES = ("$5 to $10", r"$\frac$", "a_b^c", r"back\slash", "<b>&amp;", "`code`", "a|b", "{x}", "*star*", r"\$")


@pytest.fixture(autouse=True)
def _no_figure_left():
    yield
    plt.close("all")


def shapes(*texts: str) -> list[tuple[float, float]]:
    """Width and height in pixels of each text, drawn as a title."""
    found = []
    for text in texts:
        figure, axes = plt.subplots()
        axes.set_title(text)
        names_are_text(figure).canvas.draw()
        box = axes.title.get_window_extent()
        found.append((box.width, box.height))
    return found


def test_a_name_with_dollar_signs_is_drawn_as_text():
    formula, plain = shapes("$aaaa$", "aaaa")
    assert formula[0] > plain[0]  # two more signs are drawn


@pytest.mark.parametrize("name", NAMES)
def test_every_place_of_a_figure_takes_any_name(name):
    figure, axes = plt.subplots()
    axes.plot([1, 2], [1, 2], label=name)
    axes.legend(title=name)
    axes.set(title=name, xlabel=name, ylabel=name)
    axes.set_xticks([1, 2], [name, name])
    axes.annotate(name, (1, 1))
    figure.suptitle(name)
    names_are_text(figure).savefig(io.BytesIO())


def categories(axes, name):
    axes.bar([name, "other"], [1, 2])


def lying_categories(axes, name):
    axes.barh([name, "other"], [1, 2])


def minor_ticks(axes, name):
    axes.set_xscale("log")
    axes.plot([1, 100], [1, 2])
    axes.set_xticks([2, 3], [name, name], minor=True)


def a_colour_bar(axes, name):
    bar = axes.figure.colorbar(axes.imshow([[0, 1], [1, 0]]), ticks=[0, 1])
    bar.ax.set_yticklabels([name, name])
    bar.set_label(name)


def labels_of_bars(axes, name):
    axes.bar_label(axes.bar([0, 1], [1, 2]), labels=[name, name])


def inner_axes(axes, name):
    axes.inset_axes([0.1, 0.1, 0.3, 0.3]).set_title(name, loc="left")
    axes.secondary_xaxis("top").set_xticks([0.5], [name])


def a_formatter_of_one_s_own(axes, name):
    axes.plot([0, 1], [0, 1])
    axes.xaxis.set_major_formatter(lambda value, place: name)


PLACES = [categories, lying_categories, minor_ticks, a_colour_bar, labels_of_bars, inner_axes, a_formatter_of_one_s_own]


@pytest.mark.parametrize("draw", PLACES, ids=lambda draw: draw.__name__)
def test_names_are_text_wherever_matplotlib_writes_them(draw):
    figure, axes = plt.subplots(layout="constrained")
    draw(axes, r"$\frac$")  # as mathematics it would fail
    names_are_text(figure).savefig(io.BytesIO(), bbox_inches="tight")


def test_powers_of_ten_stay_powers_of_ten():
    figure, axes = plt.subplots()
    axes.loglog([1, 1000], [1, 1000])
    axes.set_title("$5 to $10")
    names_are_text(figure).canvas.draw()
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    assert labels and all("mathdefault" in label.get_text() and label.get_parse_math() for label in labels)
    assert not axes.title.get_parse_math()


def ten_classes() -> ImageSet:
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    return ImageSet("toy", images, torch.arange(10), NAMES, ("$a$", "$b"), (0,) * 5 + (1,) * 5)


def test_the_book_s_figures_take_such_classes(capsys):
    classes = ten_classes()
    softened_outputs({"teacher": torch.randn(10), "kd": torch.randn(10)}, [1.0, 4.0], classes, 1)
    show("Probabilities.")
    image_grid(classes, range(10), NAMES)
    show("Ten pictures.")


MARKED_UP = (
    *NAMES, "~~struck~~", "[text](page.html)", "![i](x.png)", "<script>alert(1)</script>", r"\(x\)", "$$y$$",
    "two\nlines", "&#36;", "{doc}`intro`", "https://example.org", "<https://example.org>", "a@b.c", "</span>",
    "# title", "a_b_",
)  # fmt: skip


def read_by_myst(text: str) -> str:
    """As the book does."""
    pytest.importorskip("myst_parser", reason="the book's reader comes with kdlib[book]")
    from markdown_it.renderer import RendererHTML
    from myst_parser.config.main import MdParserConfig
    from myst_parser.parsers.mdit import create_md_parser

    options = MdParserConfig(enable_extensions={"dollarmath", "amsmath", "linkify"})
    return create_md_parser(options, RendererHTML).render(text)


def read_by_nbconvert(text: str) -> str:
    """As a single page does."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    return markdown2html_mistune(text)


@pytest.mark.parametrize("read", [read_by_myst, read_by_nbconvert], ids=["myst", "nbconvert"])
@pytest.mark.parametrize("name", MARKED_UP)
def test_markdown_shows_names_and_makes_nothing_of_them(name, read):
    from bs4 import BeautifulSoup

    page = BeautifulSoup(read(f"Object “{in_markdown(name)}”; what it is."), "html.parser")
    assert page.get_text().strip() == f"Object “{' '.join(name.split())}”; what it is."
    assert {tag.name for tag in page.find_all()} <= {"p", "span"}
    apart = page.find_all("span")
    assert all(tag["class"] == NO_MATHEMATICS.split() for tag in apart)
    assert apart or not ("$" in name or "\\" in name)


def test_a_name_that_reads_like_a_number_keeps_its_hyphen():
    caption = with_minus(f"“{in_markdown('-5')}” and “{in_markdown('police-car -.5')}” at -5 °C")
    assert html.unescape(re.sub("<[^>]*>", "", caption)) == "“-5” and “police-car -.5” at −5 °C"


def test_a_table_shows_names_and_makes_no_mathematics_of_them():
    page = Table([{"$a$": name} for name in NAMES])._repr_html_()
    assert f'class="dataframe {NO_MATHEMATICS}"' in page
    assert "&lt;b&gt;&amp;amp;" in page and "<b>" not in page


def test_a_widget_and_its_still_picture_take_such_classes():
    classes = ten_classes()
    logits = torch.randn(10, 10)
    widget = temperature_explorer(
        classes.images, classes.labels, logits, {"kd": logits}, NAMES, classes.superclass_names, classes.superclass_of
    )
    page = static_figure(widget).data
    assert f'class="kdlib-static {NO_MATHEMATICS}"' in page and "<b>" not in page
    assert 'classList.add("mathjax_ignore", "tex2jax_ignore")' in widget._esm
    assert "el.append(" not in widget._esm.replace("  el.append(root);\n}", "", 1)


def test_boxes_and_folds_are_markdown_between_html():
    for made in (boxed("Title", ["one", "two"]), folded("Title", ["one", "two"])):
        assert isinstance(made, Markdown)
        lines = made.data.splitlines()
        assert lines[0].startswith(("<div", "<details")) and lines[-1] in ("</div>", "</details>")
        assert "" in lines and lines.index("one") > lines.index("")
