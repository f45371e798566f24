"""The superclasses of a folder of photographs: `superclasses.csv`, header `class,superclass`, one line per class."""

from __future__ import annotations

import re
from pathlib import Path

from kdlib.data.checksums import is_there
from kdlib.data.class_tree import entries
from kdlib.data.folder_parts import part_of
from kdlib.data.text_tables import at_a_glance, is_plain_text, read_csv, same_form
from kdlib.errors import KdlibError, choose, shown

SUPERCLASS_FILE = "superclasses.csv"


def read_superclasses(folder: Path, class_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(superclass names, superclass index of each class) from superclasses.csv, or one superclass "all" without it.

    Names count in Unicode's form C and without space around them. Raises KdlibError for a file that is no CSV in UTF-8,
    another header, an unknown class, one that is missing or listed twice, a name that is empty or no plain text,
    superclasses that look alike (`at_a_glance`), and a file that is meant for this one and isn't called so.

    >>> read_superclasses(Path("nowhere"), ("cat", "dog"))
    (('all',), (0, 0))
    """
    path = folder / SUPERCLASS_FILE
    if not is_there(path):
        _refuse_misplaced(folder, class_names)
        return ("all",), (0,) * len(class_names)
    rows = [(line, [same_form(cell) for cell in row]) for line, row in read_csv(path, "mend or remove it")]
    if not rows or rows[0][1] != ["class", "superclass"] or any(len(row) != 2 for _, row in rows):
        raise KdlibError(f"{path} must hold the header 'class,superclass' and two cells a line, separated by a comma")
    owner: dict[str, tuple[str, int]] = {}
    known = [same_form(name) for name in class_names]
    for line, (name, superclass) in rows[1:]:
        choose(name, known, f"class in line {line} of {path}")
        if not any(sign.isprintable() for sign in superclass):
            raise KdlibError(f"line {line} of {path} gives class '{name}' an empty superclass; fill it in")
        if not is_plain_text(superclass):
            raise KdlibError(f"line {line} of {path} has the superclass {shown(superclass)}, no plain text; rename it")
        if name in owner:
            raise KdlibError(
                f"{path} lists class '{name}' in line {owner[name][1]} and line {line}; delete one of them"
            )
        owner[name] = superclass, line
    for name in known:
        if name not in owner:
            raise KdlibError(f"{path} gives no superclass to class '{name}'; add a line for it")
    names = tuple(dict.fromkeys(owner[name][0] for name in known))
    spelt: dict[str, str] = {}
    for superclass in names:
        other = spelt.setdefault(at_a_glance(superclass), superclass)
        if other != superclass:
            raise KdlibError(
                f"{path} has the superclasses {other!r} and {superclass!r}; write them alike, or rename one"
            )
    return names, tuple(names.index(owner[name][0]) for name in known)


def _refuse_misplaced(folder: Path, class_names: tuple[str, ...]) -> None:
    """Refuse what is meant for superclasses.csv but would not be read: Superclasses.csv, superclasses.csv.txt, ...

    So is a superclasses.csv in a part or class; other folders there may be data sets with files of their own.
    """
    classes = {same_form(name) for name in class_names}
    if not is_there(folder):
        return
    if (folder / SUPERCLASS_FILE).is_symlink():
        raise KdlibError(f"{folder / SUPERCLASS_FILE} is a link to nothing; mend or remove it")
    for entry in entries(folder):
        inside = folder / entry.name / SUPERCLASS_FILE
        if re.match("super[ _-]?class", entry.name.casefold()) and not (folder / entry.name).is_dir():
            raise KdlibError(f"{entry.path} is not read; call it {SUPERCLASS_FILE}, or something else")
        if (part_of(entry.name) or same_form(entry.name) in classes) and is_there(inside):
            raise KdlibError(f"{inside} is not read; put it into {folder}, or remove it")
