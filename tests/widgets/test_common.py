"""Sprites, colours and the still picture."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from widget_toys import KINDS

from kdlib.errors import KdlibError
from kdlib.names import MODEL_COLOURS
from kdlib.widgets import display_widget, static_figure
from kdlib.widgets.common import GROUP_COLOURS, HERE, check_place, make_sprite, model_colours


def decode(data: bytes) -> torch.Tensor:
    picture = Image.open(io.BytesIO(data))
    pixels = torch.tensor(list(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1)


def test_a_place_is_counted_from_0_and_lies_before_the_end():
    assert [check_place(place, 3, "image") for place in range(3)] == [0, 1, 2]
    for place in (-1, 3):
        with pytest.raises(KdlibError, match=f"image must be one of 0 to 2, not {place}"):
            check_place(place, 3, "image")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_sprite_holds_every_pixel_of_every_image(channels):
    images = torch.randint(0, 256, (7, channels, 12, 10), dtype=torch.uint8)
    data, kind, columns, (height, width) = make_sprite(images, 1_000_000)
    assert (kind, height, width) == ("image/png", 12, 10)
    sheet = decode(data)
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        assert torch.equal(sheet[:, y : y + height, x : x + width], image.expand(3, -1, -1))


def test_a_sprite_without_room_becomes_a_jpeg_then_smaller_tiles_then_a_clear_refusal():
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    assert make_sprite(images, 40_000)[1] == "image/jpeg"
    data, _, _, tile = make_sprite(images, 9_000)
    assert tile == (16, 16) and len(data) <= 9_000
    with pytest.raises(KdlibError, match="16 pictures do not fit"):
        make_sprite(images, 100)


def test_large_images_travel_as_small_tiles():
    assert make_sprite(torch.zeros(2, 3, 300, 200, dtype=torch.uint8), 10**6)[3] == (75, 50)


def test_models_keep_the_books_colours_and_others_get_different_ones():
    colours = model_colours(["teacher", "kd", "mine", "yours"])
    assert colours["teacher"] == MODEL_COLOURS["teacher"] and colours["kd"] == MODEL_COLOURS["kd"]
    assert len(set(colours.values())) == 4
    assert not set(GROUP_COLOURS) & set(MODEL_COLOURS.values())


def test_the_scripts_import_nothing_and_name_no_host():
    for path in [*HERE.glob("*.js"), *HERE.glob("*.css")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"^\s*import\b|@import|\bimport\(|https?://|\bfetch\(", text, re.MULTILINE), path.name


class Figures(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_still_picture_is_a_figure_with_a_png_and_words(kind, request):
    widget = request.getfixturevalue(kind)
    tags = dict(Figures(static_figure(widget).data).tags)
    assert list(tags) == ["figure", "img", "figcaption"]
    assert tags["figure"]["data-kdlib-static"] == widget.static_key and "kdlib-static" in tags["figure"]["class"]
    assert tags["img"]["alt"] == widget.describe() and len(widget.describe()) > 80
    start, data = tags["img"]["src"].split(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert start == "data:image/png;base64" and picture.format == "PNG"
    assert len(data) < 150_000 and len(set(picture.convert("L").tobytes())) > 20  # not blank


def test_display_widget_shows_the_picture_first_and_the_widget_after(temperature, monkeypatch):
    shown = []
    monkeypatch.setattr("kdlib.widgets.common.display", shown.append)
    display_widget(temperature)
    assert 'class="kdlib-static mathjax_ignore' in shown[0].data and shown[1] is temperature


@pytest.mark.parametrize("kind", KINDS)
def test_a_widgets_name_holds_no_address_and_its_output_is_a_widget_view(kind, request):
    widget = request.getfixturevalue(kind)
    assert "0x" not in repr(widget) and repr(widget).startswith(type(widget).__name__)
    bundle = widget._repr_mimebundle_()[0]
    assert bundle["text/plain"] == repr(widget) and "application/vnd.jupyter.widget-view+json" in bundle
