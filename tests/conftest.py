"""Small data, an empty run store for every test, and one headless browser for a whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from bare_claims import without_conditions
from browser_checks import find_chromium, launched
from stripes import striped_splits

from kdlib.data.labelled_set import Splits
from kdlib.runs import store


@pytest.fixture(autouse=True)
def _own_run_store(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's store of runs."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))


@pytest.fixture(autouse=True)
def _same_random_numbers_every_time():
    """What a test draws from torch's global generator is the same in every run."""
    torch.manual_seed(0)


@pytest.fixture
def splits() -> Splits:
    """128 training images of `striped_images`, 64 of each other part."""
    return striped_splits()


@pytest.fixture(scope="module")
def bare_claims() -> Iterator[None]:
    """The papers' claims as their contrasts alone decide them, for tests of what comes after a verdict."""
    with without_conditions():
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the browser tests are skipped."""
    return find_chromium()


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator:
    """A headless Chromium, one for all tests: a second one in the same process would be refused."""
    with launched(chromium) as opened:
        yield opened


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
