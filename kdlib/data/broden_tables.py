"""The CSV tables of a folder in Broden's layout (`kdlib.data.broden`), read and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from kdlib.data.checksums import is_there
from kdlib.data.image_set import CATEGORIES, UNLABELLED
from kdlib.data.text_tables import at_a_glance, is_plain_text, read_csv, same_form
from kdlib.errors import KdlibError, shown

_REMEDY = "copy or download it again"
MOST_NUMBER = 2**24 - 1  # of a label; masks hold 65,535
Labels = dict[int, tuple[str, float]]  # number -> name and coverage


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file that must have at least these columns, each once, and a cell for each of its columns."""
    if not is_there(path):
        raise KdlibError(f"there is no {path}; give a folder in Broden's layout")
    rows = read_csv(path, _REMEDY)
    header = [name.strip() for name in rows[0][1]] if rows else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise KdlibError(f"{path} lacks the column '{missing[0]}'; is it Broden's? If so, copy or download it again")
    for column in header:
        if column and header.count(column) > 1:
            raise KdlibError(f"{path} has the column '{column}' twice; {_REMEDY}")
    found = []
    for line, row in rows[1:]:
        if len(row) < len(header):
            raise KdlibError(f"line {line} of {path} has too few cells; the file may have been cut short")
        if any(cell.strip() for cell in row[len(header) :]):
            raise KdlibError(f"line {line} of {path} has {len(row)} cells in {len(header)} columns; {_REMEDY}")
        found.append(dict(zip(header, row[: len(header)], strict=True)))
    return found


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
    numbers: dict[str, int] = {}
    rows = read_table(path, ("code", "number", "name", "coverage"))
    for row in sorted(rows, key=lambda row: whole(row["code"], "code", path)):
        number = whole(row["number"], f"number of '{row['name']}'", path)
        if number == 0:  # "unlabelled" is no concept
            continue
        if number in table:
            raise KdlibError(f"{path} gives number {number} to two labels; copy or download it again")
        if number > MOST_NUMBER:
            raise KdlibError(f"{path} has the number {number}, more than {MOST_NUMBER:,}; {_REMEDY}")
        name = same_form(row["name"])
        if not is_plain_text(name) or name == UNLABELLED:
            raise KdlibError(
                f"{path} names number {number} {shown(name)}, which is no plain text or stands for no label; {_REMEDY}"
            )
        if not at_a_glance(name):
            raise KdlibError(f"{path} gives no name to number {number}; {_REMEDY}")
        drawn = "".join(sign for sign in name if sign.isprintable())
        if drawn in numbers:
            raise KdlibError(f"{path} has '{drawn}' twice, as numbers {numbers[drawn]} and {number}; {_REMEDY}")
        numbers[drawn] = number
        try:
            covered = float(row["coverage"])
        except ValueError:
            covered = -1.0
        if not 0 <= covered < math.inf:
            raise KdlibError(
                f"coverage of '{row['name']}' in {path} must be a number of at least 0, not '{row['coverage']}'; "
                "copy or download it again"
            )
        table[number] = (name, covered)
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
