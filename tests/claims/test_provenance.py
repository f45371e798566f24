"""Where a number comes from, without saying on whose machine."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest

from kdlib.claims import provenance as module


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


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

    monkeypatch.setattr(module, "_PACKAGE", package.resolve())
    assert module.git_commit() is None  # no checkout at all
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "kdlib/a.py")
    git(tmp_path, "commit", "-q", "-m", "one", "--no-verify")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert module.git_commit() == commit
    (tmp_path / "notes.txt").write_text("not source")
    assert module.git_commit() == commit
    (package / "a.py").write_text("2")
    assert module.git_commit() == f"{commit}+changes"


def test_installed_inside_another_projects_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / ".venv" / "kdlib"
    package.mkdir(parents=True)
    (tmp_path / "theirs.txt").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "theirs.txt")
    git(tmp_path, "commit", "-q", "-m", "theirs", "--no-verify")
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


def test_an_accelerator_is_named_by_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert module.device_name("cpu") == "cpu"
    assert module.device_name(None) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Accelerator 9000 ({device})")
    assert module.device_name("cuda:1") == "cuda:1, Accelerator 9000 (cuda:1)"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert module.device_name("cuda") == "cuda"
