"""Outputs back into the repository: executed notebooks, their stamps and widgets' state, and their metrics."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
from pathlib import Path

import nbformat
from PIL import Image, UnidentifiedImageError

from kdlib.book.notebooks import REPOSITORY
from kdlib.book.pages import make_pages
from kdlib.book.progress import Say
from kdlib.book.project import TIMES, Project
from kdlib.errors import KdlibError
from kdlib.files import replace_file

_VOLATILE_CELL = ("papermill", "execution", "ExecuteTime")
MOST_BYTES = 2_000_000  # of a committed notebook


def clean_notebook(executed: nbformat.NotebookNode, root: Path = REPOSITORY) -> nbformat.NotebookNode:
    """A copy of an executed notebook without anything that changes from run to run or from machine to machine.

    Dropped: papermill's metadata and injected cell, timings; absolute paths below `root` or the home folder become
    relative ones. Kept: the state of its widgets, so that they live on the page, and the stamp.
    """
    clean = copy.deepcopy(executed)
    clean.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            **{key: clean.metadata[key] for key in ("kdlib", "widgets") if key in clean.metadata},
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
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = with_palette(output.data["image/png"])
    text = nbformat.writes(clean).replace(f"{root}/", "")
    home = os.path.expanduser("~")  # noqa: PTH111 - itself where there is none, which changes nothing
    if home != "/":
        text = text.replace(f"{home}/", "~/")
    return nbformat.reads(text, as_version=4)


def with_palette(picture: str) -> str:
    """A PNG (base64) with a palette of 256 colours, which makes a figure much smaller; itself where that is no gain.

    Stored in the repository are figures: few flat colours, and photographs of 32 pixels enlarged.
    """
    try:
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    except UnidentifiedImageError:  # no picture that could be made smaller
        return picture
    buffer = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    smaller = base64.b64encode(buffer.getvalue()).decode()
    return smaller if len(smaller) < len(picture) else picture


def commit_outputs(
    project: Project | None = None,
    preset: str = "quick",
    say: Say = print,
    *,
    execute: str = "changed",
    jobs: int | None = None,
) -> list[Path]:
    """Execute at `preset`, then write the cleaned notebooks to notebooks/ and their metrics to book/results/<preset>/;
    the README's table and picture of the results follow.

    Only for the preset that notebooks have as their default, because a stored output must fit the stored parameters.
    Chapters whose committed outputs fit, and that were not executed here, stay as they are. Raises KdlibError while
    another process does the same, or builds the book.
    """
    project = project or Project()
    if preset != "quick":
        raise KdlibError(f"committed notebooks hold the outputs of preset quick, not of '{preset}'")
    with project.alone():
        return _commit(project, preset, say, execute, jobs)


def _commit(project: Project, preset: str, say: Say, execute: str, jobs: int | None) -> list[Path]:
    written = []
    results = project.root / "book/results" / preset
    results.mkdir(parents=True, exist_ok=True)
    pages = make_pages(project, preset, say, execute=execute, jobs=jobs)
    known = project.seconds()
    for page in pages:
        if not page.here or page.stamp is None:
            continue
        text = nbformat.writes(clean_notebook(page.notebook, project.root))
        if len(text.encode()) > MOST_BYTES:
            say(
                f"{page.path.stem}: {len(text.encode()) / 1e6:.1f} MB, more than the {MOST_BYTES / 1e6:g} MB that a "
                "committed notebook may have; show fewer or smaller pictures, or pack the widget's data"
            )
        replace_file(project.notebooks / page.path.name, text)
        written.append(project.notebooks / page.path.name)
        metrics = project.executed / f"{page.path.stem}.metrics.json"
        if metrics.is_file():
            replace_file(results / metrics.name, metrics.read_text(encoding="utf-8"))
            written.append(results / metrics.name)
        known[page.path.stem] = page.stamp["seconds"]
    times = {page.path.stem: known[page.path.stem] for page in pages if page.path.stem in known}
    replace_file(results / TIMES, json.dumps(times, indent=1) + "\n")
    readme = project.root / "README.md"
    if readme.is_file():
        from kdlib.claims import read_records
        from kdlib.claims.readme import refresh_readme

        written += refresh_readme(readme, read_records([results.parent]))
    return [*written, results / TIMES]
