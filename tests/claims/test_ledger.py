"""The ledger says what the records say: every claim, every verdict, null results included, and nothing else."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prose import check_prose

from kdlib.claims import WORDS, Record, load_claims
from kdlib.claims.conditions import Conditions
from kdlib.claims.controls import Control
from kdlib.claims.forest_rows import NOT_YET
from kdlib.claims.gates import Gate
from kdlib.claims.ledger import compile_ledger, ledger_page
from kdlib.claims.readme import results_in_readme
from kdlib.claims.rule import RULE
from kdlib.errors import KdlibError

Make = Callable[..., Record]
CLAIMS = load_claims("han2023")


def plotted(page: str, claim_id: str) -> str:
    """The line of the forest plot about one claim."""
    (line,) = [line for line in page.splitlines() if f'id="forest-{claim_id}"' in line]
    return line


def word_in(line: str) -> str:
    """The verdict that a line of the forest plot shows."""
    return re.sub(r"<svg.*?</svg> ", "", re.search(r'<strong class="forest-verdict">(.*?)</strong>', line)[1])


def rows(page: str, claim_id: str) -> list[list[str]]:
    """The cells of the table rows about one claim, of the paper's own section."""
    section = page.partition(f"(ledger-{CLAIMS[claim_id].paper.key})=")[2].partition("(ledger-")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section.splitlines()
        if line.startswith(f"| {CLAIMS[claim_id].short_id}: ")
    ]


