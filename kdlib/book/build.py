"""The book's build: execute what changed, stage it beside the text, let Jupyter Book render it, swap it in.

A page is only ever built from a notebook that ran to its end, and only a complete book ever replaces `_build/html`.

    notebooks/x.ipynb --papermill--> book/executed/x.ipynb (+ x.metrics.json, x.stamp)
    _config.yml, _toc.yml, book/, executed notebooks, ledger --> _build/source --jupyter-book--> _build/html
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from kdlib.book.chapters import fill_chapters
from kdlib.book.execute import (
    PRESETS,
    REPOSITORY,
    NotebookFailed,
    execute_notebook,
    fingerprint,
    list_notebooks,
    notebook_form,
    read_notebook,
    replace_file,
)
from kdlib.errors import KdlibError, choose

Say = Callable[[str], None]
TIMES = "seconds.json"  # beside the committed results: how long each notebook took


@dataclass(frozen=True)
class Project:
    """Where the parts of a book lie; `root` holds _config.yml, _toc.yml, book/ and notebooks/."""

    root: Path = REPOSITORY
    executed_at: Path | None = None
    build_at: Path | None = None

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def executed(self) -> Path:
        return self.executed_at or self.root / "book/executed"

    @property
    def build(self) -> Path:
        return self.build_at or self.root / "_build"

    def chapters(self) -> list[Path]:
        """The notebooks in the order of the table of contents; the two must name the same files."""
        import yaml

        try:
            toc = (self.root / "_toc.yml").read_text(encoding="utf-8")
        except OSError:
            raise KdlibError(f"{self.root} has no _toc.yml; run this in a clone of the repository") from None
        listed = [name for name in _files_in(yaml.safe_load(toc)) if name.startswith("notebooks/")]
        paths = [self.root / (name.removesuffix(".ipynb") + ".ipynb") for name in listed]
        for path in paths:
            if not path.is_file():
                raise KdlibError(f"_toc.yml names notebooks/{path.stem}, but there is no notebooks/{path.name}")
        for path in list_notebooks(self.notebooks):
            if path not in paths:
                raise KdlibError(f"notebooks/{path.name} is not in the book; add it to _toc.yml")
        return paths


def _files_in(node: Any) -> list[str]:
    """Every page a table of contents names, in its order."""
    if isinstance(node, dict):
        own = [str(node[key]) for key in ("root", "file") if key in node]
        return own + [name for value in node.values() for name in _files_in(value)]
    if isinstance(node, list):
        return [name for item in node for name in _files_in(item)]
    return []


def execute_all(project: Project, preset: str = "quick", say: Say = print) -> list[Path]:
    """Execute every chapter whose source, parameters or kdlib changed; return the executed notebooks.

    A notebook's stamp is written after the notebook itself, so one that was interrupted is executed again. Stops at the
    first notebook that fails, with NotebookFailed; what was executed before it stays and is not repeated.
    """
    choose(preset, PRESETS, "preset")
    chapters = project.chapters()
    project.executed.mkdir(parents=True, exist_ok=True)
    for leftover in set(project.executed.iterdir()):
        # A folder is none of ours: Jupyter puts its .ipynb_checkpoints beside a notebook that someone opens.
        if leftover.is_file() and leftover.name.split(".")[0] not in {path.stem for path in chapters}:
            leftover.unlink()
    done = []
    for number, path in enumerate(chapters, 1):
        label = f"[{number}/{len(chapters)}] {path.stem}"
        target, stamp = project.executed / path.name, project.executed / f"{path.stem}.stamp"
        metrics = project.executed / f"{path.stem}.metrics.json"
        failed = project.executed / f"{path.stem}.failed.ipynb"
        source = read_notebook(path)
        defaults = {parameter.name: parameter.default for parameter in notebook_form(source, path.stem)}
        key = fingerprint(source, {**defaults, "preset": preset})
        done.append(target)
        noted = _stamp(stamp)
        if target.is_file() and noted.get("fingerprint") == key and metrics.is_file() == noted["measured"]:
            say(f"{label}: unchanged")
            continue
        stamp.unlink(missing_ok=True)
        metrics.unlink(missing_ok=True)
        say(f"{label}: executing (preset {preset})")
        result = execute_notebook(path, {"preset": preset}, failed_copy=failed, on_progress=line_on_terminal(label))
        replace_file(target, nbformat.writes(result.notebook))
        # A notebook that measures nothing leaves no record; the ledger would look for one in the file.
        measured = set(result.metrics) > {"execution"}
        if measured:
            replace_file(metrics, json.dumps(result.metrics, indent=1, sort_keys=True) + "\n")
        notes = {"fingerprint": key, "seconds": round(result.seconds, 1), "measured": measured}
        replace_file(stamp, json.dumps(notes) + "\n")
        failed.unlink(missing_ok=True)
        say(f"{label}: done in {result.seconds:.0f} s")
    return done


def _stamp(path: Path) -> dict[str, Any]:
    """What was noted when a notebook was last executed to its end; empty if nothing readable was."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def line_on_terminal(label: str) -> Callable[[int, int, float], None] | None:
    """A counter that rewrites its own line, where there is a terminal to see it."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int, seconds: float) -> None:
        cells = f"cell {done} of {total}, " if total else ""
        print(f"\r{label}: {cells}{seconds:.0f} s ", end="\r", file=sys.stderr, flush=True)

    return show


def stage(project: Project, executed: list[Path]) -> Path:
    """Lay out what Jupyter Book reads, mirroring the repository, in `_build/source`; return that folder."""
    source = project.build / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(project.root / name, source / name)
    hidden = shutil.ignore_patterns("executed", "results", "__pycache__", "*.py", ".*")
    shutil.copytree(project.root / "book", source / "book", ignore=hidden)
    (source / "notebooks").mkdir()
    for path in executed:
        page = describe_images(read_notebook(path))
        (source / "notebooks" / path.name).write_text(nbformat.writes(page), encoding="utf-8")
    (source / "book/ledger.md").write_text(_ledger(project), encoding="utf-8")
    fill_chapters(source / "book", _results(project))
    return source


def describe_images(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of an executed notebook whose cells name their image's alternative text where MyST-NB looks for it.

    JupyterLab and `kdlib.plotting.style.show` keep the text with the image; MyST-NB takes one text a cell, from the
    cell's metadata. So the outputs from a cell's second described image on move to cells of their own, without input.
    """
    described = nbformat.reads(nbformat.writes(notebook), as_version=4)
    cells = []
    for cell in described.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        outputs, cell.outputs, number = cell.outputs, [], 0
        for output in outputs:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                number += 1
                if number > 1:
                    cells.append(_cell_of_outputs(cell, number))
                cells[-1].metadata.setdefault("mystnb", {}).setdefault("image", {})["alt"] = alt
            cells[-1].outputs.append(output)
    described.cells = cells
    return described


