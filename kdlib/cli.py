"""The `kdlib` command: run notebooks with checked parameters, look after data and trained models, build the book.

Exit codes: 0 done, 1 a notebook failed, 2 bad input (one sentence on stderr; torchrun makes it 1), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from kdlib import __version__
from kdlib.errors import KdlibError, choose, one_line, positive_integer, shortened, shown
from kdlib.lifeline import ENDING_SIGNALS, end_with_torchrun
from kdlib.printing import format_answer, format_table
from kdlib.temporary import clear_leftovers

MOST_SECONDS = 10**7  # that a cell may take: a third of a year


class _Parser(argparse.ArgumentParser):
    """argparse with this project's manner: one sentence, exit code 2, no usage dump."""

    def error(self, message: str) -> NoReturn:
        found = re.match(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL)
        if found:
            try:
                what = found[1] if found[1].startswith("--") else "command"
                choose(found[2], re.findall(r"[\w-]+", found[3]), what)
            except KdlibError as error:
                message = str(error)
        self.exit(2, f"kdlib: {shortened(one_line(message), 500)}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """The command's grammar; each part's --help ends with an example."""
    parser = _Parser(
        prog="kdlib",
        description="Notebooks on knowledge distillation and interpretability: run them, change them, build the book.",
        epilog="example: kdlib run kd_loss -p temperature=8",
    )
    parser.add_argument("--version", action="version", version=f"kdlib {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(where: Any, name: str, help: str, example: str, run: Any = None) -> argparse.ArgumentParser:
        part = where.add_parser(name, help=help, description=help, epilog=f"example: {example}")
        if run is not None:
            part.set_defaults(run=run)
        return part

    scheduler = "a Dask scheduler whose workers do it instead, such as tcp://127.0.0.1:8786 (needs kdlib[cluster])"

    def add_folder(part: argparse.ArgumentParser) -> None:
        part.add_argument("--notebooks", metavar="DIR", help="folder of notebooks (default: the repository's)")

    part = add(commands, "list", "the notebooks, what each shows, and how long it takes", "kdlib list", _list)
    add_folder(part)

    part = add(
        commands, "params", "the parameters of a notebook: type, default, range, help", "kdlib params kd_loss", _params
    )
    part.add_argument("notebook", metavar="NOTEBOOK")
    add_folder(part)

    part = add(
        commands,
        "run",
        "run a notebook; leaves the executed notebook, an HTML page of it and metrics.json",
        "kdlib run kd_loss -p temperature=8 -p n_seeds=5 --out out/hot",
        _run,
    )
    part.add_argument("notebook", metavar="NOTEBOOK")
    part.add_argument("-p", "--param", metavar="NAME=VALUE", action="append", default=[], help="set a parameter")
    part.add_argument("--preset", metavar="P", help="size: smoke, quick, long or gpu (same as -p preset=P)")
    part.add_argument("--out", metavar="DIR", help="folder for the results (default: out/NOTEBOOK)")
    add_folder(part)
    part.add_argument(
        "--cell-timeout", metavar="SECONDS", type=int, help="time limit of a cell (an hour; none at long and gpu)"
    )

    part = add(
        commands,
        "sweep",
        "run a notebook at every cell of a grid; leaves each run, a table and a plot of every measured number",
        "kdlib sweep kd_loss -p temperature=1,2,4,8 -p seed=0..3 --out out/temperatures",
        _sweep,
    )
    part.add_argument("notebook", metavar="NOTEBOOK")
    part.add_argument(
        "-p",
        "--param",
        metavar="NAME=VALUES",
        action="append",
        default=[],
        help="values between commas; 0..3 for whole numbers from 0 to 3; a list as a value in brackets: [1,2],[4]",
    )
    part.add_argument("--preset", metavar="P", help="size: smoke, quick, long or gpu (same as -p preset=P)")
    part.add_argument("--out", metavar="DIR", help="folder for the results (default: out/NOTEBOOK-sweep)")
    add_folder(part)
    part.add_argument("--jobs", metavar="N", type=int, help="cells of the grid to run at once (default: one a core)")
    part.add_argument("--scheduler", metavar="ADDRESS", help=scheduler)
    part.add_argument(
        "--cell-timeout", metavar="SECONDS", type=int, help="time limit of a notebook's cell, as in kdlib run"
    )

    part = add(commands, "data", "list the data sets, get one, or tell about one", "kdlib data info fashion_mnist")
    data = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    add(data, "list", "the data sets, and whether each is here", "kdlib data list", _data_list)
    for action, help, run in (
        ("get", "download a data set, or say how to get it", _data_get),
        ("info", "size, classes, licence and place of a data set", _data_info),
    ):
        add(data, action, help, f"kdlib data {action} fashion_mnist", run).add_argument("name", metavar="NAME")

    part = add(commands, "runs", "list, show or remove trained models", "kdlib runs list")
    runs = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    add(runs, "list", "the trained models in the store", "kdlib runs list", _runs_list)
    for action, help, run in (
        ("show", "what made a trained model, and how well it does", _runs_show),
        ("rm", "remove a trained model from the store", _runs_remove),
    ):
        add(runs, action, help, f"kdlib runs {action} 3f9a", run).add_argument(
            "key", metavar="KEY", help="key or its beginning"
        )

    part = add(
        commands, "book", "execute what changed and build the book into _build/html", "kdlib book --preset smoke", _book
    )
    part.add_argument("--preset", metavar="P", default="quick", help="smoke, quick (default), long or gpu")
    part.add_argument(
        "--execute",
        metavar="WHICH",
        choices=("changed", "all", "none"),
        default="changed",
        help="notebooks to execute: changed (default: those whose outputs no longer fit their source), all, none",
    )
    part.add_argument("--jobs", metavar="N", type=int, help="notebooks to execute at once (default: one a core)")
    part.add_argument(
        "--commit-outputs",
        action="store_true",
        help="instead of pages, write the outputs back to notebooks/ and the metrics to book/results/",
    )
    part = add(
        commands,
        "paper-scale",
        "train Han et al.'s networks on a folder of photographs such as ImageNet, on one GPU or several",
        "kdlib paper-scale --images /imagenet --seeds 8",
        _paper_scale,
    )
    part.add_argument("--images", metavar="DIR", required=True, help="folder with train and val, as ImageNet has")
    part.add_argument("--probe", metavar="DIR", help="Broden folder to be looked at before anything is trained")
    part.add_argument("--seeds", metavar="N", type=int, help="students per arm (8)")
    part.add_argument("--seed", metavar="S", type=int, default=0, help="the first seed, and the teacher's (0)")
    part.add_argument("--arms", metavar="ARM", nargs="+", help="default: from scratch, with label smoothing, distilled")
    part.add_argument("--device", default="auto", help="auto, cuda or cpu")

    part = add(
        commands,
        "dissect",
        "count the concept detectors of a network whose weights are in a file",
        "kdlib dissect resnet18.pth --model resnet18 --probe /broden1_224",
        _dissect,
    )
    part.add_argument("weights", metavar="FILE", help=".safetensors, a torch file, or a Keras ResNet-50 (.npz)")
    part.add_argument("--model", default="resnet50", help="a network's name, as resnet18 (resnet50)")
    part.add_argument("--classes", metavar="N", type=int, default=1000, help="of the network (1000)")
    part.add_argument("--probe", metavar="DIR", help="Broden folder (default: drawn scenes of Concept World)")
    part.add_argument("--images", metavar="N", type=int, default=500, help="scenes to draw (500)")
    part.add_argument("--image-size", metavar="PIXELS", type=int, default=128, help="side of drawn scenes (128)")
    part.add_argument("--layer", help="the units' layer (the paper's: layer4)")
    part.add_argument("--quantile", type=float, help="active fraction (the paper's: 0.005)")
    part.add_argument("--tau", type=float, help="IoU of a detector (the paper's: 0.05)")
    part.add_argument("--denominator", help="of the IoU: lite or original (lite)")
    part.add_argument("--device", default="auto", help="auto, cuda or cpu")

    part = add(commands, "cohort", "the published population of networks", "kdlib cohort premise")
    cohort = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    add(cohort, "list", "the populations and what is published of each", "kdlib cohort list", _cohort_list)
    part = add(cohort, "info", "the arms of a population: replicates, accuracy", "kdlib cohort info", _cohort_info)
    part.add_argument("data", metavar="DATA", nargs="?", default="concept_world", help="a population (concept_world)")
    part = add(
        cohort,
        "train",
        "train what is not published yet and write its files; can be ended and called again (hours)",
        "kdlib cohort train --data concept_world --arms scratch kd --replicates 4",
        _cohort_train,
    )
    part.add_argument("--data", metavar="DATA", nargs="+", default=[], help="populations (all)")
    part.add_argument("--arms", metavar="ARM", nargs="+", default=[], help="arms (all)")
    part.add_argument("--replicates", metavar="N", type=int, help="the first N (all of the protocol)")
    part.add_argument("--out", metavar="DIR", help="folder for the files (the package's own)")
    part.add_argument("--scheduler", metavar="ADDRESS", help=scheduler)
    part = add(
        cohort,
        "verify",
        "train a sample of the published networks anew and compare",
        "kdlib cohort verify --sample 2",
        _cohort_verify,
    )
    part.add_argument("--data", metavar="DATA", default="concept_world", help="a population (concept_world)")
    part.add_argument("--sample", metavar="N", type=int, default=2, help="networks, chosen at random (2)")
    part.add_argument("--seed", metavar="S", type=int, default=0, help="of the choice (0)")
    part.add_argument("--arms", metavar="ARM", nargs="+", default=[], help="choose among these (all)")
    part = add(
        cohort,
        "premise",
        "train candidates for the cohort's protocol and compare them by accuracy alone (hours)",
        "kdlib cohort premise --candidate 'Concept World, width 8' --replicates 2",
        _cohort_premise,
    )
    part.add_argument("--candidate", metavar="NAME", action="append", default=[], help="one of those on file (all)")
    part.add_argument("--replicates", metavar="N", type=int, help="how many of those on file (all)")
    part.add_argument("--out", metavar="FILE", help="write the accuracies here, as JSON, besides printing the table")
    return parser


# ---- the commands --------------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
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


def _params(options: argparse.Namespace) -> None:
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


def _run(options: argparse.Namespace) -> None:
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
    from kdlib.data.root import expanded

    out = expanded(options.out, "--out") if options.out else Path("out") / name
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


def _sweep(options: argparse.Namespace) -> int:
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
    from kdlib.data.root import expanded

    out = expanded(options.out, "--out") if options.out else Path("out") / f"{path.stem}-sweep"
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


def _probe(scheduler: str | None) -> None:
    """Refuse a scheduler that does not answer, before anything that takes seconds to load."""
    if scheduler is not None:
        from kdlib.runs.cluster import probe

        probe(scheduler)


def _data_list(options: argparse.Namespace) -> None:
    from kdlib.data.catalogue import list_datasets

    print(format_answer(list_datasets()))


def _data_get(options: argparse.Namespace) -> None:
    from kdlib.data.catalogue import get_dataset

    print(format_answer(get_dataset(options.name)))


def _data_info(options: argparse.Namespace) -> None:
    from kdlib.data.catalogue import dataset_info

    print(format_answer(dataset_info(options.name)))


def _runs_list(options: argparse.Namespace) -> None:
    from kdlib.runs.listing import list_runs, unfinished

    print(format_answer(list_runs()) or "no trained models in the store")
    if begun := unfinished():
        print(f"unfinished trainings, which go on when they are wanted: {', '.join(begun)}")


def _runs_show(options: argparse.Namespace) -> None:
    from kdlib.runs.listing import show_run

    print(format_answer(show_run(options.key)))


def _runs_remove(options: argparse.Namespace) -> None:
    from kdlib.runs.listing import remove_run

    print(f"removed {remove_run(options.key)}")


def _book(options: argparse.Namespace) -> None:
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


def _paper_scale(options: argparse.Namespace) -> None:
    from kdlib.papers.han2023.paper_scale import paper_scale

    paper_scale(**_given(options))


def _dissect(options: argparse.Namespace) -> None:
    from kdlib.papers.han2023.dissect_weights import dissect_file

    print(dissect_file(**_given(options)))


def _cohort_list(options: argparse.Namespace) -> None:
    from kdlib.cohort.listing import overview

    print(format_answer(overview()))


def _cohort_info(options: argparse.Namespace) -> None:
    from kdlib.cohort.cohort import load_cohort

    print(format_answer(load_cohort(options.data).summary()))


def _cohort_train(options: argparse.Namespace) -> None:
    _probe(options.scheduler)
    from kdlib.cohort.listing import FOLDER
    from kdlib.cohort.protocol import read_protocol
    from kdlib.cohort.train import train_cohort

    folder = Path(options.out) if options.out else FOLDER
    chosen = (options.data, options.arms, options.replicates)
    train_cohort(read_protocol(), *chosen, folder=folder, scheduler=options.scheduler)


def _cohort_verify(options: argparse.Namespace) -> int:
    from kdlib.cohort.cohort import load_cohort
    from kdlib.cohort.verify import verify

    found = verify(load_cohort(options.data, device="cpu"), options.sample, seed=options.seed, arms=options.arms)
    print(format_answer([one.row() for one in found]))
    return 0 if all(one.passed for one in found) else 1


def _cohort_premise(options: argparse.Namespace) -> None:
    from kdlib.cohort.premise import judge, read_premise, save, table

    rows = judge(read_premise(), options.candidate, options.replicates)
    if options.out:
        save(rows, Path(options.out))
    print(table(rows))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given or have a default here; the others have theirs where the work is done."""
    kept = {name: value for name, value in vars(options).items() if value is not None}
    return {name: value for name, value in kept.items() if name not in ("command", "run")}


def _end(number: int, frame: FrameType | None) -> NoReturn:
    for other in ENDING_SIGNALS:  # a second one would cut short how what was started is ended
        signal.signal(other, signal.SIG_IGN)
    # As an exception, so that the notebooks being executed are ended too.
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within the block, what ends the command ends what it started.

    Also where it was started in the background, which ignores Ctrl-C; but `nohup` is obeyed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN or signal.Signals(number).name != "SIGHUP":
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            # After an ending signal all are ignored, and stay so: one more must not change the exit code.
            if signal.getsignal(number) is _end:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    >>> main(["params", "no_such_notebook", "--notebooks", "no/such/folder"])
    2
    """
    end_with_torchrun()
    with _ended_by_signals():
        return _answered(arguments)


def _answered(arguments: Sequence[str] | None) -> int:
    from kdlib.book.notebooks import NotebookFailed

    try:
        clear_leftovers()
        options = build_parser().parse_args(arguments)
        return options.run(options) or 0
    except KdlibError as error:
        print(f"kdlib: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output (`| head`) has gone.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        place = shortened(one_line(str(error.filename or "a file")), 300)
        print(f"kdlib: {place}: {error.strerror or error}", file=sys.stderr)
        return 2
    except NotebookFailed as error:
        print("\n".join([f"kdlib: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 2 if error.bad_input else 1
    except KeyboardInterrupt:
        print("\nkdlib: interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
