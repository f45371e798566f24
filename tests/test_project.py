"""The project's own files agree with each other: dependencies, pins, workflow, citation, licences."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from kdlib import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(text) for text in [*PROJECT["dependencies"], *EXTRAS["book"], *EXTRAS["test"]]]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): Version(version) for name, version in found.items()}


def pip_part() -> list[str]:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return next(item["pip"] for item in dependencies if isinstance(item, dict))


def test_conda_and_pip_users_get_the_same_requirements():
    listed = [Requirement(line) for line in pip_part() if not line.startswith("-")]
    assert {(r.name, str(r.specifier)) for r in listed} == {(r.name, str(r.specifier)) for r in REQUIREMENTS}
    assert len(listed) == len(REQUIREMENTS)


def test_the_conda_environment_is_pinned_and_installs_kdlib_itself():
    assert pip_part()[:2] == ["-c constraints.txt", "-e ."]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(item for item in environment["dependencies"] if str(item).startswith("python"))
    assert Requirement(python).specifier == Requirement("python" + PROJECT["requires-python"]).specifier


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement):
    assert requirement.specifier.contains(pins()[requirement.name])


def test_torch_and_torchvision_are_the_pair_that_belongs_together():
    assert (str(pins()["torch"]), str(pins()["torchvision"])) == ("2.13.0", "0.28.0")


def test_pins_hold_on_any_platform():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), f"not portable: {line}"
    assert not [name for name in pins() if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert "kdlib" not in pins()


def test_versions_agree():
    assert PROJECT["version"] == __version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_the_citation_names_the_five_papers_of_the_bibliography():
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    assert len(references) == 5
    bibliography = (ROOT / "book/references.bib").read_text()
    for reference in references:
        assert reference["identifiers"][0]["value"] in bibliography
        assert reference["authors"][0]["family-names"] in bibliography


def test_the_repository_s_address_is_the_same_everywhere():
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == address


def test_the_workflow_tests_before_it_publishes():
    workflow = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text())
    jobs = workflow["jobs"]
    commands = [step.get("run", "") for step in jobs["test"]["steps"]]
    assert any(".ci/run" in command for command in commands)
    assert jobs["publish"]["needs"] == "book" and jobs["book"]["needs"] == "test"
    assert any("make book" in step.get("run", "") for step in jobs["book"]["steps"])
    assert "refs/heads/main" in jobs["publish"]["if"]


def test_ci_runs_what_make_test_runs():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("exec make test")
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_every_make_target_is_told_by_make_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    told = re.findall(r"make (\w+) ", makefile.split("help:")[2 if ".PHONY: help:" in makefile else 1])
    assert set(targets) - {"help"} <= set(told)


def test_vendored_files_are_named_with_their_licence():
    licences = (ROOT / "book/_static/LICENSES.md").read_text()
    for path in (ROOT / "book/_static").rglob("*"):
        if path.is_file() and path.suffix in (".js", ".css"):
            assert path.name in licences, f"{path.name} has no line in LICENSES.md"
        assert not path.is_file() or path.stat().st_size < 5_000_000
    assert "*.woff2" in licences


def test_every_promise_of_security_md_names_a_test_that_is_there():
    from kdlib.data.decode import FORMATS, MAX_PIXELS

    text = (ROOT / "SECURITY.md").read_text()
    file, named = "", []
    for name in re.findall(r"`(tests/[\w/]+\.py|test_\w+)`", text):
        if name.startswith("tests/"):
            file = name
        else:
            named.append((file, name))
    assert len(named) > 15
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"
    assert f"{MAX_PIXELS:,} pixels" in text and f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]} are opened" in text
