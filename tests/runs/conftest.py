"""What the tests of the run store share."""

from __future__ import annotations

import pytest

from kdlib.runs import store


@pytest.fixture
def count_trainings(monkeypatch) -> list[int]:
    """One number for each training begun: the epoch from which it went on, 0 for a fresh one."""
    calls: list[int] = []
    fit = store.fit

    def counted(*args, resume=None, **kwargs):
        calls.append(resume.epoch if resume else 0)
        return fit(*args, resume=resume, **kwargs)

    monkeypatch.setattr(store, "fit", counted)
    return calls
