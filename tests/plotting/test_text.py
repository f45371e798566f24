"""Names are shown as they are written, in figures, tables and widgets; boxes and folds are Markdown within HTML."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import pytest
import torch
from IPython.display import Markdown

from kdlib.data.image_set import ImageSet
from kdlib.papers.first_steps.figures import softened_outputs
from kdlib.plotting.style import image_grid, show
from kdlib.plotting.tables import Table
from kdlib.plotting.text import NO_MATHEMATICS, boxed, folded, names_are_text
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
