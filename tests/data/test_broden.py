"""Broden's layout: what is written comes back, and damage is told by the name of the file."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdlib.data.broden import BrodenFolder, export_broden
from kdlib.data.broden_tables import read_category
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.image_set import CATEGORIES, ConceptMap, ImageSet
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.dissect import dissect


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(24, seed=3, image_size=20)


@pytest.fixture(scope="module")
def exported(scenes, tmp_path_factory):
    return export_broden(scenes, tmp_path_factory.mktemp("broden") / "world")


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of an exported folder, to be damaged."""
    return shutil.copytree(exported, tmp_path / "world")


def names_per_pixel(concept):
    return np.array(concept.names)[concept.labels.numpy()]


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def change_cell(folder, row, column, value):
    rows = table(folder / "index.csv")
    rows[row][column] = value
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def tiny(names, labels, category="object", **more):
    """One concept map over plain pictures of its size."""
    count, height, width = labels.shape
    concepts = (ConceptMap(category, labels, names), *more.pop("others", ()))
    images = torch.zeros(count, 3, height, width, dtype=torch.uint8)
    return ImageSet(
        "tiny", images, torch.zeros(count, dtype=torch.int64), ("thing",), ("all",), (0,), concepts=concepts
    )


# ---- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_label_comes_back_by_name(scenes, exported, category):
    back = BrodenFolder(exported).load()
    assert (names_per_pixel(back.concept_map(category)) == names_per_pixel(scenes.concept_map(category))).all()
    assert back.concept_map(category).names == scenes.concept_map(category).names


def test_pictures_come_back_exactly(scenes, exported):
    assert torch.equal(BrodenFolder(exported).load().images, scenes.images)


def test_batches_stream_what_load_gives(exported):
    folder = BrodenFolder(exported)
    whole = folder.load()
    batches = list(folder.batches(7))
    assert [len(batch.images) for batch in batches] == [7, 7, 7, 3]
    assert torch.equal(torch.cat([batch.images for batch in batches]), whole.images)
    for category in CATEGORIES:
        assert torch.equal(
            torch.cat([batch.concepts[category] for batch in batches]), whole.concept_map(category).labels
        )


def test_labels_of_whole_images_are_numbers_in_the_index_and_cost_no_memory(exported):
    assert all(row["scene"].isdecimal() for row in table(exported / "index.csv"))
    assert BrodenFolder(exported).load().concept_map("scene").labels.stride()[1:] == (0, 0)


def test_files_have_the_columns_of_broden(exported):
    assert list(table(exported / "index.csv")[0])[:6] == ["image", "split", "ih", "iw", "sh", "sw"]
    assert list(table(exported / "category.csv")[0]) == ["name", "first", "last", "count", "frequency"]
    assert list(table(exported / "label.csv")[0]) == ["number", "name", "category", "frequency", "coverage", "syns"]
    for category in CATEGORIES:
        assert list(table(exported / f"c_{category}.csv")[0]) == ["code", "number", "name", "frequency", "coverage"]


def test_frequencies_and_coverages_are_counted_from_the_masks(scenes, exported):
    concept = scenes.concept_map("material")
    for row in table(exported / "c_material.csv"):
        mask = concept.labels == concept.names.index(row["name"])
        assert int(row["frequency"]) == int(mask.flatten(1).any(1).sum())
        assert float(row["coverage"]) == pytest.approx(float(mask.double().mean((1, 2)).sum()))


def test_half_size_masks_take_the_nearest_pixels(scenes, tmp_path):
    folder = BrodenFolder(export_broden(scenes, tmp_path / "half", mask_scale=0.5))
    assert folder.image_size == (20, 20)
    assert folder.mask_size == (10, 10)
    labels = folder.load().concept_map("object").labels
    assert torch.equal(labels, scenes.concept_map("object").labels[:, 1::2, 1::2].int())


