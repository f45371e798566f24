"""The `kdlib` command: run notebooks with checked parameters, look after data and trained models, build the book.

Exit codes: 0 done, 1 a notebook failed, 2 bad input (one sentence on stderr; torchrun makes it 1), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from kdlib import __version__, commands
from kdlib.errors import KdlibError, choose, one_line, shortened
from kdlib.lifeline import ENDING_SIGNALS, do_without_a_grammar, end_with_torchrun
from kdlib.temporary import clear_leftovers


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
    parts = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(where: Any, name: str, help: str, example: str, run: Any = None) -> argparse.ArgumentParser:
        part = where.add_parser(name, help=help, description=help, epilog=f"example: {example}")
        if run is not None:
            part.set_defaults(run=run)
        return part

    scheduler = "a Dask scheduler whose workers do it instead, such as tcp://127.0.0.1:8786 (needs kdlib[cluster])"

    def add_folder(part: argparse.ArgumentParser) -> None:
        part.add_argument("--notebooks", metavar="DIR", help="folder of notebooks (default: the repository's)")

    part = add(
        parts, "list", "the notebooks, what each shows, and how long it takes", "kdlib list", commands.list_notebooks
    )
    add_folder(part)

    part = add(
        parts,
        "params",
        "the parameters of a notebook: type, default, range, help",
        "kdlib params kd_loss",
        commands.show_params,
    )
    part.add_argument("notebook", metavar="NOTEBOOK")
    add_folder(part)

    part = add(
        parts,
        "run",
        "run a notebook; leaves the executed notebook, an HTML page of it and metrics.json",
        "kdlib run kd_loss -p temperature=8 -p n_seeds=5 --out out/hot",
        commands.run,
    )
    part.add_argument("notebook", metavar="NOTEBOOK")
    part.add_argument("-p", "--param", metavar="NAME=VALUE", action="append", default=[], help="set a parameter")
    part.add_argument("--preset", metavar="P", help="size: smoke, quick, retrain or gpu (same as -p preset=P)")
    part.add_argument("--out", metavar="DIR", help="folder for the results (default: out/NOTEBOOK)")
    add_folder(part)
    part.add_argument(
        "--cell-timeout", metavar="SECONDS", type=int, help="time limit of a cell (an hour; none at retrain and gpu)"
    )

    part = add(
        parts,
        "sweep",
        "run a notebook at every cell of a grid; leaves each run, a table and a plot of every measured number",
        "kdlib sweep kd_loss -p temperature=1,2,4,8 -p seed=0..3 --out out/temperatures",
        commands.sweep,
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
    part.add_argument("--preset", metavar="P", help="size: smoke, quick, retrain or gpu (same as -p preset=P)")
    part.add_argument("--out", metavar="DIR", help="folder for the results (default: out/NOTEBOOK-sweep)")
    add_folder(part)
    part.add_argument("--jobs", metavar="N", type=int, help="cells of the grid to run at once (default: one a core)")
    part.add_argument("--scheduler", metavar="ADDRESS", help=scheduler)
    part.add_argument(
        "--cell-timeout", metavar="SECONDS", type=int, help="time limit of a notebook's cell, as in kdlib run"
    )

    part = add(parts, "data", "list the data sets, get one, or tell about one", "kdlib data info fashion_mnist")
    data = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    add(data, "list", "the data sets, and whether each is here", "kdlib data list", commands.data_list)
    for action, help, run in (
        ("get", "download a data set, or say how to get it", commands.data_get),
        ("info", "size, classes, licence and place of a data set", commands.data_info),
    ):
        add(data, action, help, f"kdlib data {action} fashion_mnist", run).add_argument("name", metavar="NAME")

    part = add(parts, "runs", "list, show or remove trained models", "kdlib runs list")
    runs = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    add(runs, "list", "the trained models in the store", "kdlib runs list", commands.runs_list)
    for action, help, run in (
        ("show", "what made a trained model, and how well it does", commands.runs_show),
        ("rm", "remove a trained model from the store", commands.runs_remove),
    ):
        add(runs, action, help, f"kdlib runs {action} 3f9a", run).add_argument(
            "key", metavar="KEY", help="key or its beginning"
        )

    part = add(
        parts,
        "book",
        "execute what changed and build the book into _build/html",
        "kdlib book --preset smoke",
        commands.book,
    )
    part.add_argument("--preset", metavar="P", default="quick", help="smoke, quick (default), retrain or gpu")
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
        parts,
        "paper-scale",
        "train Han et al.'s networks on a folder of photographs such as ImageNet, on one GPU or several",
        "kdlib paper-scale --images /imagenet --seeds 8",
        commands.paper_scale,
    )
    part.add_argument("--images", metavar="DIR", required=True, help="folder with train and val, as ImageNet has")
    part.add_argument("--probe", metavar="DIR", help="Broden folder to be looked at before anything is trained")
    part.add_argument("--seeds", metavar="N", type=int, help="students per arm (8)")
    part.add_argument("--seed", metavar="S", type=int, default=0, help="the first seed, and the teacher's (0)")
    part.add_argument("--arms", metavar="ARM", nargs="+", help="default: from scratch, with label smoothing, distilled")
    part.add_argument("--device", default="auto", help="auto, cuda or cpu")

    part = add(
        parts,
        "dissect",
        "count the concept detectors of a network whose weights are in a file",
        "kdlib dissect resnet18.pth --model resnet18 --probe /broden1_224",
        commands.dissect,
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

    part = add(parts, "cohort", "the published population of networks", "kdlib cohort premise")
    cohort = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    add(cohort, "list", "the populations and what is published of each", "kdlib cohort list", commands.cohort_list)
    part = add(
        cohort, "info", "the arms of a population: replicates, accuracy", "kdlib cohort info", commands.cohort_info
    )
    part.add_argument("data", metavar="DATA", nargs="?", default="concept_world", help="a population (concept_world)")
    part = add(
        cohort,
        "train",
        "train what is not published yet and write its files; can be ended and called again (hours)",
        "kdlib cohort train --data concept_world --arms scratch kd --replicates 4",
        commands.cohort_train,
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
        commands.cohort_verify,
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
        commands.cohort_premise,
    )
    part.add_argument("--candidate", metavar="NAME", action="append", default=[], help="one of those on file (all)")
    part.add_argument("--replicates", metavar="N", type=int, help="how many of those on file (all)")
    part.add_argument("--out", metavar="FILE", help="write the accuracies here, as JSON, besides printing the table")
    part = add(
        cohort,
        "threshold",
        "how many units of students from scratch are detectors at each tau, in replicates that nothing else measures",
        "kdlib cohort threshold --data concept_world",
        commands.cohort_threshold,
    )
    part.add_argument("--data", metavar="DATA", default="concept_world", help="a population (concept_world)")
    part.add_argument("--out", metavar="FILE", help="write the shares here, as JSON, besides printing the table")
    return parser


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
    do_without_a_grammar()
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