class TestCompile:
    def test_the_plot_gives_verdict_measurement_and_chapter_and_the_table_what_is_reported(
        self, make_record: Make
    ) -> None:
        page = compile_ledger(CLAIMS, [make_record()])
        line = plotted(page, "han2023.1b")
        link = '<a href="../notebooks/han2023_concept_detectors.html">1b: KD gives more concept detectors</a>'
        assert link in line and word_in(line) == "supported"
        assert "+7.19 (+6.56 to +7.82) points of the layer&#x27;s units; quick, 8 seeds<" in line
        reported = r"scratch 275, KD 312 detectors of 512 units \[page:fig, page:note\]"
        assert rows(page, "han2023.1b") == [["1b: KD gives more concept detectors", reported]]

    def test_every_claim_is_plotted_measured_or_not(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record()])
        judged = {"han2023.1b", "han2023.2b"}
        for claim_id in CLAIMS:
            assert (word_in(plotted(page, claim_id)) == NOT_YET) is (claim_id not in judged)
            assert len(rows(page, claim_id)) == 1

    def test_a_null_result_is_printed_like_any_other(self, make_record: Make) -> None:
        null = plotted(compile_ledger(CLAIMS, [make_record()]), "han2023.2b")
        assert word_in(null) == "not supported"
        assert ">+0.10 (−0." in null

    def test_a_measured_number_stands_once_on_the_page(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record()])
        assert page.count("+7.19 (+6.56 to +7.82)") == 1

    def test_the_summary_counts_the_rows(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record("quick"), make_record("gpu", seeds=1)])
        assert f"**{len(CLAIMS)} claims on file, 2 measured, {len(CLAIMS) - 2} not yet measured.**" in page
        quick, gpu = (
            "[small networks, few seeds](using.md)",
            "[larger networks, whole data sets, eight seeds](using.md)",
        )
        assert (
            f"At preset `quick` ({quick}): 1 supported, 1 not supported, 0 contradicted, 0 inconclusive, 0 no test."
            in page
        )
        assert (
            f"At preset `gpu` ({gpu}): 0 supported, 0 not supported, 0 contradicted, 2 inconclusive, 0 no test." in page
        )

    def test_the_largest_preset_is_plotted_and_the_others_stand_in_a_table(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record("gpu", seeds=1), make_record("quick")])
        line = plotted(page, "han2023.1b")
        assert word_in(line) == "inconclusive"
        assert "+7 points of the layer&#x27;s units (one seed, no interval); gpu, 1 seed<" in line
        _, quick = rows(page, "han2023.1b")
        run = "{doc}`quick, 8 seeds </notebooks/han2023_concept_detectors>`"
        assert quick[1:] == ["**supported**", "+7.19 (+6.56 to +7.82) points of the layer's units", run]
        assert "other presets" not in compile_ledger(CLAIMS, [make_record("quick")])

    def test_smoke_backs_nothing(self, make_record: Make) -> None:
        assert compile_ledger(CLAIMS, [make_record("smoke")]) == compile_ledger(CLAIMS, [])

    def test_how_verdicts_are_reached_and_what_was_fixed_stands_in_it(self) -> None:
        page = compile_ledger(CLAIMS, [])
        for word in WORDS:
            assert f"- **{word}**: " in page
        fixed = page[page.index("What was fixed before measuring") : page.index("## How")]
        for claim in CLAIMS.values():
            assert f"- {claim.short_id}: " in fixed
        assert "smallest effect that would matter: 3.5 percentage points of the layer's units." in fixed

    def test_gates_controls_and_the_mark_of_an_exploratory_claim_stand_with_what_was_fixed(
        self, make_record: Make
    ) -> None:
        gate = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
        control = Control("a shuffled teacher", "detectors/kd_shuffled", "No similarity is left.", "detectors/scratch")
        since = datetime.date(2026, 11, 27)
        conditions = Conditions((gate,), (control,), exploratory_since=since, exploratory_why="Seen before.")
        claims = {**CLAIMS, "han2023.3a": replace(CLAIMS["han2023.3a"], conditions=conditions)}
        page = compile_ledger(claims, [make_record()])
        (fixed,) = [line for line in page.splitlines() if line.startswith("- 3a: ") and "Contrast:" in line]
        assert fixed.endswith(
            "At least 8 replicates. Gate: A poor teacher has little to teach. Control: a shuffled teacher. No "
            "similarity is left. Exploratory since 2026-11-27: Seen before."
        )
        assert f"**{len(CLAIMS) - 1} claims on file, 2 measured, {len(CLAIMS) - 3} not yet measured.**" in page
        assert "1 exploratory claim is not counted: added after the result was seen." in page
        assert any(line.startswith("| 3a: ") and "(exploratory)" in line for line in page.splitlines())

    def test_the_corrected_p_value_stands_beside_the_verdict(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record()])
        assert ">p &lt; 0.0001 with Holm&#x27;s correction<" in plotted(page, "han2023.1b")
        few = compile_ledger(CLAIMS, [make_record(seeds=5)])
        assert "with Holm" not in plotted(few, "han2023.1b")
        assert ">about 8 replicates would decide<" in plotted(few, "han2023.1b")

    def test_the_rule_is_the_one_text(self) -> None:
        page = compile_ledger(CLAIMS, [])
        assert [f"- **{word}**: {RULE[word]}." in page for word in WORDS] == [True] * len(WORDS)

    def test_what_we_have_second_hand_is_headed_so(self) -> None:
        heads = [line for line in ledger_page([]).splitlines() if line.startswith("| Claim |")]
        assert heads and all(head == "| Claim | Reported (second-hand) |" for head in heads)

    def test_the_papers_stand_in_the_order_of_the_book(self) -> None:
        page = ledger_page([])
        assert page.index("(ledger-han2023)=") < page.index("(ledger-cheng2020)=")

    def test_provenance_of_every_record_and_no_more(self, make_record: Make) -> None:
        assert "Where the numbers come from" not in compile_ledger(CLAIMS, [])
        page = compile_ledger(CLAIMS, [make_record(), make_record("gpu")])
        listed = page[page.index("## Where the numbers come from") :]
        assert len(re.findall(r"^- \{doc\}`han2023_concept_detectors", listed, re.MULTILINE)) == 2

    def test_tags_in_use_are_explained(self) -> None:
        page = compile_ledger(CLAIMS, [])
        explained = page[: page.index("| Claim |")]  # before the table that uses them
        assert (
            "The text of the paper was not open to us: its numbers are from a figure (`page:fig`), a third-party "
            "reading note (`page:note`), a blog post (`page:blog`) or an early draft of it (`page:draft`); *not known* "
            "means that none of these has it."
        ) in explained
        assert "`repo`" not in page  # no claim of this paper uses it

    def test_a_paper_that_was_read_is_not_called_closed(self) -> None:
        claim = CLAIMS["han2023.1b"]
        reported = tuple(replace(item, provenance="paper") for item in claim.reported)
        read = replace(claim, reported=reported, paper=replace(claim.paper, text_open=True))
        page = compile_ledger({claim.id: read}, [])
        assert "| The paper says |" in page and "second-hand" not in page
        assert "The paper's numbers are from the paper's own text (`paper`); *not known*" in page
        assert "not open to us" not in page

    def test_it_speaks_to_readers(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record()])
        assert "- 6a: " in page and "with a label-smoothed teacher, detectors at T = 8 minus T = 1" in page
        assert "synthetic cells" not in page
        assert "1 percentage points" not in page.replace(".1 percentage points", "")
        assert not re.search(r"\b[CE]\d+b?\b", page)
        seen = re.sub(r'id="[^"]*"', "", page)
        assert "han2023.1" not in seen  # ids too long for a narrow column

    def test_tables_hold_together(self, make_record: Make) -> None:
        for line in compile_ledger(CLAIMS, [make_record()]).splitlines():
            if line.startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", line)) == 3, line

    def test_same_input_same_page(self, make_record: Make) -> None:
        records = [make_record("gpu"), make_record("quick")]
        assert compile_ledger(CLAIMS, records) == compile_ledger(CLAIMS, records[::-1])

    def test_the_heading_may_be_left_to_the_caller(self) -> None:
        assert compile_ledger(CLAIMS, []).startswith("# Ledger of claims\n")
        assert "\n# " not in f"\n{compile_ledger(CLAIMS, [], title=None)}"

    def test_a_record_of_an_unknown_claim_is_refused(self, make_record: Make) -> None:
        without = {claim_id: claim for claim_id, claim in CLAIMS.items() if claim_id != "han2023.2b"}
        with pytest.raises(KdlibError, match=r"\(quick\) judges han2023\.2b, which no paper"):
            compile_ledger(without, [make_record()])

    def test_a_verdict_that_does_not_follow_is_refused(self, make_record: Make) -> None:
        record = make_record()
        record.verdicts["han2023.2b"] = record.verdicts["han2023.1b"]
        with pytest.raises(KdlibError, match=r"han2023\.2b is on file as 'supported'"):
            compile_ledger(CLAIMS, [record])

    def test_from_folders(self, make_record: Make, tmp_path: Path) -> None:
        record = make_record()
        (tmp_path / "han2023_concept_detectors.metrics.json").write_text(record.to_json(), encoding="utf-8")
        assert word_in(plotted(ledger_page([tmp_path]), "han2023.1b")) == "supported"
        assert word_in(plotted(ledger_page([]), "han2023.1b")) == NOT_YET


