"""A record of what a notebook measured: what goes in comes back, damaged files are named, nothing private gets out."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdlib.claims import Record, all_claims, read_records, records
from kdlib.claims.conditions import Conditions
from kdlib.claims.controls import Control
from kdlib.claims.gates import Gate
from kdlib.claims.records import METRICS_VARIABLE
from kdlib.claims.same import first_difference
from kdlib.errors import KdlibError
from kdlib.stats import paired_contrast

Make = Callable[..., Record]
DETECTORS = {
    "kd": (61.0, 63.0, 62.5, 61.5, 62.0, 64.0, 60.5, 63.5),
    "scratch": (54.0, 55.0, 56.0, 54.5, 55.5, 56.5, 54.0, 55.0),
}
TEACHER = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
SHUFFLED = Control("a shuffled teacher", "detectors/kd_shuffled", "No similarity.", "detectors/scratch")


@pytest.fixture
def record(make_record: Make) -> Record:
    return make_record()


@pytest.fixture
def written(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path / "han2023_concept_detectors.metrics.json"))
    path = record.write()
    assert path is not None
    return path


@pytest.fixture
def conditioned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives claim 1b these conditions."""

    def give(**conditions: object) -> None:
        claims = all_claims()
        claims["han2023.1b"] = replace(claims["han2023.1b"], conditions=Conditions(**conditions))
        monkeypatch.setattr(records, "all_claims", lambda only=None: claims)

    return give


class TestMeasuring:
    def test_contrast_is_the_paired_contrast_of_the_two_arms(self, record: Record) -> None:
        contrast = record.contrast("detectors", "kd", "scratch")
        expected = paired_contrast(DETECTORS["kd"], DETECTORS["scratch"], name="detectors: kd - scratch")
        assert contrast == expected == record.contrasts["detectors: kd - scratch"]

    def test_a_mean_difference_that_only_rounding_makes_is_zero_in_every_sentence(self, make_record: Make) -> None:
        record = make_record()
        sevenths = {"kd": (1, 2, 4), "scratch": (2, 3, 2)}  # of seven units: the mean difference is exactly 0
        for arm, found in sevenths.items():
            record.measure(f"detectors/{arm}", [100 * count / 7 for count in found], "percent of units")
        contrast = record.contrast("detectors", "kd", "scratch")
        assert sum(contrast.differences) != 0  # but for the last bits of its floats
        assert contrast.mean_difference == 0
        assert "KD minus scratch: 0 percentage points" in record.claim("han2023.1b").sentence
        assert record.table().iloc[0]["we measured (95 % interval)"].startswith("0 (−")

    def test_a_claim_takes_its_own_arms_and_may_be_shown_its_contrast(self, record: Record) -> None:
        contrast = record.contrast("detectors", "kd", "scratch")
        assert record.claim("han2023.1b", contrast) == record.claim("han2023.1b")
        assert {k: v.word for k, v in record.verdicts.items()} == {
            "han2023.1b": "supported",
            "han2023.2b": "not supported",
        }

    def test_a_contrast_that_is_not_the_claims_is_refused(self, record: Record) -> None:
        with pytest.raises(KdlibError, match="judged by 'detectors: kd - scratch' as measured"):
            record.claim("han2023.1b", record.contrast("detectors", "kd", "label_smoothing"))
        with pytest.raises(KdlibError, match="as measured"):
            record.claim("han2023.1b", paired_contrast([9, 9, 9], [1, 1, 1], name="detectors: kd - scratch"))

    def test_a_claim_in_another_unit_is_refused(self, record: Record) -> None:
        for arm in ("kd", "scratch"):
            record.measure(f"accuracy/{arm}", [0.7, 0.8, 0.75], "fraction")
        with pytest.raises(KdlibError, match=r"accuracy in percent, the record has it in fraction"):
            record.claim("han2023.1a")

    def test_arms_in_two_units_are_refused(self, record: Record) -> None:
        record.measure("detectors/other", [3, 4, 5], "detectors")
        with pytest.raises(KdlibError, match="in one unit"):
            record.contrast("detectors", "kd", "other")

    def test_arms_with_other_seeds_are_refused(self, record: Record) -> None:
        record.measure("detectors/shifted", {1: 1.0, 2: 2.0, 3: 3.0}, "percent of units")
        with pytest.raises(KdlibError, match="same seeds in the same order"):
            record.contrast("detectors", "kd", "shifted")
        record.measure("detectors/short", [1.0, 2.0], "percent of units")
        with pytest.raises(KdlibError, match="8 and 2 seeds"):
            record.contrast("detectors", "kd", "short")

    def test_unknown_names_name_the_nearest(self, record: Record) -> None:
        with pytest.raises(KdlibError, match="did you mean 'detectors/scratch'"):
            record.contrast("detectors", "kd", "scrach")
        with pytest.raises(KdlibError, match=r"unknown claim 'han2023\.1z'; did you mean"):
            record.claim("han2023.1z")

    @pytest.mark.parametrize(
        ("values", "unit", "message"),
        [
            ([], "percent", "no value"),
            ([1.0, math.nan], "percent", "finite"),
            ({0: math.inf}, "percent", "finite"),
            (["a"], "percent", "needs a number"),
            ([None], "percent", "needs a number"),
            ([1.0], "", "unit"),
        ],
    )
    def test_bad_measurements_are_refused(self, record: Record, values: list, unit: str, message: str) -> None:
        with pytest.raises(KdlibError, match=f"measurement 'x/y'.*{message}"):
            record.measure("x/y", values, unit)

    def test_measuring_again_drops_what_was_concluded_from_the_old_values(self, record: Record) -> None:
        record.measure("detectors/kd", {seed: 1.0 + seed for seed in range(8)}, "percent of units")
        assert list(record.contrasts) == ["detectors: label_smoothing - scratch"]
        assert list(record.verdicts) == ["han2023.2b"]
        assert record.claim("han2023.1b").word == "contradicted"

    def test_arrays_tensors_and_integers_are_numbers(self, record: Record) -> None:
        record.measure("x/a", np.array([1, 2], dtype=np.int64), "units")
        assert record.measurements["x/a"].values == (1.0, 2.0)

    @pytest.mark.parametrize("parameters", [{}, {"preset": ""}])
    def test_a_preset_is_needed(self, parameters: dict) -> None:
        with pytest.raises(KdlibError, match="needs a preset"):
            Record("demo", parameters)

    def test_the_notebook_is_named_without_path_or_suffix(self) -> None:
        with pytest.raises(KdlibError, match="bare name"):
            Record("notebooks/demo.ipynb", {"preset": "quick"})