def test_more_labels_than_a_byte_holds(tmp_path):
    # Numbers run over all categories: 400 objects and 300 parts reach number 700 = 188 + 256 * 2.
    objects = torch.arange(401, dtype=torch.int32).view(1, 1, 401)
    parts = (torch.arange(401, dtype=torch.int32) % 301).view(1, 1, 401)
    part_map = ConceptMap("part", parts, ("unlabelled", *(f"part {i}" for i in range(1, 301))))
    image_set = tiny(("unlabelled", *(f"object {i}" for i in range(1, 401))), objects, others=(part_map,))
    folder = export_broden(image_set, tmp_path / "many")
    with Image.open(folder / "images" / "000000_part.png") as mask:
        assert mask.getpixel((300, 0)) == (700 % 256, 700 // 256, 0)
    back = BrodenFolder(folder).load()
    assert torch.equal(back.concept_map("object").labels, objects)
    assert torch.equal(back.concept_map("part").labels, parts)


def test_no_name_of_concept_world_is_in_two_categories(scenes):
    """So that its exports come back as they were: a label that is would count in one category alone."""
    names = [name for concept in scenes.concepts for name in concept.names[1:]]
    assert len(set(names)) == len(names)


@pytest.fixture
def shared(tmp_path):
    """An exported folder in which "wood" is an object on one pixel and a material on three, one of them the same."""
    wood = torch.tensor([[[1, 0], [0, 1]]])
    materials = torch.tensor([[[2, 2], [2, 1]]])
    return export_broden(
        tiny(
            ("unlabelled", "wood"), wood, others=(ConceptMap("material", materials, ("unlabelled", "glass", "wood")),)
        ),
        tmp_path / "shared",
    )


def test_a_name_in_two_categories_has_one_number_and_one_primary_category(shared):
    rows = {row["name"]: row for row in table(shared / "label.csv")}
    assert rows["wood"]["category"] == "material(1);object(1)"
    number = rows["wood"]["number"]
    assert table(shared / "c_object.csv")[0]["number"] == table(shared / "c_material.csv")[1]["number"] == number
    for one_category in (True, False):
        read = BrodenFolder(shared, one_category=one_category)
        assert read.primary_category == {int(number): "material", int(rows["glass"]["number"]): "material"}


def test_a_label_counts_in_its_primary_category_wherever_it_is_annotated(shared):
    read = BrodenFolder(shared)
    assert read.concept_names == {"object": ("unlabelled",), "material": ("unlabelled", "glass", "wood")}
    assert read.layers(0, "object") == []
    # The last pixel is glass as a material and wood as an object; the first is wood as both, once.
    assert [layer.tolist() for layer in read.layers(0, "material")] == [[[2, 2], [2, 1]], [[2, 0], [0, 2]]]
    [batch] = read.batches()
    assert batch.concepts["object"].tolist() == [[[0, 0], [0, 0]]]
    assert batch.concepts["material"].tolist() == [[[[2, 2], [2, 1]], [[0, 0], [0, 2]]]]


def test_a_label_may_be_a_concept_of_each_category(shared):
    read = BrodenFolder(shared, one_category=False)
    assert read.concept_names["object"] == ("unlabelled", "wood")
    loaded = read.load()
    assert loaded.concept_map("object").labels.tolist() == [[[1, 0], [0, 1]]]
    assert loaded.concept_map("material").labels.tolist() == [[[2, 2], [2, 1]]]


def test_a_category_whose_labels_count_elsewhere_is_dissected_with_the_others(shared):
    model = torch.nn.Conv2d(3, 2, 1)
    assert list(dissect(torch.nn.Sequential(model), BrodenFolder(shared), "0").iou) == ["material"]


def test_grey_pictures_come_back_as_rgb(tmp_path):
    labels = torch.ones(2, 3, 4, dtype=torch.int64)
    pictures = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    grey = ImageSet(
        "grey",
        pictures,
        torch.zeros(2, dtype=torch.int64),
        ("a",),
        ("b",),
        (0,),
        concepts=(ConceptMap("part", labels, ("unlabelled", "all")),),
    )
    assert torch.equal(
        BrodenFolder(export_broden(grey, tmp_path / "grey")).load().images, pictures.expand(-1, 3, -1, -1)
    )


# ---- layers, empty cells, zeros -------------------------------------------------------------------------------------


@pytest.fixture
def layered(tmp_path):
    """A folder written by hand as the original would be: 2 images, masks of 2x2, numbers 7 and 300."""
    folder = tmp_path / "layered"
    (folder / "images" / "a").mkdir(parents=True)
    for name in ("one", "two"):
        Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(folder / "images" / "a" / f"{name}.jpg")
    dominant = np.zeros((2, 2, 3), np.uint8)
    dominant[0, 0] = (300 - 256, 1, 0)
    second = np.zeros((2, 2, 3), np.uint8)
    second[0] = (7, 0, 0)
    Image.fromarray(dominant).save(folder / "images" / "a" / "one_object.png")
    Image.fromarray(second).save(folder / "images" / "a" / "one_object_2.png")
    (folder / "index.csv").write_text(
        "image,split,ih,iw,sh,sw,object,scene\n"
        "a/one.jpg,train,4,4,2,2,a/one_object.png;a/one_object_2.png,0\n"
        "a/two.jpg,val,4,4,2,2,7;300,12\n"
    )
    (folder / "c_object.csv").write_text("code,number,name,frequency,coverage\n1,7,dog,2,1.5\n2,300,cat,2,1.25\n")
    (folder / "c_scene.csv").write_text("code,number,name,frequency,coverage\n1,12,beach,1,1.0\n")
    return folder


def test_layers_come_dominant_first(layered):
    folder = BrodenFolder(layered)
    first, second = folder.layers(0, "object")
    assert first.tolist() == [[2, 0], [0, 0]]
    assert second.tolist() == [[1, 1], [0, 0]]
    assert [layer.tolist() for layer in folder.layers(1, "object")] == [[[1, 1], [1, 1]], [[2, 2], [2, 2]]]


def test_batches_show_all_labels_of_each_pixel_the_dominant_one_first(layered):
    [batch] = BrodenFolder(layered).batches(2)
    assert batch.concepts["object"].tolist() == [
        [[[2, 1], [0, 0]], [[1, 0], [0, 0]]],
        [[[1, 1], [1, 1]], [[2, 2], [2, 2]]],
    ]
    assert batch.concepts["object"].dtype == torch.int32
    assert tuple(batch.concepts["scene"].shape) == (2, 2, 2)


def test_labels_and_load_show_the_dominant_label_of_each_pixel(layered):
    folder = BrodenFolder(layered)
    assert folder.labels(0, "object").tolist() == [[2, 1], [0, 0]]
    assert folder.load().concept_map("object").labels.tolist() == [[[2, 1], [0, 0]], [[1, 1], [1, 1]]]


def test_layers_of_whole_images_take_no_memory(layered):
    whole = BrodenFolder(layered).subset(torch.tensor([1]))
    [batch] = whole.batches()
    assert tuple(batch.concepts["object"].shape) == (1, 2, 2, 2)
    assert batch.concepts["object"].stride()[-2:] == (0, 0)
    assert whole.labels(0, "object").stride() == (0, 0)
    assert whole.load().concept_map("object").labels.stride()[1:] == (0, 0)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("7;7", [[1, 1], [1, 1]]),  # a label that comes twice counts once
        ("a/one_object.png;a/one_object.png", [[2, 0], [0, 0]]),
        ("7;a/one_object_2.png", [[1, 1], [1, 1]]),
        ("0;300", [[2, 2], [2, 2]]),
        ("a/one_object_2.png;300", [[[1, 1], [2, 2]], [[2, 2], [0, 0]]]),
        ("300;a/one_object_2.png;7", [[[2, 2], [2, 2]], [[1, 1], [1, 1]]]),
    ],
)
def test_what_a_cell_stands_for(layered, cell, expected):
    change_cell(layered, 0, "object", cell)
    [batch] = BrodenFolder(layered).subset(torch.tensor([0])).batches()
    assert batch.concepts["object"].tolist() == [expected]


