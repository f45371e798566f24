"""Fill the run store at the paper's scale: ResNet-34 and ResNet-18 on a folder of photographs, on one GPU or several.

    python -m kdlib.papers.han2023.paper_scale --images /imagenet
    torchrun --nproc-per-node 4 -m kdlib.papers.han2023.paper_scale --images /imagenet --seeds 8

trains the teacher and, for each seed, students from scratch, with label smoothing and distilled, with the recipe of
`kdlib.papers.han2023.settings`. What is in the store already is left alone, and a training that was interrupted goes
on from its last whole epoch: after any interruption the same command is given again. The notebook finds these very
runs:

    kdlib run han2023_concept_detectors -p preset=gpu -p data=image_folder -p data_folder=/imagenet \\
        -p probe_folder=/broden1_224

Exit codes: 0 done, 2 bad input (one sentence on stderr; torchrun makes it 1), 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kdlib.data.broden import BrodenFolder
from kdlib.errors import KdlibError
from kdlib.papers.han2023 import settings as paper_settings
from kdlib.papers.han2023.arms import ARMS
from kdlib.papers.han2023.study import HanStudy
from kdlib.runs.place import store_root
from kdlib.runs.store import get_or_train
from kdlib.train.processes import Processes, ToldByFirst, several


def build_parser() -> argparse.ArgumentParser:
    """The command's grammar."""
    parser = argparse.ArgumentParser(
        prog="python -m kdlib.papers.han2023.paper_scale",
        description="Train the paper's networks on a folder of photographs such as ImageNet; see the module for more.",
        epilog="example: torchrun --nproc-per-node 4 -m kdlib.papers.han2023.paper_scale --images /imagenet",
    )
    parser.add_argument("--images", metavar="DIR", required=True, help="folder with train and val, as ImageNet has")
    parser.add_argument("--probe", metavar="DIR", help="Broden folder to be looked at before anything is trained")
    parser.add_argument("--seeds", metavar="N", type=int, default=paper_settings.SEEDS, help="students per arm (8)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="the first seed, and the teacher's (0)")
    parser.add_argument("--arms", metavar="ARM", nargs="+", default=list(ARMS), help=f"default: {' '.join(ARMS)}")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    return parser


def fill(options: argparse.Namespace, processes: Processes) -> None:
    """Train what the store lacks, the teacher first, seed by seed; one line a run."""

    def study() -> HanStudy:
        return HanStudy(
            "image_folder",
            "gpu",
            options.seed,
            options.seeds,
            options.device,
            data_folder=options.images,
            temperature=paper_settings.TEMPERATURE,
            alpha=paper_settings.ALPHA,
            smoothing=paper_settings.SMOOTHING,
        )

    def checked() -> None:
        if options.probe:
            BrodenFolder(options.probe)
        for arm in options.arms:
            study().spec(arm)
        study().splits  # noqa: B018

    processes.from_first(checked)  # whatever is wrong is told once
    ours = study()
    wanted = [("teacher", ours.seed), *((arm, seed) for seed in ours.seeds for arm in options.arms)]
    for number, (arm, seed) in enumerate(wanted, start=1):
        run = get_or_train(ours.spec(arm, seed), ours.splits, device=options.device, label=f"{arm}, seed {seed}")
        if processes.first:
            last = run.history[-1]["val_accuracy"]
            print(
                f"{number}/{len(wanted)} {run.key}  {arm}, seed {seed}: val accuracy {100 * last:.2f} % "
                f"after {run.seconds / 3600:.1f} h of training",
                flush=True,
            )
    if processes.first:
        print(f"the store {store_root()} has all {len(wanted)} runs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    >>> main(["--images", "no/such/folder", "--device", "cpu"])
    2
    """
    options = build_parser().parse_args(arguments)
    try:
        with several(options.device) as processes:
            fill(options, processes)
    except ToldByFirst:
        return 2
    except KdlibError as error:
        print(f"kdlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nkdlib: interrupted; whole epochs are kept, the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
