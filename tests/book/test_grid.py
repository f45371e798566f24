"""The grid of a sweep: what is read from -p, what is refused, and the folders of its cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from toy_notebooks import PARAMETERS

from kdlib.book.grid import MOST_CELLS, Cell, read_grid
from kdlib.book.parameters import read_parameters
from kdlib.errors import KdlibError

FORM = read_parameters(PARAMETERS)


def values(**given: str):
    return dict(read_grid(FORM, given, "toy").values)


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("temperature", "1,2,4,8", (1.0, 2.0, 4.0, 8.0)),
        ("temperature", " 0.5 , 1e2 ", (0.5, 100.0)),
        ("temperature", "4", (4.0,)),
        ("seed", "0..3", (0, 1, 2, 3)),
        ("seed", "5..5", (5,)),
        ("seed", "0..1,7", (0, 1, 7)),
        ("preset", "smoke,quick", ("smoke", "quick")),
        ("words", "a,b", (["a"], ["b"])),
        ("words", "[a,b],(c,d)", (["a", "b"], ["c", "d"])),
    ],
)
def test_values_are_read_in_their_order_and_typed(name, text, read):
    assert values(**{name: text})[name] == read


def test_cells_are_all_combinations_the_last_parameter_fastest():
    grid = read_grid(FORM, {"temperature": "1,4", "seed": "0..1"}, "toy")
    assert [tuple(cell.values.values()) for cell in grid.cells] == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert grid.varied == ("temperature", "seed")
    assert read_grid(FORM, {"temperature": "1,4", "seed": "3"}, "toy").varied == ("temperature",)


@pytest.mark.parametrize(
    ("given_texts", "message"),
    [
        ({}, r"no cell without -p; give one, such as -p name=1,2,4 \(parameters of toy: preset, seed"),
        ({"temprature": "1,2"}, "unknown parameter of toy 'temprature'; did you mean 'temperature'"),
        ({"temperature": "1,0"}, "temperature must be a finite number greater than 1e-09 and less than 1e.06, not 0.0"),
        ({"temperature": "1,hot"}, "temperature must be a number, not 'hot'"),
        ({"temperature": "1,,2"}, "temperature has an empty value in 'temperature=1,,2'"),
        ({"temperature": ""}, "temperature has an empty value"),
        ({"temperature": "4,2,4.0"}, "temperature has the value 4.0 twice; give it once"),
        ({"seed": "3..0"}, "seed=3..0 is an empty range; write the smaller number first: 0..3"),
        ({"seed": "-1..1"}, "seed must be a whole number from 0"),
        ({"seed": "0..1000"}, "a sweep may have 1,000 cells, and with seed=0..1000 this one has more"),
        ({"seed": "0..999999999999999999"}, "a sweep may have 1,000 cells"),
        ({"seed": "0..99", "temperature": "1,2,3,4,5,6,7,8,9,10,11"}, "a sweep may have 1,000 cells"),
        ({"preset": "smoke,qick"}, "unknown preset 'qick'; did you mean 'quick'"),
    ],
)
def test_what_can_t_be_swept_is_refused_in_one_sentence(given_texts, message):
    with pytest.raises(KdlibError, match=message) as refused:
        read_grid(FORM, given_texts, "toy")
    assert "\n" not in str(refused.value)


def test_as_many_cells_as_may_be_are_taken():
    assert len(read_grid(FORM, {"seed": f"1..{MOST_CELLS}"}, "toy").cells) == MOST_CELLS


def test_a_folder_s_name_tells_its_cell_and_differs_where_values_do():
    assert Cell({"temperature": 0.5, "seed": 3, "preset": "quick"}).name == "temperature=0.5,seed=3,preset=quick"
    odd = [True, "true", None, "None", "A", "a", ["a"], ["a", "b"], "../up", "..%2Fup", "x" * 500, "x" * 501, "é"]
    names = [Cell({"p": value}).name for value in odd]
    assert len({name.casefold() for name in names}) == len(odd)
    for name in names:
        assert "/" not in name and len(name) <= 150


@given(some.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        assert read_grid(FORM, {"words": text}, "toy").cells
    except KdlibError as error:
        assert str(error).isprintable()


@given(some.lists(some.floats(1e-6, 999_999.0), min_size=2, max_size=6, unique=True))
def test_different_numbers_have_different_folders(numbers):
    grid = read_grid(FORM, {"temperature": ",".join(map(repr, numbers))}, "toy")
    assert len({cell.name for cell in grid.cells}) == len(numbers)
    assert list(grid.values["temperature"]) == numbers