def add_material(folder, *cells):
    """Number 7, an object, as a material; number 21 is a material alone."""
    index = (folder / "index.csv").read_text().splitlines()
    index = [f"{line},{cell}" for line, cell in zip(index, ("material", *cells), strict=True)]
    (folder / "index.csv").write_text("\n".join(index) + "\n")
    (folder / "c_material.csv").write_text("code,number,name,frequency,coverage\n1,7,dog,2,1.25\n2,21,fur,1,1\n")


def test_labels_of_other_categories_masks_are_further_layers(layered):
    add_material(layered, "7;21", "a/one_object_2.png;21")
    folder = BrodenFolder(layered)
    assert folder.concept_names["object"] == ("unlabelled", "dog", "cat")  # 1.5 as an object
    assert folder.concept_names["material"] == ("unlabelled", "fur")
    [batch] = folder.batches()
    assert batch.concepts["material"].tolist() == [[[1, 1], [1, 1]]] * 2
    # Of image 0 every pixel is a dog, by the material's cell; two of them were one already.
    assert batch.concepts["object"][0].tolist() == [[[2, 1], [1, 1]], [[1, 0], [0, 0]]]
    assert batch.concepts["object"][1].tolist() == [[[1, 1], [1, 1]], [[2, 2], [2, 2]]]
    apart = BrodenFolder(layered, one_category=False)
    assert apart.concept_names["material"] == ("unlabelled", "dog", "fur")
    assert apart.labels(0, "object").tolist() == [[2, 1], [0, 0]]
    assert [layer.tolist() for layer in apart.layers(0, "material")] == [[[1, 1], [1, 1]], [[2, 2], [2, 2]]]


