"""The files of a sweep as a whole: its table and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdlib.book.grid import Grid, Outcome
from kdlib.book.sweep_figure import draw
from kdlib.book.sweep_table import as_csv, as_markdown, as_text, rows
from kdlib.files import replace_file


def write_results(out: Path, notebook: str, grid: Grid, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write sweep.csv, sweep.md and, where any number was measured, sweep.png and sweep.svg into `out`; their paths."""
    table = rows(outcomes)
    pictures, description = draw(notebook, grid, outcomes)
    page = f"# {as_text(notebook)}, over {', '.join(grid.values)}\n\n{as_markdown(table)}"
    if pictures:
        page += f"\n![{as_text(description)}](sweep.png)\n"
    failures = [
        f"- {as_text(f'{outcome.cell.name}: {outcome.failure}')}" for outcome in outcomes if outcome.metrics is None
    ]
    if failures:
        page += "\n".join(["\nFailed:\n", *failures, ""])
    files: dict[str, str | bytes] = {"sweep.csv": as_csv(table), "sweep.md": page, **pictures}
    for name, content in files.items():
        replace_file(out / name, content)
    for name in {"sweep.png", "sweep.svg"} - set(files):  # of an earlier sweep
        (out / name).unlink(missing_ok=True)
    return [out / name for name in files]
