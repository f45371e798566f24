"""The table and the figure of a sweep: every measured number of every cell, seeds counted once."""

from __future__ import annotations

import csv
import io

import matplotlib.pyplot as plt
import pytest
from bs4 import BeautifulSoup
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from toy_sweeps import metrics

from kdlib.book.grid import Cell, Grid, Outcome
from kdlib.book.sweep_figure import axes_of, draw, panels_of
from kdlib.book.sweep_files import write_results
from kdlib.book.sweep_table import as_csv, as_markdown, numbers, printed, rows


def outcome(temperature: float, seed: int = 0, *, n_seeds: int = 2, **more) -> Outcome:
    cell = Cell({"temperature": temperature, "seed": seed, **more})
    return Outcome(cell, metrics({"temperature": temperature, "seed": seed, "n_seeds": n_seeds}))


FAILED = Outcome(Cell({"temperature": 8.0, "seed": 0}), None, "toy failed | really")
GRID = Grid({"temperature": (1.0, 8.0), "seed": (0, 1)})


def test_a_row_a_cell_a_column_a_number_with_its_mean():
    table = rows([outcome(1.0), FAILED])
    first = numbers(outcome(1.0).metrics)["accuracy/kd"]
    assert table[0]["accuracy/kd (percent)"] == pytest.approx(sum(first.values) / 2)
    assert table[1] == {"temperature": 8.0, "seed": 0, "state": "failed"}
    read = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert list(read[0]) == ["temperature", "seed", "state", "accuracy/kd (percent)", "gain/kd (points)"]
    assert float(read[0]["accuracy/kd (percent)"]) == pytest.approx(first.mean, rel=1e-5)
    assert read[1]["gain/kd (points)"] == ""
    lines = as_markdown(table).splitlines()
    assert lines[2].endswith("| −0.5 |") and lines[3] == "| 8 | 0 | failed |  |  |"


def test_a_table_that_is_too_wide_is_printed_turned_where_that_is_shorter():
    table = rows([outcome(1.0), outcome(8.0)])
    wide, turned = printed(table, 200), printed(table, 40)
    assert wide.splitlines()[0].split("  ")[0] == "temperature" and len(wide.splitlines()) == 3
    assert [line.split()[0] for line in turned.splitlines()][:3] == ["temperature", "seed", "state"]
    assert sorted(wide.split()) == sorted(turned.split())
    many = [outcome(float(number)) for number in range(1, 10)]
    assert len(printed(rows(many), 20).splitlines()) == 10


def test_a_bar_in_a_text_does_not_end_a_cell_of_the_page():
    assert as_markdown([{"words": "a|b"}]).splitlines()[2] == "| a\\|b |"


def test_a_text_keeps_its_hyphen_where_a_number_has_the_sign_of_minus():
    assert as_markdown([{"data_folder": "-5", "gain": -5.0}]).splitlines()[2] == "| -5 | −5 |"


def test_seeds_without_names_count_from_the_parameter():
    assert numbers(outcome(1.0, 5).metrics)["gain/kd"].seeds == (5, 6)
    assert numbers({"temperature": 1}) == {} and numbers(None) == {}


def test_cells_that_differ_in_the_seed_are_one_point_and_no_seed_counts_twice():
    panel = panels_of([outcome(1.0, 0), outcome(1.0, 1), outcome(8.0, 0)], "temperature", ())[0]
    by_seed = {s: v for seed in (0, 1) for s, v in _values(outcome(1.0, seed))}
    assert panel.lines == {"": {1.0: tuple(by_seed.values()), 8.0: tuple(v for _, v in _values(outcome(8.0, 0)))}}
    assert len(panel.lines[""][1.0]) == 3  # seeds 0, 1 and 1, 2
    assert (panel.title, panel.unit) == ("accuracy: Distilled (KD)", "percent")


def _values(one: Outcome):
    number = numbers(one.metrics)["accuracy/kd"]
    return list(zip(number.seeds, number.values, strict=True))


def test_what_varies_beside_the_axis_tells_lines_apart():
    grid = Grid({"data": ("cells", "voc"), "temperature": (1.0, 8.0), "alpha": (0.5,)})
    x, others = axes_of(grid)
    assert (x, others) == ("temperature", ("data",))
    panel = panels_of([outcome(1.0, data="cells"), outcome(1.0, data="voc")], x, others)[0]
    assert list(panel.lines) == ["data cells", "data voc"]
    assert axes_of(Grid({"data": ("cells", "voc")})) == ("data", ())


def test_the_pictures_are_the_same_every_time():
    drawn = draw("toy", GRID, [outcome(1.0), FAILED])
    assert drawn == draw("toy", GRID, [outcome(1.0), FAILED])
    assert drawn[0]["sweep.png"].startswith(b"\x89PNG") and b"</svg>" in drawn[0]["sweep.svg"]
    assert drawn[1].startswith("toy: each measured number over temperature")
    assert not plt.get_fignums()


def test_without_a_measured_number_there_is_a_table_and_no_picture(tmp_path):
    assert len(write_results(tmp_path, "toy", GRID, [outcome(1.0), FAILED])) == 4
    assert [path.name for path in write_results(tmp_path, "toy", GRID, [FAILED])] == ["sweep.csv", "sweep.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.md"]
    assert "- temperature=8,seed=0: toy failed \\| really" in (tmp_path / "sweep.md").read_text()


NAMES = ["$a$ $\\frac", "<script>x()</script>", "a|b*c*`d`_e_", "[l](http://x)", "!{}", "two\nlines", "x" * 3000]


def test_every_name_is_text_in_the_table_the_page_and_the_figure(tmp_path):
    grid = Grid({"data_folder": tuple(NAMES)})
    outcomes = [Outcome(cell, metrics({"temperature": 1.0, "seed": 0, "n_seeds": 1})) for cell in grid.cells]
    failed = Outcome(Cell({"data_folder": "other"}), None, "<script>y()</script> is *no* $name$")
    assert len(write_results(tmp_path, "toy", grid, [*outcomes, failed])) == 4
    read = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert [row["data_folder"] for row in read] == [*NAMES, "other"]
    page = markdown2html_mistune((tmp_path / "sweep.md").read_text())
    soup = BeautifulSoup(page, "html.parser")
    assert not soup.select("script, em, code, p a, td a") and len(soup.select("tbody tr")) == len(NAMES) + 1
    shown = [row.td.get_text() for row in soup.select("tbody tr")]
    assert shown[:5] == NAMES[:5] and shown[5] == "two\\nlines"
    assert soup.select("li")[0].get_text() == "data_folder=other: <script>y()</script> is *no* $name$"
    lines = panels_of(outcomes, *axes_of(grid))[0].lines[""]
    assert len(lines) == len(NAMES) and all(len(place) <= 40 for place in lines)


def test_values_that_differ_in_a_late_digit_are_two_rows_and_two_lines():
    grid = Grid({"temperature": (1.0, 8.0), "alpha": (0.12345671, 0.12345672)})
    outcomes = [Outcome(cell, metrics(dict(cell.values) | {"seed": 0, "n_seeds": 2})) for cell in grid.cells]
    assert list(panels_of(outcomes, *axes_of(grid))[0].lines) == ["alpha 0.12345671", "alpha 0.12345672"]
    table = rows(outcomes)
    read = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [row["alpha"] for row in read[:2]] == ["0.12345671", "0.12345672"] and read[0]["temperature"] == "1"
    assert "| 1 | 0.12345672 | done |" in as_markdown(table) and "0.12345672" in printed(table, 200)