def _cell_of_outputs(cell: nbformat.NotebookNode, number: int) -> nbformat.NotebookNode:
    """A cell that shows nothing but outputs, in the manner of `cell`."""
    tags = ["remove-input"]
    for tag in cell.metadata.get("tags", []):
        if tag in ("hide-output", "hide-cell"):
            tags.append("hide-output")
        elif tag in ("remove-output", "remove-cell"):
            tags.append(tag)
    # MyST-NB passes over a cell whose source is empty, its outputs with it.
    alone = nbformat.v4.new_code_cell(f"# image {number} of the cell above", metadata={"tags": tags})
    # A new cell has a random identity; the staged tree must be the same at each build.
    alone.id = f"{cell.get('id', 'cell')[:50]}-image-{number}"
    return alone


def _ledger(project: Project) -> str:
    """The page of verdicts, compiled from the records the executed notebooks wrote and from those committed."""
    from kdlib.claims.ledger import ledger_page

    return ledger_page(_results(project))


def _results(project: Project) -> list[Path]:
    """Where records lie; the later folder wins, so fresh results stand before committed ones of the same preset."""
    return [project.root / "book/results", project.executed]


def _tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def build_book(project: Project | None = None, preset: str = "quick", say: Say = print) -> Path:
    """Execute, stage and render the book; return the path of its index page.

    Warnings are errors. Raises NotebookFailed if a notebook or the rendering fails; `_build/html` then still holds the
    previous complete book, or nothing.
    """
    from filelock import FileLock, Timeout

    project = project or Project()
    choose(preset, PRESETS, "preset")
    project.build.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(project.build / ".lock", timeout=0):
            return _build(project, preset, say)
    except Timeout:
        raise KdlibError(f"another build is at work in {project.build}; wait for it to end") from None


