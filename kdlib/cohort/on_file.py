"""The cohort's folder before something is added to it: is what lies there whole, and of this protocol?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlib.cohort.listing import INDEX, read_index, replicates_on_file
from kdlib.cohort.population import Population
from kdlib.cohort.weights import ArmFile, DamagedFile
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError
from kdlib.files import replace_file
from kdlib.folders import refuse_unwritable, turn
from kdlib.runs.entries import set_aside

Index = Mapping[str, Mapping[str, Mapping[str, Any]]]
_ANOTHER = "move it away, or name another folder by --out"


def look_through(
    place: Path, population: Population, arms: Sequence[str], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The records of the files of these arms; what is damaged is moved aside, told, and on file no more.

    What a killed process left of an earlier writing is cleared. Raises KdlibError for files of another protocol, for
    what can't be read now, and where a new folder can't be made.
    """
    if not place.is_dir():
        refuse_unwritable(place)
        return []
    records = []
    with turn(place):
        index = read_index(place)
        whole: dict[str, dict[str, dict[str, Any]]] = {arm: dict(files) for arm, files in index.items()}
        for arm in arms:
            for name, row in index.get(arm, {}).items():
                try:
                    file = ArmFile(place / name, row["sha256"])
                except DamagedFile:
                    del whole[arm][name]
                    say(f"{place.name}: {_moved_aside(place / name)}; it is made anew")
                    continue
                file.check_owner(population.data, arm, row["replicates"])
                _check_protocol(file, population, arm)
                records.append(file.record)
        if whole != index:
            write_index(place, whole)
        clear_unnamed(place)
    return records


def _moved_aside(path: Path) -> str:
    try:
        return f"{path.name} was damaged and is kept as {set_aside(path).name}"
    except FileNotFoundError:
        return f"{path.name} is missing"


def _check_protocol(file: ArmFile, population: Population, arm: str) -> None:
    specs = [json.loads(population.spec(arm, replicate).canonical()) for replicate in file.replicates]
    if file.record.get("spec") != specs:
        raise KdlibError(f"the cohort's file {file.path} was trained by another protocol than this one; {_ANOTHER}")


def check_data(records: Sequence[Mapping[str, Any]], splits: Mapping[int, Splits]) -> None:
    """Raise KdlibError if a network on file was trained on other data than its replicate has now."""
    for record in records:
        for replicate, found in zip(record["replicates"], record["data_hash"], strict=True):
            if replicate in splits and found != splits[replicate].content_hash():
                raise KdlibError(
                    f"replicate {replicate} of {record['arm']} on file was trained on other data than {record['data']} "
                    f"by this protocol; {_ANOTHER}"
                )


def write_index(place: Path, index: Index) -> None:
    """Put the index into the place of the one before."""
    kept = {arm: files for arm, files in index.items() if files}
    replace_file(place / INDEX, json.dumps(kept, indent=1, sort_keys=True) + "\n")


def clear_unnamed(place: Path) -> None:
    """Delete files that others of the index have replaced, which a process that was killed left.

    A file with a replicate that the index lacks stays: the index may have been lost.
    """
    for arm, files in read_index(place).items():
        there = replicates_on_file(files)
        for path in place.iterdir():
            found = re.fullmatch(rf"{re.escape(arm)}\.(\d{{1,9}})-(\d{{1,9}})\.safetensors", path.name)
            if found is None or path.name in files:
                continue
            first, last = int(found[1]), int(found[2])
            if first <= last and all(number in there for number in range(first, last + 1)):
                path.unlink(missing_ok=True)
