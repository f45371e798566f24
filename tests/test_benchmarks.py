"""The races can be started: each one's imports hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """
import importlib
from benchmarks.__main__ import RACES
for race in RACES:
    assert callable(importlib.import_module(f"benchmarks.{race}").main), race
print(len(RACES))
"""


def test_every_race_can_be_imported_and_has_a_file():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "__main__"}
    assert int(done.stdout) == len(files)