class TestConditions:
    """A claim with gates and controls is judged by them, and only where all they read is on the record."""

    def test_what_a_claim_lacks_is_listed_and_named(self, record: Record, conditioned: Callable) -> None:
        conditioned(gates=(TEACHER,), controls=(SHUFFLED,))
        assert record.lacks("han2023.1b") == ["accuracy/teacher"]
        with pytest.raises(KdlibError, match=r"claim han2023\.1b lacks its measurement 'accuracy/teacher'; measure it"):
            record.claim("han2023.1b")
        record.measure("accuracy/teacher", dict.fromkeys(range(8), 95.0), "percent")
        assert record.lacks("han2023.1b") == []

    def test_a_control_that_was_not_measured_leaves_what_is_supported_open(
        self, record: Record, conditioned: Callable, tmp_path: Path
    ) -> None:
        conditioned(controls=(SHUFFLED,))
        found = record.claim("han2023.1b")
        assert (found.word, found.survives) == ("supported", "open")
        assert found.remarks == ("is open against a shuffled teacher, which was not or could not be measured.",)
        path = tmp_path / "r.metrics.json"
        path.write_text(record.to_json(), encoding="utf-8")
        Record.read(path).recheck()
        record.measure("detectors/kd_shuffled", {i: 55.0 + i % 2 for i in range(8)}, "percent of units")
        assert "han2023.1b" not in record.verdicts  # it asked for the control
        assert record.claim("han2023.1b").survives == "yes"

    def test_gate_and_control_decide(self, record: Record, conditioned: Callable, tmp_path: Path) -> None:
        conditioned(gates=(TEACHER,), controls=(SHUFFLED,))
        record.measure("detectors/kd_shuffled", {i: 55.0 + i % 2 for i in range(8)}, "percent of units")
        for accuracy, word, survives in ((95.0, "supported", "yes"), (70.0, "no test", "")):
            record.measure("accuracy/teacher", {i: accuracy + i % 2 for i in range(8)}, "percent")
            assert "han2023.1b" not in record.verdicts  # the old verdict rested on another teacher
            found = record.claim("han2023.1b")
            assert (found.word, found.survives) == (word, survives)
            path = tmp_path / "r.metrics.json"
            path.write_text(record.to_json(), encoding="utf-8")
            again = Record.read(path)
            again.recheck()
            assert again.verdicts["han2023.1b"].remarks == found.remarks and len(found.remarks) == 1

    def test_a_claim_in_odds_takes_the_number_of_units_on_file(self, record: Record, conditioned: Callable) -> None:
        conditioned(smallest_odds_ratio=1.16)
        with pytest.raises(KdlibError, match="units = None; say how many units"):
            record.claim("han2023.1b")
        for arm in ("kd", "scratch"):
            record.measure(f"detectors/{arm}", dict(enumerate(DETECTORS[arm])), "percent of units", units=128)
        found = record.claim("han2023.1b")
        assert (found.word, found.unit) == ("supported", "odds ratio")
        assert "; odds ratio 1.3" in record.table().iloc[0]["we measured (95 % interval)"]

    def test_an_exploratory_claim_is_marked_in_the_table(self, record: Record, conditioned: Callable) -> None:
        conditioned(exploratory_since=datetime.date(2026, 11, 27), exploratory_why="Seen before.")
        record.claim("han2023.1b")
        assert record.table().iloc[0]["claim"] == "1b: KD gives more concept detectors (exploratory)"

    def test_units_must_be_a_number_of_units(self, record: Record) -> None:
        with pytest.raises(KdlibError, match="units of measurement 'x/y' must be a whole number of at least 1, not 0"):
            record.measure("x/y", [1.0], "percent of units", units=0)


