"""What `kdlib runs` shows of the store."""

from __future__ import annotations

import pytest
from tiny_runs import SCRATCH, distilled

from kdlib.errors import KdlibError
from kdlib.runs.listing import list_runs, remove_run, show_run
from kdlib.runs.place import store_root
from kdlib.runs.store import get_or_train


def test_runs_are_listed_shown_and_removed_by_a_part_of_their_key(splits):
    run = get_or_train(distilled(alpha=0.5, temperature=1.0), splits)
    rows = {row["key"]: row for row in list_runs()}
    assert rows[run.key]["objective"] == "kd alpha=0.5 temperature=1.0"
    assert show_run(run.key[:8])["spec"]["seed"] == 1
    assert remove_run(run.key[:8]) == run.key
    assert run.key not in {row["key"] for row in list_runs()}
    with pytest.raises(KdlibError, match=r"no run|unknown run"):
        show_run("ffffffff")


def test_a_damaged_entry_does_not_break_the_listing(splits):
    run = get_or_train(SCRATCH, splits)
    (store_root() / run.key / "run.json").write_text("{")
    assert "damaged" in list_runs()[0]["data"]
    with pytest.raises(KdlibError, match=rf"the stored run {run.key} is damaged .*kdlib runs rm {run.key}"):
        show_run(run.key)
