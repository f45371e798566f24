"""Making the cohort: train what the run store lacks, and write each arm's networks into files of half precision.

Trainings are kept in the run store and go on from their last epoch, so the command may be ended and called again. A
file is written as soon as all replicates of its block are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kdlib.cohort.card import CARD, card
from kdlib.cohort.listing import FOLDER, read_index, replicates_on_file
from kdlib.cohort.on_file import check_data, clear_unnamed, look_through, write_index
from kdlib.cohort.population import Population
from kdlib.cohort.protocol import Protocol
from kdlib.cohort.weights import arm_file, pack, unpack
from kdlib.data.labelled_set import Splits
from kdlib.errors import choose
from kdlib.files import replace_file
from kdlib.folders import refuse_unwritable, turn
from kdlib.runs.cluster import connected
from kdlib.runs.parallel import train_missing_of
from kdlib.runs.remote import Study, train_missing_on
from kdlib.runs.store import get_or_train
from kdlib.train.predict import predict
from kdlib.train.state import Run

_DIGITS = 6  # of what a history records


def train_cohort(
    protocol: Protocol,
    data: Sequence[str] = (),
    arms: Sequence[str] = (),
    replicates: int | None = None,
    *,
    folder: Path = FOLDER,
    workers: int | None = None,
    scheduler: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train the arms (all if none is named) of these data sets in the first `replicates` replicates and write their
    files and the data card; what is on file already is left as it is, and what of it is damaged is moved aside and
    made anew.

    workers: processes on this machine, by default one a core. scheduler: the address of a Dask scheduler whose workers
    train instead (see `kdlib.runs.remote`). Raises KdlibError for names and numbers that the protocol does not have,
    for a scheduler that does not answer, for files of another protocol and for a folder that can't be written to,
    before anything is trained.
    """
    wanted = {}
    for name in data or protocol.populations:
        population = protocol.population(name)
        wanted[name] = [choose(arm, population.arms, "arm of the cohort") for arm in arms or population.arms]
    blocks = protocol.blocks(replicates)
    with _trainer(scheduler, workers) as train:
        for name, chosen in wanted.items():
            population, place = protocol.populations[name], folder / name
            records = look_through(place, population, chosen, say)
            for block in blocks:
                on_file = read_index(place)
                missing = [arm for arm in chosen if not set(block) <= replicates_on_file(on_file.get(arm, {}))]
                if not missing:
                    continue
                refuse_unwritable(place)
                splits = {replicate: population.splits(replicate) for replicate in block}
                check_data(records, splits)
                train(
                    [
                        Study(
                            [population.spec(arm, one) for arm in missing], splits[one], partial(population.splits, one)
                        )
                        for one in block
                    ]
                )
                for arm in missing:
                    write_arm(place, population, arm, block, splits)
                    say(f"{name}: {arm}, replicates {block[0]} to {block[-1]}, written")
                with turn(folder):
                    replace_file(folder / CARD, card(protocol, folder))


@contextmanager
def _trainer(scheduler: str | None, workers: int | None) -> Iterator[Callable[[Sequence[Study]], int]]:
    """What trains the runs that the store lacks: processes of this machine, or a cluster's workers."""
    if scheduler is None:
        yield lambda studies: train_missing_of(
            [(study.specs, study.splits) for study in studies], device="cpu", workers=workers
        )
        return
    with connected(scheduler) as cluster:
        yield lambda studies: train_missing_on(cluster, studies, device="cpu")


def write_arm(
    place: Path, population: Population, arm: str, block: Sequence[int], splits: Mapping[int, Splits]
) -> None:
    """Write one arm's file and its row of the index; both appear whole or not at all.

    A file of fewer replicates of this block, written before, goes when the index no longer names it. Processes that
    write other arms into the same folder take turns.
    """
    specs = [population.spec(arm, replicate) for replicate in block]
    runs = [get_or_train(spec, splits[one], device="cpu") for spec, one in zip(specs, block, strict=True)]
    packed = pack([run.state("last") for run in runs])
    predictions, accuracies = [], {"val": [], "test": []}  # type: ignore[var-annotated]
    for position, (run, replicate) in enumerate(zip(runs, block, strict=True)):
        model = run.model("last")
        model.load_state_dict(unpack(packed, position))
        for part, found in accuracies.items():
            rows = getattr(splits[replicate], part)
            outputs = predict(model, rows)
            found.append(rows.task.mean_score(outputs, rows.labels))
        predictions.append(outputs.argmax(dim=1))
    first = splits[block[0]]
    record = {
        "data": population.data,
        "arm": arm,
        "replicates": list(block),
        "inputs": first.train.model_options(),
        "val_accuracy": accuracies["val"],
        "test_accuracy": accuracies["test"],
        "history": [[_rounded(row) for row in run.history] for run in runs],
        "spec": [json.loads(spec.canonical()) for spec in specs],
        "data_hash": [splits[replicate].content_hash() for replicate in block],
        "provenance": [provenance(run) for run in runs],
    }
    content = arm_file(packed, torch.stack(predictions), record)
    name = file_name(arm, block)
    row = {"replicates": list(block), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    place.mkdir(parents=True, exist_ok=True)
    with turn(place):
        index = read_index(place)
        files = index.get(arm, {})
        if any(set(block) < set(of["replicates"]) for of in files.values()):
            return  # another process wrote more of this block meanwhile
        replace_file(place / name, content)
        kept = {other: of for other, of in files.items() if not set(of["replicates"]) & set(block)}
        write_index(place, index | {arm: kept | {name: row}})
        clear_unnamed(place)


def file_name(arm: str, block: Sequence[int]) -> str:
    """The file of one arm's replicates.

    >>> file_name("kd_t4", (4, 5, 6, 7))
    'kd_t4.4-7.safetensors'
    """
    return f"{arm}.{block[0]}-{block[-1]}.safetensors"


def provenance(run: Run) -> dict[str, Any]:
    """Where and with what a network was trained."""
    kept = ("key", "source", "device", "kdlib", "torch", "threads", "date")
    return {name: run.metadata[name] for name in kept if name in run.metadata}


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in row.items()}