class TestTable:
    def test_paper_says_we_measured_verdict(self, record: Record) -> None:
        table = record.table()
        assert isinstance(table, pd.DataFrame)
        reported, ours = "reported (second-hand)", "we measured (95 % interval)"
        assert list(table.columns) == ["claim", "verdict", ours, reported, "seeds"]
        first = table.iloc[0]
        assert first["claim"] == "1b: KD gives more concept detectors"
        assert first[reported] == "scratch 275, KD 312 detectors of 512 units [page:fig, page:note]"
        assert first[ours] == "+7.19 (+6.56 to +7.82) points of the layer's units"
        assert (first["seeds"], first["verdict"]) == (8, "supported")

    def test_it_shows_texts_in_full(self, record: Record) -> None:
        html = record.table()._repr_html_()
        assert "..." not in html
        assert "points of the layer&#x27;s units" in html or "points of the layer's units" in html

    def test_without_claims_it_is_empty(self) -> None:
        assert len(Record("demo", {"preset": "quick"}).table()) == 0

    def test_one_seed(self, make_record: Make) -> None:
        row = make_record(seeds=1).table().iloc[0]
        assert (row["we measured (95 % interval)"], row["verdict"]) == (
            "+7 points of the layer's units (one seed, no interval)",
            "inconclusive",
        )