def test_the_largest_coverage_decides_and_of_equal_ones_the_first_category(layered):
    add_material(layered, "7", "")
    for coverage, expected in (("1.4", "object"), ("1.5", "object"), ("1.6", "material")):
        text = (layered / "c_material.csv").read_text()
        (layered / "c_material.csv").write_text(text.replace(text.split("\n")[1], f"1,7,dog,2,{coverage}"))
        assert BrodenFolder(layered).primary_category == {7: expected, 300: "object", 12: "scene", 21: "material"}


def test_a_number_with_two_names_is_told(layered):
    add_material(layered, "7", "")
    text = (layered / "c_material.csv").read_text()
    (layered / "c_material.csv").write_text(text.replace("dog", "wool"))
    with pytest.raises(
        KdlibError, match=r"number 7 is 'dog' in .*c_object.csv and 'wool' in c_material.csv; take both"
    ):
        BrodenFolder(layered)
    assert BrodenFolder(layered, one_category=False).concept_names["material"] == ("unlabelled", "wool", "fur")


def test_scene_zero_is_dropped_and_images_of_all_splits_are_read(layered):
    folder = BrodenFolder(layered)
    assert len(folder) == 2
    assert folder.layers(0, "scene") == []
    assert folder.load().concept_map("scene").labels[:, 0, 0].tolist() == [0, 1]
    assert folder.concept_names["scene"] == ("unlabelled", "beach")


def test_an_empty_cell_is_unlabelled(folder):
    change_cell(folder, 0, "object", "")
    assert not BrodenFolder(folder).labels(0, "object").any()


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index.csv", "c_part.csv"])
def test_a_missing_table_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(KdlibError, match=name):
        BrodenFolder(folder)


@pytest.mark.parametrize("name", ["000002.png", "000002_part.png"])
def test_a_missing_picture_or_mask_is_named(folder, name):
    (folder / "images" / name).unlink()
    with pytest.raises(KdlibError, match=name):
        list(BrodenFolder(folder).batches())


@pytest.mark.parametrize("name", ["000002.png", "000002_part.png"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.7])
def test_a_truncated_picture_or_mask_is_named(folder, name, kept):
    path = folder / "images" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(KdlibError, match=name):
        BrodenFolder(folder).load()


def test_a_mask_of_the_wrong_size_is_named(folder):
    Image.new("RGB", (21, 20)).save(folder / "images" / "000004_color.png")
    with pytest.raises(KdlibError, match=r"000004_color.png is 20x21, but index.csv says 20x20"):
        BrodenFolder(folder).load()


def test_a_mask_without_a_green_channel_is_named(folder):
    Image.new("L", (20, 20)).save(folder / "images" / "000004_color.png")
    with pytest.raises(KdlibError, match=r"000004_color.png is a picture of mode L"):
        BrodenFolder(folder).load()


