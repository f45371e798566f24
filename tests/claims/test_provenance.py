"""Where a number comes from, without saying on whose machine."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest

from kdlib.claims import provenance as module


def test_neither_host_nor_folder_is_told() -> None:
    text = json.dumps(module.provenance("cpu", "f00d"))
    assert platform.node() == "" or platform.node() not in text
    assert str(Path.cwd()) not in text
    assert f"/{getpass.getuser()}" not in text


def test_commit_of_the_checkout_with_a_mark_where_source_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "kdlib"
    package.mkdir()
    (package / "a.py").write_text("1")

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    monkeypatch.setattr(module, "_PACKAGE", package.resolve())
    assert module.git_commit() is None  # no checkout at all
    git("init", "-q")
    git("add", "kdlib/a.py")
    git("commit", "-q", "-m", "one", "--no-verify")
    commit = git("rev-parse", "HEAD")
    assert module.git_commit() == commit
    (tmp_path / "notes.txt").write_text("not source")
    assert module.git_commit() == commit
    (package / "a.py").write_text("2")
    assert module.git_commit() == f"{commit}+changes"


def test_installed_inside_another_projects_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    package = tmp_path / ".venv" / "kdlib"
    package.mkdir(parents=True)
    monkeypatch.setattr(module, "_PACKAGE", package.resolve())
    assert module.git_commit() is None


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert module.git_commit() is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/ada/data", "…/data"),
        ("~/data", "…/data"),
        (Path("/srv/cifar"), "…/cifar"),
        ("C:\\Users\\ada\\voc", "…/voc"),
        ("concept_world/probe", "concept_world/probe"),
        (4, 4),
        (("/a/b", 1), ["…/b", 1]),
    ],
)
def test_absolute_paths_are_cut_to_their_last_part(value: object, shown: object) -> None:
    assert module.free_of_paths(value) == shown
