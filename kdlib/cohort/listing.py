"""What is published of the cohort: the index of its files. It loads no torch, so that the command answers at once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError
from kdlib.runs.place import reason

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
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if not isinstance(index, dict):
            raise ValueError("it is no object")
        return index
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is no index"
        raise KdlibError(
            f"the cohort's {folder / INDEX} can't be read ({why}); get it again from the repository"
        ) from error


def replicates_on_file(files: Mapping[str, Mapping[str, Any]]) -> set[int]:
    """The replicates of one arm, from its part of the index.

    >>> sorted(replicates_on_file({"kd.0-1.safetensors": {"replicates": [0, 1]}}))
    [0, 1]
    """
    return {replicate for row in files.values() for replicate in row["replicates"]}
