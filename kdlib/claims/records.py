"""What one notebook measured: numbers per seed, contrasts, verdicts, and where they come from.

A notebook makes a `Record` at its top, files its measurements, judges its claims and ends with `record.write()`.
The written JSON is the only source of the numbers in the ledger and in prose. Values keep full precision, so that
whoever reads the file can recompute every contrast and verdict in it exactly; `Record.recheck` does.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kdlib.claims.claim import Claim, contrast_name
from kdlib.claims.claim_files import all_claims
from kdlib.claims.provenance import free_of_paths, provenance
from kdlib.claims.record_json import Measurement, OtherFormat, as_text, fields_of, plain, verdict_as_table
from kdlib.claims.same import alike, first_difference
from kdlib.claims.verdicts import Verdict, measured_in_words, reach
from kdlib.errors import KdlibError, choose, positive_integer
from kdlib.files import replace_file
from kdlib.plotting.tables import Table
from kdlib.stats import Contrast, paired_contrast

#: The environment variable that names the file a record is written to; the executor sets it.
METRICS_VARIABLE = "KDLIB_METRICS"
SUFFIX = ".metrics.json"


@dataclass
class Record:
    """The measurements of one notebook run.

    `parameters` are the notebook's, `preset` among them. `device` is the device that was used ("cpu", "cuda"),
    `source_fingerprint` that of the source (`kdlib.runs.source.source_hash`). `found` is what the notebook concludes,
    in three lines: the answer, how sure it is, what the controls say.

    >>> record = Record("han2023_concept_detectors", {"preset": "quick", "n_seeds": 3})
    >>> record.measure("detectors/kd", {0: 61.0, 1: 63.0, 2: 62.5}, "percent of units")
    >>> record.measure("detectors/scratch", {0: 54.0, 1: 55.0, 2: 56.0}, "percent of units")
    >>> round(record.contrast("detectors", "kd", "scratch").mean_difference, 2)
    7.17
    >>> record.claim("han2023.1b").word  # three seeds give an estimate
    'inconclusive'
    """

    notebook: str
    parameters: Mapping[str, Any]
    preset: str = ""
    device: str | None = None
    source_fingerprint: str | None = None
    measurements: dict[str, Measurement] = field(default_factory=dict)
    contrasts: dict[str, Contrast] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    found: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+", self.notebook):
            raise KdlibError(f"notebook must be a bare name like han2023_methods, not {self.notebook!r}")
        self.parameters = plain(free_of_paths(dict(self.parameters)))
        self.preset = self.preset or str(self.parameters.get("preset", ""))
        if not self.preset:
            raise KdlibError(
                f"the record of {self.notebook} needs a preset: pass parameters with a 'preset' among them"
            )
        self._started = time.perf_counter()
        if not self.provenance:
            self.provenance = provenance(self.device, self.source_fingerprint)

    def measure(
        self, name: str, values_by_seed: Mapping[int, float] | Iterable[float], unit: str, *, units: int | None = None
    ) -> None:
        """File one number per seed under `name`, best written METRIC/ARM ("detectors/kd"), in `unit`.

        A mapping seed -> value lets contrasts check that both arms ran the same seeds. units: of how many units a share
        is, which claims in odds ask for. Filing a name twice replaces it, as rerunning a cell should; contrasts and
        verdicts taken before are dropped with it.
        """
        by_seed = isinstance(values_by_seed, Mapping)
        raw = list(values_by_seed.values()) if isinstance(values_by_seed, Mapping) else list(values_by_seed)
        if not raw:
            raise KdlibError(f"measurement '{name}' holds no value; give one number per seed")
        values = []
        for value in raw:
            try:
                values.append(float(value))
            except (TypeError, ValueError) as error:
                raise KdlibError(f"measurement '{name}' holds {value!r}; every seed needs a number") from error
        if not all(math.isfinite(value) for value in values):
            raise KdlibError(f"measurement '{name}' holds {values}; every seed needs a finite number")
        if not unit:
            raise KdlibError(f"measurement '{name}' needs a unit, for instance 'percent'")
        seeds = tuple(int(seed) for seed in values_by_seed) if by_seed else None
        if units is not None:
            units = positive_integer(units, f"units of measurement '{name}'")
        self._forget_what_came_of(name)
        self.measurements[name] = Measurement(tuple(values), unit, seeds, units)

    def _forget_what_came_of(self, name: str) -> None:
        """Drop the contrasts and verdicts that were taken from an older measurement of `name`."""
        metric, _, arm = name.rpartition("/")
        stale = [
            key
            for key in self.contrasts
            if key.startswith(f"{metric}: ") and arm in key[len(metric) + 2 :].split(" - ")
        ]
        for key in stale:
            del self.contrasts[key]
        claims = all_claims(self.verdicts) if self.verdicts else {}
        self.verdicts = {k: v for k, v in self.verdicts.items() if k in claims and name not in claims[k].reads}

    def contrast(self, name: str, arm_a: str, arm_b: str) -> Contrast:
        """Metric `name` of `arm_a` minus `arm_b`, from the measurements `name/arm_a` and `name/arm_b`; files it too."""
        a, b = (self._measurement(f"{name}/{arm}") for arm in (arm_a, arm_b))
        if a.unit != b.unit:
            raise KdlibError(f"'{name}/{arm_a}' is in {a.unit}, '{name}/{arm_b}' in {b.unit}; measure both in one unit")
        if a.seeds is not None and b.seeds is not None and a.seeds != b.seeds:
            raise KdlibError(
                f"'{name}/{arm_a}' has seeds {list(a.seeds)}, '{name}/{arm_b}' {list(b.seeds)}; "
                "a paired contrast needs the same seeds in the same order"
            )
        contrast = paired_contrast(a.values, b.values, name=contrast_name(name, arm_a, arm_b))
        self.contrasts[contrast.name] = contrast
        return contrast

    def _measurement(self, name: str) -> Measurement:
        choose(name, self.measurements, "measurement")
        return self.measurements[name]

    def lacks(self, claim_id: str) -> list[str]:
        """The measurements that a verdict on the claim needs, its gates' too, and that are not on file.

        >>> Record("han2023_concept_detectors", {"preset": "quick"}).lacks("han2023.1b")[:2]
        ['detectors/kd', 'detectors/scratch']
        """
        return [name for name in self._claim(claim_id).needs if name not in self.measurements]

    @staticmethod
    def _claim(claim_id: str) -> Claim:
        claims = all_claims()
        return claims[choose(claim_id, claims, "claim")]

    def claim(self, claim_id: str, contrast: Contrast | None = None) -> Verdict:
        """Judge a claim by the measurements on file; filed and returned.

        The claim itself says which metric and arms decide, and which gates and controls. A `contrast` may be handed in
        to make the page explicit; it must be the one the measurements give. A control that was not measured leaves a
        supported claim open. Raises KdlibError where another measurement is missing; `lacks` lists them.
        """
        claim = self._claim(claim_id)
        missing = self.lacks(claim_id)
        if missing:
            raise KdlibError(f"claim {claim_id} lacks its measurement '{missing[0]}'; measure it in every replicate")
        own = self.contrast(claim.metric, claim.arm_a, claim.arm_b)
        unit = self.measurements[f"{claim.metric}/{claim.arm_a}"].unit
        if unit != claim.unit:
            raise KdlibError(
                f"claim {claim_id} is about {claim.metric} in {claim.unit}, the record has it in {unit}; measure it in "
                "the claim's unit"
            )
        if contrast is not None and (contrast.name, contrast.differences) != (own.name, own.differences):
            raise KdlibError(
                f"claim {claim_id} is judged by '{own.name}' as measured, not by the '{contrast.name}' handed in"
            )
        on_file = [name for name in claim.reads if name in self.measurements]
        measured = {name: self.measurements[name].by_replicate for name in on_file}
        units = {name: self.measurements[name].units for name in on_file}
        self.verdicts[claim_id] = reach(claim, own, measured, units)
        return self.verdicts[claim_id]

    def table(self) -> pd.DataFrame:
        """Claims judged here, one per row: the verdict, what we measured, what the paper says, how many seeds.

        The verdict comes second, where it is seen on a phone without scrolling.
        """
        claims = all_claims(self.verdicts)
        rows = []
        for claim_id, found in sorted(self.verdicts.items()):
            claim, contrast = claims[claim_id], found.contrast
            rows.append(
                {
                    "claim": claim.in_a_table,
                    "verdict": found.word,
                    "we measured (95 % interval)": measured_in_words(claim, found),
                    claim.reported_as: claim.paper_says,
                    "seeds": contrast.n,
                }
            )
        return Table(rows)

    def to_json(self) -> str:
        """The record as JSON: keys sorted, floats with all their digits, null for what is not a number.

        Negative numbers in its sentences have a hyphen, as programs write them.
        """
        return as_text(
            {
                "notebook": self.notebook,
                "preset": self.preset,
                "parameters": self.parameters,
                "provenance": self.provenance,
                "found": list(self.found),
                "measurements": {name: asdict(item) for name, item in self.measurements.items()},
                "contrasts": {name: asdict(item) for name, item in self.contrasts.items()},
                "verdicts": {claim_id: verdict_as_table(item) for claim_id, item in self.verdicts.items()},
            }
        )

    def write(self) -> Path | None:
        """Write the record to the file `$KDLIB_METRICS` names, whole or not at all; nothing where it is not set."""
        target = os.environ.get(METRICS_VARIABLE)
        if not target:
            return None
        path = Path(target)
        self.provenance["seconds"] = round(time.perf_counter() - self._started, 2)
        text = self.to_json()
        try:
            replace_file(path, text)
        except OSError as error:
            raise KdlibError(
                f"cannot write the results to {path}: {error.strerror}; check ${METRICS_VARIABLE}"
            ) from error
        return path

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """The record in a `.metrics.json` file; `KdlibError` for a missing or damaged one."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise KdlibError(
                f"cannot read results file {path}: {error.strerror}; run the notebook to make it"
            ) from error
        except ValueError as error:
            raise KdlibError(f"results file {path} is damaged ({error}); run its notebook again") from error
        try:
            return cls(**fields_of(content))
        except OtherFormat as error:
            raise KdlibError(f"results file {path} {error}; run the notebook again") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise KdlibError(f"results file {path} is damaged ({what}); run its notebook again") from error

    def recheck(self) -> None:
        """Recompute every contrast and verdict from the measurements; `KdlibError` where one does not follow from them.

        Also catches a claim whose direction, arms, smallest effect, gates or controls changed after it was judged.
        """
        where = f"{self.notebook} ({self.preset})"
        fresh = Record(self.notebook, self.parameters, self.preset, provenance=self.provenance)
        fresh.measurements = dict(self.measurements)
        for name, filed in self.contrasts.items():
            metric, _, arms = name.rpartition(": ")
            arm_a, _, arm_b = arms.partition(" - ")
            again = fresh.contrast(metric, arm_a, arm_b)
            if not alike((again.mean_difference, *again.interval), (filed.mean_difference, *filed.interval)):
                raise KdlibError(
                    f"{where}: contrast '{name}' does not follow from its measurements; run the notebook again"
                )
        for claim_id, judged in self.verdicts.items():
            missing = fresh.lacks(claim_id)
            if missing:
                raise KdlibError(
                    f"{where}: {claim_id} was judged without '{missing[0]}', which the claim as it stands asks for; "
                    "run the notebook again"
                )
            anew = fresh.claim(claim_id)
            if anew.word != judged.word:
                raise KdlibError(
                    f"{where}: {claim_id} is on file as '{judged.word}', but the claim as it stands and the "
                    f"measurements give '{anew.word}'; run the notebook again"
                )
            key = first_difference(anew, judged)
            if key:
                raise KdlibError(
                    f"{where}: {key} of {claim_id} is on file as {getattr(judged, key)!r}, but the claim as it stands "
                    f"and the measurements give {getattr(anew, key)!r}; run the notebook again"
                )


def read_records(folders: Iterable[str | Path]) -> list[Record]:
    """Every `<notebook>.metrics.json` below the folders, rechecked; ordered by notebook and preset.

    Where two folders hold the same notebook at the same preset, the later folder in the list wins. A folder that
    does not exist holds no results: the ledger then says "not yet measured".
    """
    found: dict[tuple[str, str], Record] = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob(f"*{SUFFIX}")):
            record = Record.read(path)
            if path.name != record.notebook + SUFFIX:
                raise KdlibError(f"results file {path} is about {record.notebook}; name it {record.notebook}{SUFFIX}")
            if path.parent.parent.name == "results" and path.parent.name != record.preset:
                raise KdlibError(
                    f"results file {path} is of preset {record.preset}; it belongs in a folder of that name"
                )
            record.recheck()
            found[record.notebook, record.preset] = record
    return [found[key] for key in sorted(found)]