class TestJson:
    def test_written_and_read_back_it_is_the_same(self, record: Record, written: Path) -> None:
        back = Record.read(written)
        assert back.to_json() == written.read_text(encoding="utf-8") == record.to_json()
        assert back.measurements == record.measurements
        assert {k: v.word for k, v in back.verdicts.items()} == {k: v.word for k, v in record.verdicts.items()}
        back.recheck()

    def test_negative_numbers_have_a_hyphen_in_the_file_and_a_minus_sign_on_the_page(self, record: Record) -> None:
        record.measure("detectors/kd", [50.0, 51.0] * 4, "percent of units")
        record.claim("han2023.1b")
        record.found = (f"Fewer: {record.table().iloc[0]['we measured (95 % interval)']}.", "so", "so")
        assert "−4.56 (−5." in record.found[0] and "scratch: −4.56 percentage" in record.verdicts["han2023.1b"].sentence
        text = record.to_json()
        assert "−" not in text and "Fewer: -4.56 (-5." in text and "scratch: -4.56 percentage" in text

    def test_nothing_is_written_where_no_file_is_asked_for(
        self, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(METRICS_VARIABLE, raising=False)
        monkeypatch.chdir(tmp_path)
        assert record.write() is None
        assert list(tmp_path.iterdir()) == []

    def test_keys_are_sorted_and_floats_keep_all_their_digits(self, record: Record, tmp_path: Path) -> None:
        values = (math.pi, 1e7 / 3, 0.1 + 0.2, 5e-324)
        record.measure("pi/kd", values, "units", units=128)
        content = json.loads(record.to_json())
        assert list(content) == sorted(content)
        assert tuple(content["measurements"]["pi/kd"]["values"]) == values
        assert repr(math.pi) in record.to_json()
        path = tmp_path / "r.metrics.json"
        path.write_text(record.to_json(), encoding="utf-8")
        assert Record.read(path).measurements["pi/kd"] == record.measurements["pi/kd"]
        assert record.measurements["pi/kd"].units == 128

    def test_a_verdict_comes_back_with_all_its_marks(self, make_record: Make, tmp_path: Path) -> None:
        for record in (make_record(), make_record(seeds=3), make_record(seeds=1)):
            path = tmp_path / "r.metrics.json"
            path.write_text(record.to_json(), encoding="utf-8")
            for claim_id, found in Record.read(path).verdicts.items():
                assert not first_difference(record.verdicts[claim_id], found)
                assert found.word == record.verdicts[claim_id].word

    def test_no_nan_gets_into_the_file(self, make_record: Make, tmp_path: Path) -> None:
        record = make_record(seeds=1)
        assert "NaN" not in record.to_json()
        contrast = json.loads(record.to_json())["contrasts"]["detectors: kd - scratch"]
        assert contrast["low"] is None
        path = tmp_path / "r.metrics.json"
        path.write_text(record.to_json(), encoding="utf-8")
        assert math.isnan(Record.read(path).contrasts["detectors: kd - scratch"].low)

    def test_provenance_is_complete(self, written: Path) -> None:
        made = json.loads(written.read_text())["provenance"]
        versions, place = (
            {"kdlib", "python", "torch", "git_commit", "source_fingerprint"},
            {"machine", "cores", "device"},
        )
        assert set(made) == versions | place | {"date", "seconds"}
        assert made["source_fingerprint"] == "f00d"
        assert made["device"] == "cpu"
        assert made["seconds"] >= 0
        assert made["date"].endswith("Z")

    def test_no_folder_of_this_machine_gets_out(self) -> None:
        record = Record(
            "demo",
            {
                "preset": "quick",
                "root": "/home/ada/photos",
                "more": ["~/x/y", {"p": Path("/srv/z")}],
                "win": "C:\\ada\\w",
            },
        )
        assert record.parameters["root"] == "…/photos"
        for part in ("ada", "/home", "srv", "~"):
            assert part not in json.dumps(record.parameters)

    def test_parameters_that_json_cannot_hold_are_refused(self) -> None:
        with pytest.raises(KdlibError, match="numbers, texts, lists and tables only, not set"):
            Record("demo", {"preset": "quick", "x": {1, 2}})

    def test_a_failed_write_leaves_the_old_file_and_no_litter(
        self, record: Record, written: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = written.read_bytes()

        def no_space(self: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", no_space)
        record.measure("x/y", [1.0], "units")
        with pytest.raises(KdlibError, match="No space left on device"):
            record.write()
        assert written.read_bytes() == before
        assert list(written.parent.iterdir()) == [written]

    def test_a_folder_that_does_not_exist(
        self, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path / "none" / "x.metrics.json"))
        with pytest.raises(KdlibError, match=r"cannot write the results.*KDLIB_METRICS"):
            record.write()


class TestDamage:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(KdlibError, match="cannot read results file"):
            Record.read(tmp_path / "none.metrics.json")

    def test_cut_at_any_place_is_damaged(self, written: Path) -> None:
        whole = written.read_text(encoding="utf-8")
        for length in (0, 1, len(whole) // 3, len(whole) - 4):
            written.write_text(whole[:length], encoding="utf-8")
            with pytest.raises(KdlibError, match="is damaged"):
                Record.read(written)

    def test_not_text(self, written: Path) -> None:
        written.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(KdlibError, match="is damaged"):
            Record.read(written)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda c: c.pop("verdicts"), "lacks verdicts"),
            (lambda c: c.update(format=1), "is of format 1, this kdlib reads 2; run the notebook again"),
            (lambda c: c["verdicts"]["han2023.1b"].pop("interval"), "lacks 'interval'"),
            (lambda c: c["measurements"]["detectors/kd"].pop("unit"), "lacks 'unit'"),
            (lambda c: c["measurements"]["detectors/kd"].update(values=[None]), "is damaged"),
            (lambda c: c["contrasts"].pop("detectors: kd - scratch"), "lacks 'detectors: kd - scratch'"),
            (lambda c: c["verdicts"]["han2023.1b"].update(word="proved"), "unknown verdict on han2023.1b 'proved'"),
            (lambda c: c.update(measurements=[1]), "is damaged"),
            (lambda c: c.update(provenance={}), "where it comes from"),
        ],
    )
    def test_what_is_missing_or_wrong_is_named(self, written: Path, damage: Callable, message: str) -> None:
        content = json.loads(written.read_text())
        damage(content)
        written.write_text(json.dumps(content))
        with pytest.raises(KdlibError, match=message):
            Record.read(written)

    def test_a_list_is_no_record(self, written: Path) -> None:
        written.write_text("[]")
        with pytest.raises(KdlibError, match="no table"):
            Record.read(written)