class TestProse:
    def test_the_compiled_pages_are_backed(self, make_record: Make) -> None:
        records = [make_record("quick"), make_record("gpu", seeds=1), make_record("smoke")]
        check_prose(compile_ledger(CLAIMS, records), records)
        check_prose(results_in_readme(records)[0], records)

    def test_a_page_is_not_backed_by_less_than_what_made_it(self, make_record: Make) -> None:
        page = compile_ledger(CLAIMS, [make_record()])
        for records in ([], [make_record("smoke")], [make_record("gpu")], [make_record(seeds=1)]):
            with pytest.raises(KdlibError, match="no record backs it"):
                check_prose(page, records)

    def test_a_page_made_before_the_measurement_is_stale(self, make_record: Make) -> None:
        with pytest.raises(KdlibError, match=r"'not yet measured' of han2023\.1b"):
            check_prose(compile_ledger(CLAIMS, []), [make_record()])

    def test_every_verdict_of_the_plot_changed_by_hand_is_found(self, make_record: Make) -> None:
        records = [make_record()]
        page = compile_ledger(CLAIMS, records)
        for claim_id in CLAIMS:
            line = plotted(page, claim_id)
            for word in WORDS:
                if word == word_in(line):
                    continue
                forged = line.replace(f"{word_in(line)}</strong>", f"{word}</strong>")
                with pytest.raises(KdlibError, match=re.escape(f"'{word}' of {claim_id}")):
                    check_prose(page.replace(line, forged), records)

    @pytest.mark.parametrize(
        ("line", "backed"),
        [
            ("KD has more detectors (han2023.1b: supported).", True),
            ("KD has more detectors (`han2023.1b`: **Supported**, see the ledger).", True),
            ("KD has more detectors (han2023.1b: not supported).", False),
            ("Label smoothing keeps them (han2023.2b: not supported).", True),
            ("Label smoothing keeps them (han2023.2b: supported).", False),
            ("Accuracy is better (han2023.1a: supported).", False),
            ("Accuracy is not yet measured (han2023.1a).", True),
            ("Detectors are not yet measured (han2023.1b).", False),
            ("A verdict is supported, not supported, contradicted or inconclusive.", True),
            ("Claim han2023.1a is about accuracy.", True),
        ],
    )
    def test_sentences(self, make_record: Make, line: str, backed: bool) -> None:
        if backed:
            check_prose(line, [make_record()])
        else:
            with pytest.raises(KdlibError, match="line 1 says"):
                check_prose(line, [make_record()])

    def test_a_row_is_about_the_paper_named_above_it(self, make_record: Make) -> None:
        row = "| 1a: KD raises accuracy | **supported** | +7 | quick, 8 seeds |"
        for above in ("", "Han et al. (`han2023`)\n\n", "(ledger-han2023)=\n"):
            with pytest.raises(KdlibError, match=r"'supported' of .*han2023\.1a"):
                check_prose(above + row, [make_record()])
            check_prose(above + row.replace("1a", "1b"), [make_record()])

    def test_smoke_results_back_no_sentence(self, make_record: Make) -> None:
        line = "KD has more detectors (han2023.1b: supported)."
        check_prose(line, [make_record("smoke"), make_record("quick")])
        with pytest.raises(KdlibError, match="line 1 says"):
            check_prose(line, [make_record("smoke")])


