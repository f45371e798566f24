"""All races or those named, one after the other:  python -m benchmarks [--quick] [--record] [RACE ...]

--record also writes what they print to benchmarks/RESULTS.md, with the machine and the day.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

RACES = ("concept_world", "kd_step", "distillation_methods", "dissection", "diffroar", "information")
RESULTS = Path(__file__).with_name("RESULTS.md")


def race(name: str, arguments: list[str]) -> str:
    """What a race prints, shown line by line as it comes; each race has a process, and so a memory, of its own."""
    command = [sys.executable, "-u", "-m", f"benchmarks.{name}", *arguments]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(process.returncode)
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="All races, one after the other.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--record", action="store_true", help=f"also write {RESULTS.name}")
    parser.add_argument("races", metavar="RACE", nargs="*", help=f"which: {', '.join(RACES)}; all if none is named")
    options = parser.parse_args()
    strange = [name for name in options.races if name not in RACES]
    if strange:
        parser.error(f"there is no race {strange[0]!r}; there are {', '.join(RACES)}")
    arguments = ["--quick"] if options.quick else []
    sections = []
    for name in options.races or RACES:
        print(f"\n## {name}\n", flush=True)
        sections.append(f"## {name}\n\n```text\n{race(name, arguments).strip()}\n```\n")
    if options.record:
        head = (
            "# Races, as they were run\n\n"
            f"Written by `python -m benchmarks {' '.join(['--record', *arguments, *options.races])}` on "
            f"{datetime.now(UTC).date().isoformat()}: {platform.system()}, {os.cpu_count()} cores, "
            f"torch {torch.__version__}, Python {platform.python_version()}. Ratios count, not times: machines differ "
            "and are noisy. The head of each file says what is raced against what.\n"
        )
        RESULTS.write_text("\n".join([head, *sections]), encoding="utf-8")
        print(f"\nwritten: {RESULTS}")


if __name__ == "__main__":
    main()