class TestRecheck:
    def change(self, path: Path, **verdict_or_contrast: object) -> Record:
        content = json.loads(path.read_text())
        for section, values in verdict_or_contrast.items():
            next(iter(content[section].values())).update(values)
        path.write_text(json.dumps(content))
        return Record.read(path)

    def test_a_word_put_in_by_hand_is_found(self, written: Path) -> None:
        with pytest.raises(KdlibError, match=r"on file as 'contradicted', but .* give 'supported'"):
            self.change(written, verdicts={"word": "contradicted"}).recheck()

    def test_a_contrast_put_in_by_hand_is_found(self, written: Path) -> None:
        with pytest.raises(KdlibError, match="does not follow from its measurements"):
            self.change(written, contrasts={"mean_difference": 99.0}).recheck()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("survives", "yes"),
            ("needed", 12),
            ("tested", False),
            ("exploratory", True),
            ("smallest_effect", 3.4),
            ("sentence", "All is well."),
            ("interval", {"mean": 7.1875, "low": 7.0, "high": 7.8, "values": [1.0] * 8}),
        ],
    )
    def test_a_mark_put_in_by_hand_is_found(self, written: Path, key: str, value: object) -> None:
        with pytest.raises(KdlibError, match=rf"{key} of han2023\.1b is on file as .* run the notebook again"):
            self.change(written, verdicts={key: value}).recheck()

    def test_a_gate_that_was_added_afterwards_is_found(self, record: Record, conditioned: Callable) -> None:
        conditioned(gates=(TEACHER,))
        with pytest.raises(KdlibError, match=r"1b was judged without 'accuracy/teacher', which the claim as it stands"):
            record.recheck()

    def test_values_put_in_by_hand_are_found(self, written: Path) -> None:
        with pytest.raises(KdlibError, match="does not follow from its measurements"):
            self.change(written, measurements={"values": [99.0 - i for i in range(8)]}).recheck()


class TestReadRecords:
    def put(self, record: Record, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{record.notebook}.metrics.json"
        path.write_text(record.to_json(), encoding="utf-8")
        return path

    def test_every_preset_below_the_folders(self, make_record: Make, tmp_path: Path) -> None:
        for preset in ("quick", "gpu"):
            self.put(make_record(preset), tmp_path / "results" / preset)
        found = read_records([tmp_path / "results", tmp_path / "does_not_exist"])
        assert [(r.notebook, r.preset) for r in found] == [
            ("han2023_concept_detectors", "gpu"),
            ("han2023_concept_detectors", "quick"),
        ]

    def test_the_later_folder_wins(self, make_record: Make, tmp_path: Path) -> None:
        self.put(make_record(), tmp_path / "results" / "quick")
        self.put(make_record(seeds=2), tmp_path / "executed")
        (found,) = read_records([tmp_path / "results", tmp_path / "executed"])
        assert found.verdicts["han2023.1b"].contrast.n == 2
        (found,) = read_records([tmp_path / "executed", tmp_path / "results"])
        assert found.verdicts["han2023.1b"].contrast.n == 8

    def test_a_file_edited_by_hand_is_refused(self, make_record: Make, tmp_path: Path) -> None:
        path = self.put(make_record(), tmp_path)
        path.write_text(path.read_text().replace('"word": "supported"', '"word": "contradicted"'))
        with pytest.raises(KdlibError, match="run the notebook again"):
            read_records([tmp_path])

    def test_a_file_in_the_wrong_place_is_refused(self, make_record: Make, tmp_path: Path) -> None:
        path = self.put(make_record("quick"), tmp_path / "results" / "gpu")
        with pytest.raises(KdlibError, match="is of preset quick"):
            read_records([tmp_path])
        path.rename(path.with_name("other.metrics.json"))
        with pytest.raises(KdlibError, match=r"name it han2023_concept_detectors\.metrics\.json"):
            read_records([tmp_path])
