"""Fill the run store at the paper's scale: ResNet-34 and ResNet-18 on a folder of photographs, on one GPU or several.

    kdlib paper-scale --images /imagenet
    torchrun --nproc-per-node 4 -m kdlib.cli paper-scale --images /imagenet --seeds 8

trains the teacher and, for each seed, students from scratch, with label smoothing and distilled, with the recipe of
`kdlib.papers.han2023.settings`. What is in the store already is left alone, and a training that was interrupted goes
on from its last whole epoch: after any interruption the same command is given again. The notebook finds these very
runs:

    kdlib run han2023_concept_detectors -p preset=gpu -p data=image_folder -p data_folder=/imagenet \\
        -p probe_folder=/broden1_224
"""

from __future__ import annotations

from collections.abc import Sequence

from kdlib.data.broden import BrodenFolder
from kdlib.lifeline import end_with_torchrun
from kdlib.papers.han2023 import settings as paper_settings
from kdlib.papers.han2023.arms import ARMS
from kdlib.papers.han2023.study import HanStudy
from kdlib.runs.place import store_root
from kdlib.runs.store import get_or_train
from kdlib.train.processes import Processes, ToldByFirst, several


def paper_scale(
    images: str,
    *,
    probe: str | None = None,
    seeds: int = paper_settings.SEEDS,
    seed: int = 0,
    arms: Sequence[str] = tuple(ARMS),
    device: str = "auto",
) -> None:
    """Train what the store lacks, the teacher first, seed by seed; one line a run is printed.

    images: a folder with train and val. probe: a Broden folder, looked at before anything is trained. seeds: students
    an arm; seed: the first one, and the teacher's. Under torchrun all processes train together. Raises KdlibError for
    bad input, in the first process; the others leave with exit code 2, since it has been said.
    """
    end_with_torchrun()
    try:
        with several(device) as processes:
            _fill(processes, images, probe, seeds, seed, arms, device)
    except ToldByFirst as error:
        raise SystemExit(2) from error


def _fill(
    processes: Processes, images: str, probe: str | None, seeds: int, seed: int, arms: Sequence[str], device: str
) -> None:
    def study() -> HanStudy:
        return HanStudy(
            "image_folder",
            "gpu",
            seed,
            seeds,
            device,
            data_folder=images,
            temperature=paper_settings.TEMPERATURE,
            alpha=paper_settings.ALPHA,
            smoothing=paper_settings.SMOOTHING,
        )

    def checked() -> None:
        if probe:
            BrodenFolder(probe)
        for arm in arms:
            study().spec(arm)
        study().splits  # noqa: B018

    processes.from_first(checked)  # whatever is wrong is said once
    ours = study()
    wanted = [("teacher", ours.seed), *((arm, each) for each in ours.seeds for arm in arms)]
    for number, (arm, each) in enumerate(wanted, start=1):
        run = get_or_train(ours.spec(arm, each), ours.splits, device=device, label=f"{arm}, seed {each}")
        if processes.first:
            last = run.history[-1]["val_accuracy"]
            print(
                f"{number}/{len(wanted)} {run.key}  {arm}, seed {each}: val accuracy {100 * last:.2f} % "
                f"after {run.seconds / 3600:.1f} h of training",
                flush=True,
            )
    if processes.first:
        print(f"the store {store_root()} has all {len(wanted)} runs")
