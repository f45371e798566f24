"""The CSV tables of a folder in Broden's layout (`kdlib.data.broden`), read and checked."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from kdlib.data.image_set import CATEGORIES
from kdlib.errors import KdlibError

Labels = dict[int, tuple[str, float]]  # number -> name and coverage


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file that must have at least these columns."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError as error:
        raise KdlibError(f"there is no {path}; give a folder in Broden's layout") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KdlibError(f"cannot read {path} ({error}); copy or download it again") from error
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise KdlibError(f"{path} lacks the column '{missing[0]}'; is it Broden's? If so, copy or download it again")
    for line, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise KdlibError(f"line {line} of {path} has too few cells; the file may have been cut short")
    return rows


def whole(text: str, what: str, path: Path, minimum: int = 0) -> int:
    """The whole number in a cell, at least `minimum`."""
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if number < minimum:
        raise KdlibError(f"{what} in {path} must be a whole number of at least {minimum}, not '{text}'")
    return number


def require_columns(index: Path, categories: Sequence[str]) -> None:
    """Refuse an index.csv without the column of a category that the folder has a table for, or that it names."""
    summary = index.parent / "category.csv"
    listed = {row["name"] for row in read_table(summary, ("name",))} if summary.exists() else set()
    for category in CATEGORIES:
        table = index.parent / f"c_{category}.csv"
        if category not in categories and (table.exists() or category in listed):
            sign = f"{table.name} is there" if table.exists() else f"{summary.name} names it"
            raise KdlibError(f"{index} lacks the column '{category}', though {sign}; copy or download it again")


def read_category(folder: Path, category: str) -> Labels:
    """Name and coverage of each number of a category, in the order of the codes."""
    path = folder / f"c_{category}.csv"
    table: Labels = {}
    rows = read_table(path, ("code", "number", "name", "coverage"))
    for row in sorted(rows, key=lambda row: whole(row["code"], "code", path)):
        number = whole(row["number"], f"number of '{row['name']}'", path)
        if number == 0:  # "unlabelled" is no concept
            continue
        if number in table:
            raise KdlibError(f"{path} gives number {number} to two labels; copy or download it again")
        try:
            covered = float(row["coverage"])
        except ValueError:
            covered = -1.0
        if not 0 <= covered < math.inf:
            raise KdlibError(
                f"coverage of '{row['name']}' in {path} must be a number of at least 0, not '{row['coverage']}'; "
                "copy or download it again"
            )
        table[number] = (row["name"], covered)
    return table


def primary_categories(folder: Path, tables: dict[str, Labels], one_category: bool) -> dict[int, str]:
    """For every number, the category where it covers most; one_category: it must have one name in all of them."""
    primary: dict[int, str] = {}
    for category, table in tables.items():
        for number, (name, covered) in table.items():
            first = primary.setdefault(number, category)
            other, largest = tables[first][number]
            if one_category and name != other:
                raise KdlibError(
                    f"number {number} is '{other}' in {folder / f'c_{first}.csv'} and '{name}' in "
                    f"c_{category}.csv; take both from one copy, or read the folder with one_category=False"
                )
            if covered > largest:
                primary[number] = category
    return primary
