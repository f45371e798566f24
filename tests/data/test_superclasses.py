"""superclasses.csv as people save it, and one sentence with the line for whatever is wrong in it."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlib.data.superclasses import read_superclasses
from kdlib.data.text_tables import same_form
from kdlib.errors import KdlibError

CLASSES = ("caf\u00e9", "cat", "dog")
GOOD = "class,superclass\ncaf\u00e9,place\ncat,animal\ndog,animal\n"


def read(folder: Path, text: str | bytes, classes: tuple[str, ...] = CLASSES):
    (folder / "superclasses.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_superclasses(folder, classes)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "\ufeff" + GOOD,
        "\ufeff\ufeff" + GOOD,
        GOOD.replace(",animal", ', "animal"'),
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD.replace("\n", "\r"),
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\n\n,\n"),
        GOOD.replace(",", " , "),
        unicodedata.normalize("NFD", GOOD),
        '"class","superclass"\n"cat","animal"\n"dog","animal"\n"caf\u00e9","place"\n',
    ],
)
def test_is_read_as_any_editor_saves_it(tmp_path, text):
    assert read(tmp_path, text) == (("place", "animal"), (0, 1, 1))


def test_class_names_of_another_unicode_form_are_the_same(tmp_path):
    decomposed = tuple(unicodedata.normalize("NFD", name) for name in CLASSES)
    assert read(tmp_path, GOOD, decomposed) == (("place", "animal"), (0, 1, 1))


def test_superclasses_of_two_unicode_forms_are_one(tmp_path):
    forms = [unicodedata.normalize(form, "\u00e9tage") for form in ("NFC", "NFD")]
    text = f"class,superclass\ncaf\u00e9,{forms[0]}\ncat,{forms[1]}\ndog,b\n"
    assert read(tmp_path, text) == (("\u00e9tage", "b"), (0, 0, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "cat,vehicle\n", r"lists class 'cat' in line 3 and line 5; delete one of them"),
        (GOOD + "cat,animal\n", r"lists class 'cat' in line 3 and line 5"),
        (GOOD + unicodedata.normalize("NFD", "caf\u00e9,b\n"), r"lists class 'caf\u00e9' in line 2 and line 5"),
        (GOOD.replace("cat,animal", "cat,"), r"line 3 of .* gives class 'cat' an empty superclass; fill it in"),
        (GOOD.replace("cat,animal", "cat, \u00a0"), r"line 3 of .* gives class 'cat' an empty superclass"),
        (GOOD.replace("cat,animal", "cat,\u200b\ufeff"), r"line 3 of .* gives class 'cat' an empty superclass"),
        (GOOD.replace("cat,animal", "cat,\x1b[31m"), r"line 3 of .* has the superclass '.*', no plain text; rename it"),
        (GOOD.replace("cat,animal", 'cat,"two\nlines"'), r"line 4 of .* has the superclass '.*', no plain text"),
        (GOOD.replace("cat,animal", "cat,Animal"), r"has the superclasses 'Animal' and 'animal'; write them alike"),
        (
            GOOD.replace("animal", "big one", 1).replace("animal", "big\u00a0 one"),
            r"the superclasses 'big one' and 'big",
        ),
        (GOOD.replace("cat,", ",", 1), r"unknown class in line 3 of .* ''"),
        (GOOD.replace("cat,", "cta,"), r"unknown class in line 3 of .* 'cta'; did you mean 'cat'"),
        (GOOD.replace("dog,animal\n", ""), r"gives no superclass to class 'dog'; add a line for it"),
        (GOOD.replace(",", ";"), r"must hold the header 'class,superclass' and two cells a line, separated by a comma"),
        (GOOD.replace("cat,animal", "cat,animal,pet"), r"must hold the header .* and two cells a line"),
        (GOOD.replace("cat", '"cat'), r"is no CSV"),
        (GOOD.replace("cat,animal", f"cat,{'x' * 200_000}"), r"line 3 of .* is no CSV \(field larger"),
        (GOOD.encode("utf-16"), r"is UTF-16 text; save it as UTF-8"),
        (GOOD.encode("latin-1"), r"is not UTF-8 text \(byte \d+\)"),
        ("", r"must hold the header"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, text, message):
    with pytest.raises(KdlibError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_folder_of_that_name_is_refused(tmp_path):
    (tmp_path / "superclasses.csv").mkdir()
    with pytest.raises(KdlibError, match="is a folder, pipe or device, not a file"):
        read_superclasses(tmp_path, CLASSES)


@pytest.mark.parametrize(
    "name", ["Superclasses.csv", "superclasses.csv.txt", "superclass.csv", "superclasses.CSV", "super_classes.xlsx"]
)
def test_a_file_that_is_meant_for_it_is_refused(tmp_path, name):
    (tmp_path / name).write_text(GOOD)
    if (tmp_path / "superclasses.csv").exists():
        pytest.skip("this file system knows one case only")
    with pytest.raises(KdlibError, match=rf"{name} is not read; call it superclasses.csv, or something else"):
        read_superclasses(tmp_path, CLASSES)


def test_in_a_part_or_class_it_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "superclasses.csv").write_text(GOOD)
    with pytest.raises(KdlibError, match=r"train.superclasses.csv is not read; put it into .*, or remove it"):
        read_superclasses(tmp_path, CLASSES)


def test_a_link_to_nothing_is_refused(tmp_path):
    (tmp_path / "superclasses.csv").symlink_to("gone.csv")
    with pytest.raises(KdlibError, match=r"superclasses.csv is a link to nothing; mend or remove it"):
        read_superclasses(tmp_path, CLASSES)


def test_a_class_may_be_called_superclass(tmp_path):
    (tmp_path / "superclass").mkdir()
    assert read_superclasses(tmp_path, CLASSES) == (("all",), (0, 0, 0))


WORD = st.text(st.characters(categories=("Ll", "Lu", "Nd", "Zs", "Po"), exclude_characters='"'), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(WORD.map(same_form).filter(bool), WORD, min_size=1), st.data())
def test_every_class_gets_its_superclass_in_whatever_order_the_lines_are(owner, data):
    classes = tuple(owner)
    lines = [f'"{name}","{owner[name]}"\n' for name in data.draw(st.permutations(classes))]
    with tempfile.TemporaryDirectory() as home:
        text = "class,superclass\n" + "".join(lines)
        spelt = {same_form(name) for name in owner.values()}
        if not all(spelt) or len({" ".join(name.casefold().split()) for name in spelt}) < len(spelt):
            with pytest.raises(KdlibError):
                read(Path(home), text, classes)
            return
        names, indices = read(Path(home), text, classes)
    assert [names[index] for index in indices] == [
        unicodedata.normalize("NFC", owner[name]).strip() for name in classes
    ]


def test_a_superclass_of_two_lines_is_refused(tmp_path):
    with pytest.raises(KdlibError, match=r"line 4 of .* has the superclass .*, no plain text"):
        read(tmp_path, GOOD.replace("dog,animal", "dog,ani\u2028mal"))


@pytest.mark.parametrize("twin", ["animal\u200b", "ani\u00admal", "\ufeffanimal", "ANIMAL", "ani mal"])
def test_superclasses_that_look_alike_are_refused(tmp_path, twin):
    with pytest.raises(KdlibError, match=r"has the superclasses 'animal' and .*; write them alike, or rename one"):
        read(tmp_path, GOOD.replace("dog,animal", f"dog,{twin}"))


def test_a_file_in_a_part_or_class_is_refused_and_in_another_data_set_left_alone(tmp_path):
    for name in ("flowers", "cat", "valid"):
        (tmp_path / name).mkdir()
    (tmp_path / "flowers/superclasses.csv").touch()
    assert read_superclasses(tmp_path, CLASSES) == (("all",), (0, 0, 0))
    for name in ("cat", "valid"):
        (tmp_path / name / "superclasses.csv").touch()
        with pytest.raises(KdlibError, match=rf"{name}.superclasses.csv is not read; put it into"):
            read_superclasses(tmp_path, CLASSES)
        (tmp_path / name / "superclasses.csv").unlink()