def test_a_label_without_an_entry_is_named(folder):
    Image.new("RGB", (20, 20), (5, 200, 0)).save(folder / "images" / "000004_color.png")
    with pytest.raises(KdlibError, match=r"000004_color.png has label 51205, which c_color.csv does not list"):
        BrodenFolder(folder).load()
    change_cell(folder, 4, "color", "1")  # a number of another category
    with pytest.raises(KdlibError, match=r"'000004.png'.* has label 1, which c_color.csv does not list"):
        BrodenFolder(folder).load()


@pytest.mark.parametrize("column", ["image", "sw"])
def test_a_missing_column_is_named(folder, column):
    index = folder / "index.csv"
    header, rest = index.read_text().split("\n", 1)
    index.write_text(header.replace(column, "other", 1) + "\n" + rest)
    with pytest.raises(KdlibError, match=rf"index.csv lacks the column '{column}'"):
        BrodenFolder(folder)


def test_a_missing_column_is_told_with_a_remedy(folder):
    index = folder / "index.csv"
    index.write_text(index.read_text().replace("image,", "picture,", 1))
    with pytest.raises(
        KdlibError, match=r"lacks the column 'image'; is it Broden's\? If so, copy or download it again$"
    ):
        BrodenFolder(folder)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_that_the_index_lacks_is_told(folder, category):
    index = folder / "index.csv"
    header, rest = index.read_text().split("\n", 1)
    index.write_text(header.replace(category, "other") + "\n" + rest)
    with pytest.raises(
        KdlibError,
        match=rf"index.csv lacks the column '{category}', though c_{category}.csv is there; copy or download it again$",
    ):
        BrodenFolder(folder)
    (folder / f"c_{category}.csv").unlink()
    with pytest.raises(
        KdlibError,
        match=rf"index.csv lacks the column '{category}', though category.csv names it; copy or download it again$",
    ):
        BrodenFolder(folder)
    summary = folder / "category.csv"
    summary.write_text("".join(line for line in summary.open() if not line.startswith(category)))
    assert BrodenFolder(folder).categories == tuple(name for name in CATEGORIES if name != category)
    summary.unlink()
    assert category not in BrodenFolder(folder).concept_names


@pytest.mark.parametrize("coverage", ["much", "nan", "-1", "inf", ""])
def test_a_coverage_that_is_none_is_told(layered, coverage):
    (layered / "c_scene.csv").write_text(f"code,number,name,frequency,coverage\n1,12,beach,1,{coverage}\n")
    with pytest.raises(KdlibError, match=r"coverage of 'beach' in .*c_scene.csv must be a number of at least 0, not"):
        BrodenFolder(layered)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("name", "FIRST", r"c_object.csv has '.*' twice, as numbers \d+ and \d+; copy"),
        ("name", " \u00a0", r"c_object.csv gives no name to number \d+; copy"),
        ("number", "999999999999", r"c_object.csv has the number 999999999999, more than 16,777,215; copy"),
    ],
)
def test_a_label_that_is_none_of_its_own_is_told(folder, column, value, message):
    rows = table(folder / "c_object.csv")
    rows[1][column] = unicodedata.normalize("NFD", rows[0]["name"]) + " " if value == "FIRST" else value
    with (folder / "c_object.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(KdlibError, match=message):
        BrodenFolder(folder)


def test_an_image_that_is_listed_again_is_told(folder):
    change_cell(folder, 1, "image", table(folder / "index.csv")[0]["image"])
    with pytest.warns(UserWarning, match=r"index.csv lists 1 images again; they count twice: delete these lines"):
        BrodenFolder(folder)


@pytest.mark.parametrize("place", ["/etc/passwd", "../000000.png", "more/../../a.png"])
@pytest.mark.parametrize("column", ["image", "object"])
def test_an_index_names_nothing_outside_of_the_folder(folder, column, place):
    change_cell(folder, 0, column, place)
    with pytest.raises(KdlibError, match=rf"index.csv names '{place}', which is not below images; copy or download"):
        next(BrodenFolder(folder).batches(4))


def test_an_image_that_is_listed_again_by_another_path_is_told(folder):
    change_cell(folder, 1, "image", "./000000.png")
    with pytest.warns(UserWarning, match="lists 1 images again; they count twice"):
        BrodenFolder(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("\u200b", "gives no name to number 13"),
        ("bea\u00adch", "has 'beach' twice, as numbers 12 and 13"),
        ("unlabelled", "names number 13 'unlabelled', which is no plain text or stands for no label"),
        ('"a\nb"', r"names number 13 'a\\nb', which is no plain text"),
    ],
)
def test_a_name_that_is_not_seen_or_means_no_label_is_told(layered, name, message):
    table = f"code,number,name,frequency,coverage\n1,12,beach,1,1\n2,13,{name},1,1\n"
    (layered / "c_scene.csv").write_text(table, encoding="utf-8")
    with pytest.raises(KdlibError, match=rf"c_scene.csv {message}"):
        BrodenFolder(layered)


