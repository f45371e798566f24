"""All races, one after the other:  python -m benchmarks [--quick]"""

from __future__ import annotations

import subprocess
import sys

RACES = ("concept_world", "kd_step", "distillation_methods", "dissection", "diffroar", "information")

for race in RACES:
    print(f"\n## {race}\n", flush=True)
    # A process each: what one race leaves in memory is no other's burden.
    subprocess.run([sys.executable, "-m", f"benchmarks.{race}", *sys.argv[1:]], check=True)
