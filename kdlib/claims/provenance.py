"""Where a number comes from: versions, commit, machine. Never a path, a host's or a user's name."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PureWindowsPath
from typing import Any

import kdlib

_PACKAGE = Path(kdlib.__file__).resolve().parent


def provenance(device: str | None = None, source_fingerprint: str | None = None) -> dict[str, Any]:
    """What made a record, as a flat table for JSON.

    >>> sorted(provenance("cpu"))[:4]
    ['cores', 'date', 'device', 'git_commit']
    """
    return {
        "kdlib": kdlib.__version__,
        "python": platform.python_version(),
        "torch": _version("torch"),
        "git_commit": git_commit(),
        "source_fingerprint": source_fingerprint,
        "machine": machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": device_name(device),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": None,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine() -> str:
    """Operating system, architecture and, where it can be read, the processor's model."""
    name = f"{platform.system()} {platform.machine()}"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{name}, {models[0]}" if models else name


def device_name(device: str | None) -> str | None:
    """The device as given, with the accelerator's model where it is a CUDA one."""
    if device is None or not str(device).startswith("cuda"):
        return None if device is None else str(device)
    import torch  # only here: reading results needs no torch

    return f"{device}, {torch.cuda.get_device_name(device)}" if torch.cuda.is_available() else str(device)


def git_commit() -> str | None:
    """The commit of the checkout kdlib runs from, with "+changes" where its source differs; None outside a checkout.

    A kdlib installed into some other project's folder must not report that project's commit, so the checkout's
    root must be the folder that holds the package.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(_PACKAGE.parent), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    root = git("rev-parse", "--show-toplevel")
    if root is None or Path(root).resolve() != _PACKAGE.parent:
        return None
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--", _PACKAGE.name)
    return f"{commit}+changes" if commit and changed else commit


def free_of_paths(value: Any) -> Any:
    """`value` with every absolute path cut to its last part: results are published, folders of a machine are not.

    >>> free_of_paths({"root": "/home/ada/data/cifar10", "data": "concept_world"})
    {'root': '…/cifar10', 'data': 'concept_world'}
    """
    if isinstance(value, dict):
        return {key: free_of_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [free_of_paths(item) for item in value]
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and (value.startswith(("/", "~")) or PureWindowsPath(value).is_absolute()):
        return f"…/{PureWindowsPath(value).name}"
    return value
