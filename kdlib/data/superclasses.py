"""The superclasses of a folder of photographs: `superclasses.csv`, header `class,superclass`, one line per class."""

from __future__ import annotations

from pathlib import Path

from kdlib.data.checksums import is_there
from kdlib.data.text_tables import read_csv, same_form
from kdlib.errors import KdlibError, choose

SUPERCLASS_FILE = "superclasses.csv"


def read_superclasses(folder: Path, class_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(superclass names, superclass index of each class) from superclasses.csv, or one superclass "all" without it.

    Names count in Unicode's form C and without space around them. Raises KdlibError for a file that is no CSV in UTF-8,
    another header, an unknown class, one that is missing or listed twice, and an empty name.

    >>> read_superclasses(Path("nowhere"), ("cat", "dog"))
    (('all',), (0, 0))
    """
    path = folder / SUPERCLASS_FILE
    if not is_there(path):
        return ("all",), (0,) * len(class_names)
    rows = [(line, [same_form(cell) for cell in row]) for line, row in read_csv(path, "mend or remove it")]
    if not rows or rows[0][1] != ["class", "superclass"] or any(len(row) != 2 for _, row in rows):
        raise KdlibError(f"{path} must hold the header 'class,superclass' and two cells a line, separated by a comma")
    owner: dict[str, tuple[str, int]] = {}
    known = [same_form(name) for name in class_names]
    for line, (name, superclass) in rows[1:]:
        choose(name, known, f"class in line {line} of {path}")
        if not superclass:
            raise KdlibError(f"line {line} of {path} gives class '{name}' an empty superclass; fill it in")
        if name in owner:
            raise KdlibError(
                f"{path} lists class '{name}' in line {owner[name][1]} and line {line}; delete one of them"
            )
        owner[name] = superclass, line
    for name in known:
        if name not in owner:
            raise KdlibError(f"{path} gives no superclass to class '{name}'; add a line for it")
    names = tuple(dict.fromkeys(owner[name][0] for name in known))
    return names, tuple(names.index(owner[name][0]) for name in known)
