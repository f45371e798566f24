"""The whole book, executed and built once at smoke scale for a test session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from kdlib.book.build import Project, build_book

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """One folder for the whole session, also where several workers run it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def run_store(shared) -> Path:
    """The one store of trained models that the build and the notebook tests fill together."""
    return shared / "runs"


@pytest.fixture(scope="session")
def smoke_project(shared, run_store) -> Project:
    """The repository's book with its notebooks executed at smoke scale, somewhere else than in the repository.

    `$KDLIB_BUILT_BOOK` names a folder of built pages to take instead, such as `_build/html`.
    """
    if os.environ.get("KDLIB_BUILT_BOOK"):
        return Project(ROOT, build_at=Path(os.environ["KDLIB_BUILT_BOOK"]).parent)
    project = Project(ROOT, executed_at=shared / "executed", build_at=shared / "_build")
    with FileLock(shared / "book.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(run_store))
        build_book(project, preset="smoke")
    return project


@pytest.fixture(scope="session")
def built_book(smoke_project) -> Path:
    """The folder of the built pages; `index.html` lies at its top."""
    return smoke_project.build / "html"