def _build(project: Project, preset: str, say: Say) -> Path:
    started = time.monotonic()
    html, stamp = project.build / "html", project.build / "html.stamp"
    source = stage(project, execute_all(project, preset, say))
    key = _tree_hash(source)
    if (html / "index.html").is_file() and stamp.is_file() and stamp.read_text() == key:
        say("pages: unchanged")
        return html / "index.html"
    stamp.unlink(missing_ok=True)
    say("pages: rendering with Jupyter Book")
    work = project.build / "work"
    shutil.rmtree(work, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(source),
        "--path-output",
        str(work),
    ]
    command += ["-W", "-n", "--keep-going", "--all"]
    finished = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )
    log = project.build / "jupyter-book.log"
    log.write_text(finished.stdout, encoding="utf-8")
    fresh = work / "_build/html"
    if finished.returncode != 0 or not (fresh / "index.html").is_file():
        shutil.rmtree(work, ignore_errors=True)
        told = [line for line in finished.stdout.splitlines() if re.search(r"WARNING|ERROR|[Ee]rror:", line)]
        told = told or finished.stdout.splitlines()[-5:]
        raise NotebookFailed("\n".join(["the book could not be rendered:", *told[:20], f"The whole log: {log}"]))
    old = project.build / "html.old"
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    fresh.rename(html)
    replace_file(stamp, key)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    say(f"pages: done ({time.monotonic() - started:.0f} s in all)")
    return html / "index.html"


# ---- executed notebooks back into the repository --------------------------------------------------------------------

_VOLATILE_CELL = ("papermill", "execution", "ExecuteTime")
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def clean_notebook(executed: nbformat.NotebookNode, root: Path = REPOSITORY) -> nbformat.NotebookNode:
    """A copy of an executed notebook without anything that changes from run to run or from machine to machine.

    Dropped: papermill's metadata and injected cell, widget state and widget views (a view that has another form, such
    as a picture, keeps that), timings; absolute paths below `root` or the home folder become relative ones.
    """
    clean = nbformat.reads(nbformat.writes(executed), as_version=4)
    clean.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            **{key: clean.metadata[key] for key in ("kdlib",) if key in clean.metadata},
        }
    )
    clean.cells = [c for c in clean.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    counter = 0
    for cell in clean.cells:
        for key in _VOLATILE_CELL:
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        if cell.cell_type != "code":
            continue
        counter += bool(cell.source.strip())
        cell.execution_count = counter if cell.source.strip() else None
        cell.outputs = [output for output in cell.outputs if _keep(output, cell.execution_count)]
    text = nbformat.writes(clean).replace(f"{root}/", "").replace(f"{Path.home()}/", "~/")
    return nbformat.reads(text, as_version=4)


def _keep(output: nbformat.NotebookNode, count: int | None) -> bool:
    """Strip an output of what is volatile, in place; say whether anything is left of it."""
    if output.output_type == "execute_result":
        output.execution_count = count
    if output.output_type in ("display_data", "execute_result"):
        if output.data.pop(_WIDGET_VIEW, None) is not None and set(output.data) <= {"text/plain"}:
            return False
        return bool(output.data)
    return True


def commit_outputs(project: Project | None = None, preset: str = "quick", say: Say = print) -> list[Path]:
    """Execute at `preset`, then write the cleaned notebooks to notebooks/ and their metrics to book/results/<preset>/;
    the README's table of results follows.

    Only for the preset that notebooks have as their default, because a stored output must fit the stored parameters.
    """
    project = project or Project()
    if preset != "quick":
        raise KdlibError(f"committed notebooks hold the outputs of preset quick, not of '{preset}'")
    written = []
    results = project.root / "book/results" / preset
    results.mkdir(parents=True, exist_ok=True)
    times = {}
    for path in execute_all(project, preset, say):
        replace_file(project.notebooks / path.name, nbformat.writes(clean_notebook(read_notebook(path), project.root)))
        written.append(project.notebooks / path.name)
        metrics = path.with_suffix(".metrics.json")
        if metrics.is_file():
            shutil.copyfile(metrics, results / metrics.name)
            written.append(results / metrics.name)
        times[path.stem] = _stamp(path.with_suffix(".stamp"))["seconds"]
    replace_file(results / TIMES, json.dumps(times, indent=1) + "\n")
    readme = project.root / "README.md"
    if readme.is_file():
        from kdlib.claims import read_records
        from kdlib.claims.ledger import refresh_readme

        refresh_readme(readme, read_records([results.parent]))
        written.append(readme)
    return [*written, results / TIMES]
