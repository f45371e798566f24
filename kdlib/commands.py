"""What each part of the `kdlib` command does with its options; what takes long to load is loaded where it is needed."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdlib.errors import KdlibError, choose, positive_integer, shortened, shown
from kdlib.printing import format_answer, format_table

MOST_SECONDS = 10**7  # that a cell may take: a third of a year


def list_notebooks(options: argparse.Namespace) -> None:
    from kdlib.book.notebooks import list_notebooks, notebooks_folder, read_cells, summary
    from kdlib.book.project import Project

    seconds = Project().seconds()
    rows = [
        {
            "notebook": path.stem,
            "time (quick)": f"{seconds[path.stem]:.0f} s" if path.stem in seconds else "not measured",
            "shows": summary(read_cells(path)),
        }
        for path in list_notebooks(notebooks_folder(options.notebooks))
    ]
    print(format_table(rows) if rows else f"no notebooks in {notebooks_folder(options.notebooks)}")


def show_params(options: argparse.Namespace) -> None:
    from kdlib.book.notebooks import form_of, notebook_path, notebooks_folder, read_cells

    path = notebook_path(options.notebook, notebooks_folder(options.notebooks))
    rows = [
        {"name": p.name, "type": p.type_name, "default": repr(p.default), "range": str(p.limit or ""), "help": p.help}
        for p in form_of(read_cells(path), path.stem)
    ]
    print(format_table(rows) if rows else f"{path.stem} has no parameters")


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """Split `name=value` texts; a text without `=` or a name given twice is refused.

    >>> parse_assignments(["temperature=8", "data=cifar10"])
    {'temperature': '8', 'data': 'cifar10'}
    """
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise KdlibError(f"-p takes name=value, not {shown(text)}")
        if name.strip() in given:
            raise KdlibError(f"{shortened(name.strip())} is given twice; name it once")
        given[name.strip()] = value.strip()
    return given


def _assignments(options: argparse.Namespace) -> dict[str, str]:
    """What -p and --preset say; a --cell-timeout out of its range is refused too."""
    given = parse_assignments(options.param)
    if options.preset is not None:
        if given.get("preset", options.preset) != options.preset:
            raise KdlibError("--preset and -p preset=... name different presets; give one of them")
        given["preset"] = options.preset
    if options.cell_timeout is not None and not 1 <= options.cell_timeout <= MOST_SECONDS:
        bound = "least 1 second" if options.cell_timeout < 1 else f"most {MOST_SECONDS:,} seconds"
        raise KdlibError(f"--cell-timeout must be at {bound}, not {shown(options.cell_timeout)}")
    return given


def run(options: argparse.Namespace) -> None:
    from kdlib.book.notebooks import form_of, notebook_path, notebooks_folder, read_cells
    from kdlib.book.parameters import check_parameters
    from kdlib.book.progress import line_on_terminal

    parameters = _assignments(options)
    folder = notebooks_folder(options.notebooks)
    path = notebook_path(options.notebook, folder)
    name = path.stem
    # Refused before anything that takes seconds to load.
    check_parameters(form_of(read_cells(path), name), parameters, name)
    from kdlib.book.run import run_notebook

    out = _out(options.out, Path("out") / name)
    written = run_notebook(
        name,
        parameters,
        out,
        notebooks=folder,
        cell_timeout=options.cell_timeout,
        on_progress=line_on_terminal(name),
    )
    for path in written:
        print(path)


def sweep(options: argparse.Namespace) -> int:
    from kdlib.book.grid import read_grid
    from kdlib.book.notebooks import form_of, notebook_path, notebooks_folder, read_cells

    given = _assignments(options)
    if options.jobs is not None:
        positive_integer(options.jobs, "--jobs", maximum=1_000)
        if options.scheduler is not None:
            raise KdlibError("--jobs counts cells at once on this machine; leave it out, or leave out --scheduler")
    path = notebook_path(options.notebook, notebooks_folder(options.notebooks))
    # Refused before anything that takes seconds to load.
    grid = read_grid(form_of(read_cells(path), path.stem), given, path.stem)
    _probe(options.scheduler)
    from kdlib.book.sweep import run_sweep
    from kdlib.book.sweep_files import write_results
    from kdlib.book.sweep_table import printed, rows

    out = _out(options.out, Path("out") / f"{path.stem}-sweep")
    how = {"jobs": options.jobs, "scheduler": options.scheduler, "cell_timeout": options.cell_timeout}
    outcomes = run_sweep(path, grid, out, **how)
    written = write_results(out, path.stem, grid, outcomes)
    print(printed(rows(outcomes), shutil.get_terminal_size().columns))
    for file in written:
        print(file)
    failed = sum(outcome.metrics is None for outcome in outcomes)
    if failed:
        print(f"kdlib: {failed} of {len(outcomes)} cells failed; the same command runs them again", file=sys.stderr)
    return 1 if failed else 0


def _out(given: str | None, otherwise: Path) -> Path:
    """The place of --out, `~` as the home folder, an empty one refused; `otherwise` where the option is not given."""
    from kdlib.data.root import expanded

    return otherwise if given is None else expanded(given, "--out")


def _probe(scheduler: str | None) -> None:
    """Refuse a scheduler that does not answer, before anything that takes seconds to load."""
    if scheduler is not None:
        from kdlib.runs.cluster import probe

        probe(scheduler)


def data_list(options: argparse.Namespace) -> None:
    from kdlib.data.catalogue import list_datasets

    print(format_answer(list_datasets()))


def data_get(options: argparse.Namespace) -> None:
    from kdlib.data.catalogue import get_dataset

    print(format_answer(get_dataset(options.name)))


def data_info(options: argparse.Namespace) -> None:
    from kdlib.data.catalogue import dataset_info

    print(format_answer(dataset_info(options.name)))


def runs_list(options: argparse.Namespace) -> None:
    from kdlib.runs.listing import list_runs, unfinished

    print(format_answer(list_runs()) or "no trained models in the store")
    if begun := unfinished():
        print(f"unfinished trainings, which go on when they are wanted: {', '.join(begun)}")


def runs_show(options: argparse.Namespace) -> None:
    from kdlib.runs.listing import show_run

    print(format_answer(show_run(options.key)))


def runs_remove(options: argparse.Namespace) -> None:
    from kdlib.runs.listing import remove_run

    print(f"removed {remove_run(options.key)}")


def book(options: argparse.Namespace) -> None:
    from kdlib.names import PRESETS

    choose(options.preset, PRESETS, "preset")
    if options.jobs is not None:
        positive_integer(options.jobs, "--jobs", maximum=1_000)
    how = {"preset": options.preset, "execute": options.execute, "jobs": options.jobs}
    if options.commit_outputs:
        from kdlib.book.outputs import commit_outputs

        for path in commit_outputs(**how):
            print(path)
        return
    from kdlib.book.build import build_book

    print(f"The book: {build_book(**how)}")


def paper_scale(options: argparse.Namespace) -> None:
    from kdlib.papers.han2023.paper_scale import paper_scale

    paper_scale(**_given(options))


def dissect(options: argparse.Namespace) -> None:
    from kdlib.papers.han2023.dissect_weights import dissect_file

    print(dissect_file(**_given(options)))


def cohort_list(options: argparse.Namespace) -> None:
    from kdlib.cohort.listing import overview

    print(format_answer(overview()))


def cohort_info(options: argparse.Namespace) -> None:
    from kdlib.cohort.cohort import load_cohort

    print(format_answer(load_cohort(options.data).summary()))


def cohort_train(options: argparse.Namespace) -> None:
    _probe(options.scheduler)
    from kdlib.cohort.listing import FOLDER
    from kdlib.cohort.protocol import read_protocol
    from kdlib.cohort.train import train_cohort

    folder = _out(options.out, FOLDER)
    if folder.exists() and not folder.is_dir():
        raise KdlibError(f"--out={shown(options.out)} is a file, and the networks need a folder; name one")
    chosen = (options.data, options.arms, options.replicates)
    train_cohort(read_protocol(), *chosen, folder=folder, scheduler=options.scheduler)


def cohort_verify(options: argparse.Namespace) -> int:
    from kdlib.cohort.cohort import load_cohort
    from kdlib.cohort.verify import verify

    found = verify(load_cohort(options.data, device="cpu"), options.sample, seed=options.seed, arms=options.arms)
    print(format_answer([one.row() for one in found]))
    return 0 if all(one.passed for one in found) else 1


def cohort_premise(options: argparse.Namespace) -> None:
    from kdlib.cohort.premise import judge, read_premise, read_results, save, table
    from kdlib.folders import refuse_unwritable

    file = None if options.out is None else _out(options.out, Path())
    if file is not None:  # before the hours that the answer takes
        refuse_unwritable(file.parent)
        read_results(file)
    rows = judge(read_premise(), options.candidate, options.replicates)
    if file is not None:
        save(rows, file)
    print(table(rows))


def cohort_threshold(options: argparse.Namespace) -> None:
    from kdlib.cohort.premise import read_premise
    from kdlib.cohort.protocol import read_protocol
    from kdlib.cohort.threshold import read_results, save, scratch_shares, table, threshold
    from kdlib.folders import refuse_unwritable

    file = None if options.out is None else _out(options.out, Path())
    if file is not None:  # before the minutes that the answer takes
        refuse_unwritable(file.parent)
        read_results(file)
    shares = scratch_shares(read_protocol().population(options.data), read_premise().replicates)
    if file is not None:
        save(options.data, shares, file)
    print(table(shares))
    print(f"tau = {threshold(shares):g}")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given or have a default here; the others have theirs where the work is done."""
    kept = {name: value for name, value in vars(options).items() if value is not None}
    return {name: value for name, value in kept.items() if name not in ("command", "run")}