@pytest.mark.book
@pytest.mark.slow
def test_the_ledger_builds_as_a_page_with_warnings_as_errors(make_record: Make, tmp_path: Path) -> None:
    pytest.importorskip("jupyter_book")
    records = [make_record(), make_record("gpu", seeds=1)]
    chapters = "".join(
        f"- file: {name}\n" for name in ("book/ledger", "book/using", "notebooks/han2023_concept_detectors")
    )
    cell = {"cell_type": "markdown", "metadata": {}, "source": "# Page"}
    files = {
        "_config.yml": "title: Book\nauthor: us\nlogo: ''\nexecute:\n  execute_notebooks: 'off'\n",
        "_toc.yml": f"format: jb-book\nroot: index\nchapters:\n{chapters}",
        "index.md": "# Home\n",
        "book/using.md": "# Run it your way\n",
        "book/ledger.md": compile_ledger(CLAIMS, records),
        "notebooks/han2023_concept_detectors.ipynb": json.dumps(
            {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "-W", "-n", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (tmp_path / "_build/html/book/ledger.html").read_text(encoding="utf-8")
    # Every verdict leads to its page, those in the plot and those at other presets.
    assert page.count("../notebooks/han2023_concept_detectors.html") >= 4
    assert 'class="forest-row"' in page
    assert "What was fixed before measuring" in page
    assert "[page:fig, page:note]" in page
    assert "{doc}" not in page and "**" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