def test_an_index_cut_short_is_noticed(folder):
    index = folder / "index.csv"
    content = index.read_text()
    index.write_text(content[: content.rindex(",") - 20])
    with pytest.raises(KdlibError, match=r"index.csv"):
        BrodenFolder(folder)


@pytest.mark.parametrize(("column", "value"), [("ih", "x"), ("sw", "0"), ("iw", "21")])
def test_bad_sizes_are_refused(folder, column, value):
    change_cell(folder, 1, column, value)
    with pytest.raises(KdlibError, match=r"index.csv"):
        BrodenFolder(folder)


@pytest.mark.parametrize("name", ["images/000001_object.png", "images/000001.png", "index.csv", "c_part.csv"])
def test_random_damage_is_told_in_one_sentence_or_does_no_harm(folder, name):
    path, random = folder / name, np.random.default_rng(0)
    whole = path.read_bytes()
    refused = 0
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[random.integers(len(damaged))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            BrodenFolder(folder).load()
        except KdlibError as error:  # any other exception fails the test
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


# ---- writing --------------------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_left_alone(scenes, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("work")
    with pytest.raises(KdlibError, match="not an empty folder"):
        export_broden(scenes, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_taken(scenes, tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(BrodenFolder(export_broden(scenes, tmp_path / "empty"))) == len(scenes)


def test_an_interrupted_export_leaves_nothing(scenes, tmp_path, monkeypatch):
    saved = []

    def fail_at_the_tenth(self, path, *more, **options):
        saved.append(path)
        if len(saved) == 10:
            raise OSError(28, "No space left on device")
        path.write_bytes(b"")

    monkeypatch.setattr(Image.Image, "save", fail_at_the_tenth)
    with pytest.raises(KdlibError, match="No space left"):
        export_broden(scenes, tmp_path / "world")
    assert len(saved) == 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask_scale", [0.0, -1.0, 1.5, float("nan"), 0.01])
def test_bad_mask_scales_are_refused(scenes, tmp_path, mask_scale):
    with pytest.raises(KdlibError, match="mask_scale"):
        export_broden(scenes, tmp_path / "world", mask_scale=mask_scale)


def test_images_without_concepts_are_refused(scenes, tmp_path):
    plain = ImageSet("plain", scenes.images, scenes.labels, scenes.class_names, ("all",), (0,) * 20)
    with pytest.raises(KdlibError, match="no concept maps"):
        export_broden(plain, tmp_path / "world")


def test_one_name_twice_in_a_category_is_refused(tmp_path):
    with pytest.raises(KdlibError, match="'dog' twice"):
        export_broden(tiny(("unlabelled", "dog", "dog"), torch.ones(1, 2, 2, dtype=torch.int64)), tmp_path / "world")


# ---- use ------------------------------------------------------------------------------------------------------------


def test_dissection_of_a_folder_equals_that_of_the_images_in_memory(scenes, exported):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.ReLU())
    of_folder, of_memory = (dissect(model, probe, "1", quantile=0.05) for probe in (BrodenFolder(exported), scenes))
    assert of_folder.best_concept == of_memory.best_concept
    for category in CATEGORIES:
        torch.testing.assert_close(of_folder.iou[category], of_memory.iou[category], rtol=0, atol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_who_decodes_does_not_matter(exported, workers):
    expected = BrodenFolder(exported).load()
    found = list(BrodenFolder(exported, workers=workers).batches(7))
    assert [len(batch.labels) for batch in found] == [7, 7, 7, 3]
    assert torch.equal(torch.cat([batch.images for batch in found]), expected.images)
    for category in CATEGORIES:
        labels = torch.cat([batch.concepts[category] for batch in found])
        assert torch.equal(labels, expected.concept_map(category).labels)


def test_image_level_labels_take_no_memory_when_workers_send_them(exported):
    batch = next(BrodenFolder(exported, workers=1).batches(7))
    assert batch.concepts["scene"].stride()[1:] == (0, 0)


def test_damage_is_one_sentence_also_from_a_worker(folder):
    picture = next((folder / "images").rglob("*.png"))
    picture.unlink()
    with pytest.raises(KdlibError) as error:
        list(BrodenFolder(folder, workers=1).batches(5))
    assert str(picture) in str(error.value)
    assert str(error.value).endswith("is missing; copy or download the folder again")
    assert len(str(error.value).splitlines()) == 1


def test_a_part_of_the_folder_is_read_like_the_whole(exported):
    whole = BrodenFolder(exported)
    part = whole.subset(torch.tensor([5, 0]))
    assert (len(part), len(whole)) == (2, 24)
    assert torch.equal(part.load().images, whole.load().images[[5, 0]])
    assert torch.equal(part.labels(0, "part"), whole.labels(5, "part"))


# ---- text tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index.csv", "category.csv", "c_part.csv", "c_object.csv"])
def test_tables_with_a_byte_order_mark_and_other_line_ends_are_read(folder, name):
    before = BrodenFolder(folder).concept_names
    text = (folder / name).read_text().replace("\r\n", "\n")
    (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert BrodenFolder(folder).concept_names == before


def test_names_of_two_unicode_forms_are_one(layered):
    add_material(layered, "7", "")
    for path, form in (("c_object.csv", "NFC"), ("c_material.csv", "NFD")):
        text = (layered / path).read_text().replace("dog", unicodedata.normalize(form, "é"))
        (layered / path).write_text(text, encoding="utf-8")
    assert BrodenFolder(layered).concept_names["object"][1] == "é"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("12,beach", '12,"beach', r"of .*c_scene.csv is no CSV \(.*\); copy or download it again"),
        ("beach", "x" * 200_000, r"line 2 of .*c_scene.csv is no CSV \(field larger than field limit"),
        ("frequency", "name", r"c_scene.csv has the column 'name' twice"),
        ("beach", "beach,sand", r"line 2 of .*c_scene.csv has 6 cells in 5 columns"),
        (",1,1.0", "", r"line 2 of .*c_scene.csv has too few cells"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(layered, old, new, message):
    path = layered / "c_scene.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(KdlibError, match=message):
        BrodenFolder(layered)


def test_a_table_in_utf_16_is_told(layered):
    path = layered / "c_scene.csv"
    path.write_bytes(path.read_text().encode("utf-16"))
    with pytest.raises(KdlibError, match=r"c_scene.csv is UTF-16 text; save it as UTF-8"):
        BrodenFolder(layered)


def test_a_number_beyond_all_labels_is_told(layered):
    change_cell(layered, 0, "object", "9" * 5000)
    with pytest.raises(KdlibError, match=r"has a label of 5000 digits, '999999999...'"):
        BrodenFolder(layered).load()


def test_a_mask_of_16_bits_is_told(folder):
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(folder / "images" / "000004_color.png")
    with pytest.raises(KdlibError, match=r"000004_color.png has more than 8 bits a channel"):
        BrodenFolder(folder).load()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text(max_size=4), max_size=6), max_size=4), st.binary(max_size=4))
def test_any_table_is_read_or_refused_in_one_sentence(rows, rest):
    text = io.StringIO()
    csv.writer(text).writerows([["code", "number", "name", "coverage"], *rows])
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "c_object.csv"
        path.write_bytes(text.getvalue().encode("utf-8", errors="replace") + rest)
        try:
            assert all(number > 0 for number in read_category(Path(home), "object"))
        except KdlibError as error:
            assert "\n" not in str(error).replace(home, "")
