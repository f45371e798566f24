"""What is published of the cohort: the index of its files. It loads no torch, so that the command answers at once."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError, shown
from kdlib.runs.place import read_file, reason

PROTOCOL = Path(__file__).parent / "protocol.toml"
FOLDER = Path(__file__).parent / "published"
INDEX = "index.json"


def overview(protocol: Path = PROTOCOL, folder: Path = FOLDER) -> list[dict[str, object]]:
    """A row a population: how many arms and replicates the protocol has, and how many networks are on file."""
    table = tomllib.loads(protocol.read_text(encoding="utf-8"))
    rows = []
    for data, population in table.items():
        if isinstance(population, dict):
            files = [row for arm in read_index(folder / data).values() for row in arm.values()]
            published = sum(len(row["replicates"]) for row in files)
            sizes = {"published": published, "bytes": sum(row["bytes"] for row in files)}
            rows.append({"data": data, "arms": len(population["arms"]), "replicates": table["replicates"], **sizes})
    return rows


def read_index(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Arm -> file -> its replicates and checksum; empty where there is none."""
    path = folder / INDEX
    try:
        index = json.loads(read_file(path))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise _no_index(path, "it is no JSON") from error
    except OSError as error:
        raise KdlibError(f"the cohort's {path} can't be read ({reason(error)}); try again once it can be") from error
    if not isinstance(index, dict):
        raise _no_index(path, "it is no object")
    for arm, files in index.items():
        if not isinstance(files, dict):
            raise _no_index(path, f"its arm {shown(arm)} has no files")
        for name, row in files.items():
            if not _is_row(arm, name, row):
                raise _no_index(path, f"its row of {shown(name)} is none")
    return index


def _is_row(arm: str, name: str, row: Any) -> bool:
    """Whether the index may say this of a file; its name leads nowhere but into the cohort's folder."""
    if not re.fullmatch(rf"{re.escape(arm)}\.\d+-\d+\.safetensors", name) or "/" in arm or not isinstance(row, dict):
        return False
    replicates = row.get("replicates")
    numbers = isinstance(replicates, list) and bool(replicates) and all(type(number) is int for number in replicates)
    return numbers and isinstance(row.get("sha256"), str) and type(row.get("bytes")) is int


def _no_index(path: Path, why: str) -> KdlibError:
    return KdlibError(
        f"the cohort's {path} can't be read ({why}); get it again from the repository, or move it away and make it "
        "anew by `kdlib cohort train`"
    )


def replicates_on_file(files: Mapping[str, Mapping[str, Any]]) -> set[int]:
    """The replicates of one arm, from its part of the index.

    >>> sorted(replicates_on_file({"kd.0-1.safetensors": {"replicates": [0, 1]}}))
    [0, 1]
    """
    return {replicate for row in files.values() for replicate in row["replicates"]}
