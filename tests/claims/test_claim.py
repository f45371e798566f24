"""The claims on file: complete, faithful to what is known of the paper, and refused in one sentence when malformed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kdlib.claims.claim import NOT_KNOWN, PROVENANCE
from kdlib.claims.claim_files import PAPERS, all_claims, load_claims, papers, parse_claims
from kdlib.claims.conditions import Conditions
from kdlib.errors import KdlibError

ROOT = Path(__file__).resolve().parents[2]
TEXT = (PAPERS / "han2023/claims.toml").read_text(encoding="utf-8")

MINIMAL = """
[paper]
key = "demo2020"
title = "Demo"
authors = "A"
venue = "V"
number = 7
text_open = true
[[claim]]
id = "demo2020.1"
short = "a beats b"
statement = "A is better than b."
where = "Table 1"
direction = "greater"
reported = [{ what = "a", value = "2", unit = "points", provenance = "paper" }]
metric = "score"
arm_a = "a"
arm_b = "b"
unit = "points"
smallest_effect = 1.0
smallest_effect_reason = "Because."
minimum_seeds = 3
test = "paired_contrast"
notebook = "demo"
status = "in the book"
experiments = ["E1"]
"""

# What the paper reports, as far as our sources go, typed again from the notes on it: claim -> (arm_b, arm_a).
REPORTED = {
    "han2023.1a": (69.94, 70.80),
    "han2023.1b": (275, 312),
    "han2023.2a": (69.94, 70.13),
    "han2023.2b": (275, 219),
    "han2023.3a": (2.8986, 2.9041),
    "han2023.3b": (2.8986, 2.6040),
    "han2023.3c": (219, 312),
    "han2023.5a": (287, 303),
    "han2023.5b": (304, 313),
    "han2023.5c": (282, 286),
    "han2023.5d": (304, 310),
    "han2023.7a": (275, 287),
    "han2023.7b": (275, 304),
    "han2023.7c": (275, 282),
    "han2023.7d": (275, 304),
}


class TestHan2023:
    def test_all_eight_claims_are_there(self) -> None:
        numbers = {re.sub(r"\D", "", claim.short_id) for claim in load_claims("han2023").values()}
        assert numbers == {str(i) for i in range(1, 9)}

    def test_reported_numbers_are_those_of_our_sources_and_nothing_more(self) -> None:
        found = {}
        for claim in load_claims("han2023").values():
            values = tuple(float(item.value) for item in claim.reported if item.value is not None)
            if values:
                found[claim.id] = values
        assert found == REPORTED

    def test_reported_numbers_lie_on_the_claimed_side(self) -> None:
        for claim_id, (arm_b, arm_a) in REPORTED.items():
            direction = load_claims("han2023")[claim_id].direction
            assert (arm_a > arm_b) == (direction == "greater"), claim_id

    def test_what_is_not_known_is_called_so(self) -> None:
        for claim in load_claims("han2023").values():
            if claim.id not in REPORTED:
                assert "not known" in claim.paper_says or "pictures only" in claim.paper_says, claim.id

    def test_scene_detectors_under_label_smoothing_rest_on_a_draft_and_say_so(self) -> None:
        claim = load_claims("han2023")["han2023.4c"]
        assert [item.provenance for item in claim.reported] == ["page:draft"]
        assert "draft" in claim.note

    def test_every_claim_of_the_paper_has_its_notebook_in_the_book(self) -> None:
        notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
        for claim in load_claims("han2023").values():
            assert claim.status == "in the book", claim.id
            assert claim.notebook in notebooks, claim.id

    def test_contrasts_are_told_apart_by_notebook_metric_and_arms(self) -> None:
        keys = [(claim.notebook, claim.contrast_name) for claim in all_claims().values()]
        assert len(set(keys)) == len(keys)

    def test_one_metric_has_one_unit_everywhere(self) -> None:
        units: dict[str, set[str]] = {}
        for claim in load_claims("han2023").values():
            units.setdefault(claim.metric, set()).add(claim.unit)
        assert all(len(found) == 1 for found in units.values()), units


class TestWording:
    def test_values_share_units_and_tags_only_where_they_agree(self) -> None:
        claims = load_claims("han2023")
        assert claims["han2023.1a"].paper_says == "scratch 69.94, KD 70.80 percent [page:fig, page:note]"
        assert "label smoothing 2.6040 " in claims["han2023.3b"].paper_says  # the digits are the source's
        assert claims["han2023.7a"].paper_says == (
            "scratch 275 [page:fig, page:note], AT alone 287 detectors of 512 units [page:fig]"
        )
        assert claims["han2023.3d"].paper_says == NOT_KNOWN

    def test_differences_of_percentages_are_points(self) -> None:
        claims = load_claims("han2023")
        assert claims["han2023.1a"].difference_unit == "percentage points"
        assert claims["han2023.1b"].difference_unit == "percentage points of the layer's units"

    def test_contrasts_read_as_prose(self) -> None:
        words = {claim.short_id: claim.contrast_in_words for claim in load_claims("han2023").values()}
        assert words["4b"] == "object detectors, label smoothing minus scratch"
        assert words["6b"] == "with a label-smoothed teacher, accuracy at T = 8 minus T = 1"

    def test_one_point_is_singular(self) -> None:
        claim = load_claims("han2023")["han2023.1b"]
        assert claim.smallest == "3.5 percentage points of the layer's units"
        assert replace(claim, smallest_effect=1.0).smallest == "1 percentage point of the layer's units"

    def test_no_code_of_an_experiment_is_in_a_text_for_readers(self) -> None:
        for claim in load_claims("han2023").values():
            texts = (claim.short, claim.statement, claim.where, claim.smallest_effect_reason, claim.note)
            assert not re.search(r"\b[CE]\d+b?\b", " ".join(texts)), claim.id

    def test_notes_say_what_a_verdict_does_not(self) -> None:
        claims = load_claims("han2023")
        assert claims["han2023.3b"].note.startswith("The targets of label smoothing are themselves at chance level")
        assert claims["han2023.1a"].note == ""


class TestValidation:
    def test_the_minimal_file_is_fine(self) -> None:
        assert list(parse_claims(MINIMAL, "demo.toml")) == ["demo2020.1"]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                'direction = "greater"',
                'direction = "grater"',
                "unknown direction of claim demo2020.1 'grater'; did you mean",
            ),
            (
                "minimum_seeds = 3",
                "minimal_seeds = 3",
                "unknown key of claim demo2020.1 .* 'minimal_seeds'; did you mean",
            ),
            ("minimum_seeds = 3\n", "", "lacks minimum_seeds"),
            ("minimum_seeds = 3", "minimum_seeds = 1", "minimum_seeds of claim demo2020.1 must be .* at least 2"),
            ("smallest_effect = 1.0", "smallest_effect = 0", "smallest_effect of claim demo2020.1"),
            ("smallest_effect = 1.0", 'smallest_effect = "much"', "smallest_effect of claim demo2020.1"),
            ('status = "in the book"', 'status = "done"', "unknown status of claim demo2020.1 'done'"),
            ('test = "paired_contrast"', 'test = "t_test"', "unknown test of claim demo2020.1"),
            ('provenance = "paper"', 'provenance = "hearsay"', "unknown provenance of 'a' 'hearsay'"),
            ('unit = "points", ', "", "value and unit go together"),
            ("reported = [{", 'reported = [{ kind = "x",', "unknown key of reported of claim demo2020.1"),
            ('value = "2"', 'value = "nan"', "reported value of 'a' must be a number in quotes"),
            ('value = "2"', "value = 2.50", 'reported value of .*, like "70.80", not 2.5'),
            ('arm_b = "b"', 'arm_b = "a"', "compares 'a' with itself"),
            ('id = "demo2020.1"', 'id = "other.1"', "must read demo2020"),
            ('notebook = "demo"', 'notebook = "notebooks/demo.ipynb"', "bare name"),
            ('statement = "A is better than b."', 'statement = " "', "statement must be a text"),
            ('experiments = ["E1"]', 'experiments = "E1"', "experiments must be a list"),
            ('title = "Demo"\n', "", r"\[paper\] of demo.toml lacks title"),
            ("number = 7\n", "", r"\[paper\] of demo.toml lacks number"),
            ("number = 7", "number = 0", "number of the paper demo2020 must be .* at least 1"),
            ("text_open = true", 'text_open = "no"', "text_open of the paper demo2020 must be true or false"),
            ("[paper]", "[[paper]]", "must be a table"),
            ("[[claim]]", "[[claims]]", "unknown key of demo.toml 'claims'; did you mean 'claim'"),
            ("[paper]", "[paper", "not valid TOML"),
        ],
    )
    def test_what_is_wrong_is_named(self, old: str, new: str, message: str) -> None:
        assert old in MINIMAL
        with pytest.raises(KdlibError, match=message):
            parse_claims(MINIMAL.replace(old, new, 1), "demo.toml")

    def test_reported_is_a_list_or_not_known(self) -> None:
        start = MINIMAL.index("reported = ")
        end = MINIMAL.index("\n", start)
        for value, fine in (('"not known"', True), ('"unknown"', False), ("[]", False), ("3", False)):
            text = MINIMAL[:start] + f"reported = {value}" + MINIMAL[end:]
            if fine:
                assert parse_claims(text, "demo.toml")["demo2020.1"].paper_says == NOT_KNOWN
            else:
                with pytest.raises(KdlibError, match="reported must be a list"):
                    parse_claims(text, "demo.toml")

    def test_an_id_stands_once(self) -> None:
        entry = MINIMAL[MINIMAL.index("[[claim]]") :]
        with pytest.raises(KdlibError, match=r"demo2020\.1 twice"):
            parse_claims(MINIMAL + entry, "demo.toml")

    def test_no_claims_at_all(self) -> None:
        with pytest.raises(KdlibError, match="holds no"):
            parse_claims(MINIMAL[: MINIMAL.index("[[claim]]")], "demo.toml")

    def test_unknown_paper_names_the_nearest(self) -> None:
        with pytest.raises(KdlibError, match="did you mean 'han2023'"):
            load_claims("han2032")

    def test_every_file_on_disk_loads(self) -> None:
        assert {claim.paper.key for claim in all_claims().values()} == set(papers())

    def test_tags_in_use_are_explained(self) -> None:
        for paper in papers():
            claims = load_claims(paper).values()
            used = {tag.strip() for c in claims for item in c.reported for tag in item.provenance.split(",")}
            head = (PAPERS / paper / "claims.toml").read_text(encoding="utf-8").split("[paper]")[0]
            assert used <= set(PROVENANCE)
            assert all(tag in head for tag in used)

    def test_the_papers_stand_in_the_order_of_the_book(self) -> None:
        keys = list(dict.fromkeys(claim.paper.key for claim in all_claims().values()))
        assert keys[:2] == ["han2023", "cheng2020"]
        judged = dict.fromkeys(("cheng2020.1a", "han2023.1a"))
        assert list(dict.fromkeys(claim.paper.key for claim in all_claims(judged).values())) == keys[:2]

    def test_what_is_only_remembered_says_so(self) -> None:
        assert "[memory]" in load_claims("cheng2020")["cheng2020.1d"].paper_says
        assert "could not look up" in PROVENANCE["memory"]


class TestFolders:
    """Papers are the folders with a settings.py; each needs its claims, and a place of its own in the book."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("kdlib.claims.claim_files.PAPERS", tmp_path)
        for key, number in (("demo2020", 7), ("demo2021", 3)):
            (tmp_path / key).mkdir()
            (tmp_path / key / "settings.py").touch()
            text = MINIMAL.replace("demo2020", key).replace("number = 7", f"number = {number}")
            (tmp_path / key / "claims.toml").write_text(text, encoding="utf-8")
        return tmp_path

    def test_the_number_is_the_place_in_the_book(self, folder: Path) -> None:
        (folder / "no_paper").mkdir()
        assert papers() == ("demo2020", "demo2021")
        assert list(all_claims()) == ["demo2021.1", "demo2020.1"]

    def test_a_folder_without_claims_is_named(self, folder: Path) -> None:
        (folder / "demo2021/claims.toml").unlink()
        for load in (lambda: load_claims("demo2021"), all_claims):
            with pytest.raises(KdlibError, match=r"the paper demo2021 has no claims\.toml in its folder"):
                load()

    def test_two_papers_of_one_number_are_refused(self, folder: Path) -> None:
        path = folder / "demo2021/claims.toml"
        path.write_text(path.read_text(encoding="utf-8").replace("number = 3", "number = 7"), encoding="utf-8")
        with pytest.raises(KdlibError, match="demo2020 and demo2021 both have the number 7"):
            all_claims()
        assert load_claims("demo2021")

    def test_a_folder_whose_claims_are_about_another_paper_is_refused(self, folder: Path) -> None:
        text = (folder / "demo2021/claims.toml").read_text(encoding="utf-8")
        (folder / "demo2020/claims.toml").write_text(text, encoding="utf-8")
        with pytest.raises(KdlibError, match="the folder's name and the paper's key must agree"):
            load_claims("demo2020")


