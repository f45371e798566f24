"""Picture files that lie in two parts of a data set: a network is then tested on what it was trained on."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from kdlib.errors import KdlibError

MOST_FILES = 200_000  # more are not compared: that takes as long as an epoch (ImageNet has 1.3 million)
_BEGINNING = 65_536


def repeated(parts: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Two parts -> the pairs of files in them that are equal byte for byte, whatever they are called.

    Only files of one size are opened, and only those with an equal beginning are read whole. Raises KdlibError for a
    file that can't be read.

    >>> repeated({"train": [__file__], "test": [__file__]}) == {("train", "test"): [(__file__, __file__)]}
    True
    """
    alike: list[dict[str, list[str]]] = [{part: list(paths) for part, paths in parts.items()}]
    for look in (_size, _beginning, _content):
        alike = [finer for group in alike for finer in _by(look, group)]
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for group in alike:
        for one, other in combinations(group, 2):
            found[one, other] += [(group[one][0], path) for path in group[other]]
    return dict(found)


def tell_repeated(folder: Path, parts: Mapping[str, Sequence[str]]) -> None:
    """Warn in one line of files that lie in two parts of `folder`; parts: the paths of each."""
    if sum(map(len, parts.values())) > MOST_FILES:
        return
    found = repeated(parts)
    if found:
        counts = ", ".join(f"{len(pairs):,} of {other} also in {one}" for (one, other), pairs in found.items())
        example, twin = (os.path.relpath(path, folder) for path in next(iter(found.values()))[0])
        warnings.warn(
            f"{folder}: the same picture files lie in two parts ({counts}; such as {example} and {twin}): scores there "
            "are not of new pictures; keep each in one part",
            stacklevel=1,
        )


def _by(look: Callable[[str], object], group: Mapping[str, list[str]]) -> list[dict[str, list[str]]]:
    """The files of a group by what `look` sees of them, as groups of their own; those of one part alone are dropped."""
    finer: dict[object, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part, paths in group.items():
        for path in paths:
            try:
                finer[look(path)][part].append(path)
            except OSError as error:
                raise KdlibError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error
    return [dict(one) for one in finer.values() if len(one) > 1]


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _beginning(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return hashlib.sha256(file.read(_BEGINNING)).digest()


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