SHARED = """
[gate.good_teacher]
kind = "at least"
reads = "accuracy/teacher"
threshold = 85
sentence = "A poor teacher has little to teach."

[control.shuffled]
name = "a shuffled teacher"
reads = "score/shuffled"
minus = "score/b"
because = "It has no similarity of classes."

[[claim]]"""
USED = """
gates = ["good_teacher", { kind = "above", reads = "score/a", minus = "score/untrained", sentence = "It must learn." }]
controls = ["shuffled"]
exploratory = true
exploratory_since = 2026-11-27
exploratory_why = "Added after the scores had been seen."
"""


class TestConditions:
    """Shared gates and controls stand at the top of the file; a claim names them."""

    WHOLE = MINIMAL.replace("[[claim]]", SHARED) + USED

    def test_a_claim_without_any_has_none(self) -> None:
        claim = parse_claims(MINIMAL, "demo")["demo2020.1"]
        assert claim.conditions == Conditions() and claim.needs == ("score/a", "score/b")

    def test_shared_and_own_ones_are_read(self) -> None:
        claim = parse_claims(self.WHOLE, "demo")["demo2020.1"]
        shared, own = claim.conditions.gates
        assert (shared.threshold, own.kind) == (85, "above")
        assert claim.conditions.controls[0].minus == "score/b" and claim.conditions.exploratory
        assert claim.needs == ("score/a", "score/b", "accuracy/teacher", "score/untrained")
        assert claim.reads == (*claim.needs, "score/shuffled")
        assert claim.effects_read == ("score/a", "score/b", "score/shuffled")

    def test_an_effect_in_odds_says_its_smallest_ratio(self) -> None:
        text = MINIMAL + 'effect_in = "odds"\nsmallest_odds_ratio = 1.16\n'
        assert parse_claims(text, "demo")["demo2020.1"].smallest == "odds ratio of 1.16 (or 0.862)"

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                'controls = ["shuffled"]',
                "",
                "no claim of demo names the control 'shuffled'; name it in one, or take it out",
            ),
            ('["good_teacher", ', "[", "no claim of demo names the gate 'good_teacher'"),
            (
                '["shuffled"]',
                '["shufled"]',
                "unknown control of claim demo2020.1 of demo 'shufled'; did you mean 'shuffled'",
            ),
            ('["good_teacher", ', '["god_teacher", ', "unknown gate of claim demo2020.1 of demo 'god_teacher'"),
            ("threshold = 85\n", "", r"\[gate.good_teacher\] of demo: .* lacks its threshold"),
            ("[gate.good_teacher]", "[gates.good_teacher]", "unknown key of demo 'gates'; did you mean 'gate'"),
            ("[gate.good_teacher]", "[gate]", r"\[gate.kind\] of demo must be a table"),
            ("exploratory_since", "exploratory_snce", "unknown key of claim demo2020.1 of demo 'exploratory_snce'"),
        ],
    )
    def test_what_is_wrong_is_named(self, old: str, new: str, message: str) -> None:
        assert old in self.WHOLE
        with pytest.raises(KdlibError, match=message):
            parse_claims(self.WHOLE.replace(old, new), "demo")
