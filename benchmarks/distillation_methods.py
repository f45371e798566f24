"""What a training step of each distillation method costs, against one of plain KD on the same batch.

    python -m benchmarks.distillation_methods            # two minutes
    python -m benchmarks.distillation_methods --quick    # half a minute

A step is what `fit` does with a batch: the student's forward pass over what the method shows it, the teacher's answer,
the loss, the backward pass and the optimizer's step; the teacher is live, or has answered before and remembers. SSKD
shows the student four times as many images, and asks a live teacher about as many. Methods are set up as in a training,
with their default options; CRD's banks hold 5,000 images. Steps are interleaved, so that a noisy machine is noisy for
all. The table gives medians of the processor's time in one thread (of the clock's on a GPU), and the median of the
ratios to the KD step of the same round.

Targets: CRD's step costs at most 1.3 times, SSKD's at most 4.5 times that of plain KD.

Before anything is timed, CRD's loss must equal a loop over anchors in float64 and its gradients must agree between the
whole bank and rows looked up, and SSKD's terms must equal a loop over rows; all to 1e-4 relative.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.capture import capture
from kdlib.data.augment import Augmentation
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.distill import Objective, TrainBatch, contrastive
from kdlib.distill.catalogue import METHODS
from kdlib.distill.contrastive import ContrastiveDistillation, ContrastiveMemory
from kdlib.distill.penultimate import observe_pooled
from kdlib.distill.self_supervision import SelfSupervision, rotations
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import Teacher
from kdlib.models import build
from kdlib.train.device import deterministic, resolve_device
from kdlib.train.recipe import Recipe

# method -> its name in the catalogue, its target in steps of plain KD
RACERS = {
    "KD": ("kd", None),
    "AT": ("attention_transfer", None),
    "FT": ("factor_transfer", None),
    "CRD": ("contrastive", 1.3),
    "SSKD": ("self_supervision", 4.5),
}
Step = Callable[[TrainBatch], dict[str, Tensor]]


def training_step(make: Callable[[], nn.Module], objective: Objective, watching: ExitStack) -> Step:
    """A step as `fit` takes it, on a student of its own, whose layers are captured until `watching` ends."""
    layout = torch.channels_last
    student = make().to(memory_format=layout).train()  # type: ignore[call-overload]
    beside = objective.module.train().parameters() if objective.module else ()
    optimizer = Recipe(epochs=1, learning_rate=0.01).make_optimizer([*student.parameters(), *beside])

    def step(batch: TrainBatch) -> dict[str, Tensor]:
        logits = student(objective.student_images(batch.images).contiguous(memory_format=layout))
        terms = objective(batch, logits, features)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        return terms

    layers = objective.student_layers
    features = watching.enter_context(capture(student, *layers)) if layers else {}
    return step


def close(ours: float, slow: float, what: str) -> None:
    if not math.isclose(ours, slow, rel_tol=1e-4, abs_tol=1e-6):
        raise SystemExit(f"{what} is {ours}, its definition gives {slow}: nothing is timed")


def check_contrastive(objective: ContrastiveDistillation, batch: TrainBatch, width: int) -> None:
    """CRD's loss against a loop, and its gradients in both ways of reading the banks."""
    start = {name: tensor.clone() for name, tensor in objective.module.state_dict().items()}
    memory: ContrastiveMemory = objective.module  # type: ignore[assignment]
    features = torch.rand(len(batch.index), width, device=batch.images.device)
    pooled = objective.teacher.answer(batch)["pooled"]
    chooses = contrastive._whole_is_faster
    gradients = []
    for whole in (True, False):
        contrastive._whole_is_faster = lambda rows, bank, whole=whole: whole
        memory.load_state_dict(start)
        torch.manual_seed(0)
        loss = memory(features, pooled, batch.index)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(memory.parameters()))]))
    contrastive._whole_is_faster = chooses
    close(
        float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) + 1, 1, "CRD's gradients' distance (plus 1)"
    )
    memory.load_state_dict(start)
    torch.manual_seed(0)
    rows = memory.draw(batch.index)
    slow = 0.0
    for embed, seen, bank in (
        (memory.embed_student, features, memory.teacher_bank),
        (memory.embed_teacher, pooled, memory.student_bank),
    ):
        with torch.no_grad():
            anchors = F.normalize(embed(seen), dim=1).double()
        scores = [(bank[own].double() @ v / memory.temperature).exp() for v, own in zip(anchors, rows, strict=True)]
        z = len(bank) * torch.cat(scores).mean()
        noise = memory.negatives / len(bank)
        for score in scores:
            true = score / z / (score / z + noise)
            slow -= float(true[0].log() + (1 - true[1:]).log().sum()) / len(anchors)
    close(float(loss.detach()), slow, "CRD's loss")


def check_self_supervision(objective: SelfSupervision, student: nn.Module, batch: TrainBatch) -> None:
    """SSKD's ranked terms against a loop over rows."""
    with torch.no_grad():
        student_seen, teacher_seen = (
            observe_pooled(model.eval(), rotations(batch.images)) for model in (student, objective.teacher.model)
        )
        terms = objective(batch, student_seen["logits"], {"avgpool": student_seen["pooled"]})
        heads = objective.module(student_seen["pooled"]), objective.teacher_head(teacher_seen["pooled"])
    count = len(batch.labels)
    turned = [range(count, 4 * count)] * 2
    cosines = [
        [[F.cosine_similarity(e[row], e[column], dim=0).item() for column in range(count)] for row in rows]
        for e, rows in zip(heads, turned, strict=True)
    ]
    logits = [seen["logits"][count:].tolist() for seen in (student_seen, teacher_seen)]
    own, labels = list(range(count)) * 3, batch.labels.tolist() * 3
    for name, (mine, theirs), targets, temperature, keep, weight in (
        ("similarity", cosines, own, 0.5, 0.75, objective.similarity),
        ("turned_kd", logits, labels, 4.0, 1.0, objective.turned),
    ):
        errors = [sum(x > row[target] for x in row) for row, target in zip(theirs, targets, strict=True)]
        right = errors.count(0)
        order = sorted(range(len(errors)), key=errors.__getitem__)
        kept = order[: right + int(keep * (len(errors) - right))]
        total = 0.0
        for row in kept:
            p, q = (torch.tensor(x[row], dtype=torch.float64).div(temperature).softmax(0) for x in (theirs, mine))
            total += float((p * (p / q).log()).sum())
        close(float(terms[name]), weight * temperature**2 * total / len(kept), f"SSKD's {name}")


def race(steps: dict[str, Step], batches: list[TrainBatch], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each step in each round: of the processor, or by the clock on a GPU."""
    on_gpu = batches[0].images.is_cuda
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if on_gpu else (lambda: None, time.process_time)
    for step in steps.values():
        for batch in batches:  # a teacher that remembers meets every batch once
            step(batch)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            wait()
            started = clock()
            step(batches[number % len(batches)])
            wait()
            taken[name].append(1e3 * (clock() - started))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    size, rounds = 64, 12 if arguments.quick else 60
    train = draw_scenes(5_000, device=device)
    few = train.subset(slice(0, 4 * size))  # stages before the training need not be long here
    options = {**train.model_options(), "depth": 8}

    def make() -> nn.Module:
        return build("small_resnet", width=8, **options).to(device)

    teacher = build("small_resnet", width=24, seed=1, **options).to(device).eval()
    setting = Setting(make(), train, Augmentation("flip_shift"), 0, teacher)  # many views: a live teacher
    batches = []
    for index in torch.arange(4 * size, device=device).split(size):
        images = train.inputs(index).contiguous(memory_format=torch.channels_last)
        batches.append(TrainBatch(images, train.labels[index], index, torch.zeros_like(index)))

    taken: dict[str, dict[str, list[float]]] = {}
    with deterministic(), ExitStack() as watching:
        for speech in ("live", "remembered"):
            steps = {}
            for name, (method, _) in RACERS.items():
                mine = setting if name == "CRD" else replace(setting, train=few)
                objective = METHODS[method].build(mine)
                if speech == "remembered":
                    objective.teacher = Teacher(teacher, len(train), 1, objective.teacher.observe)
                elif isinstance(objective, ContrastiveDistillation):
                    check_contrastive(objective, batches[0], make().fc.in_features)
                elif isinstance(objective, SelfSupervision):
                    check_self_supervision(objective, make(), batches[0])
                if objective.module:
                    objective.module.to(device)
                steps[name] = training_step(make, objective, watching)
            taken[speech] = race(steps, batches, rounds)
        threads = torch.get_num_threads()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} torch thread(s), {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, load {load}"
    )
    print(
        f"| a step of {size} images of 32x32, student of width 8, teacher of width 24 | live teacher, ms | x KD | "
        "remembered, ms | x KD | target |"
    )
    print("|---|---|---|---|---|---|")
    for name, (_, target) in RACERS.items():
        cells = []
        for times in taken.values():
            ratios = [mine / kd for mine, kd in zip(times[name], times["KD"], strict=True)]
            cells += [f"{statistics.median(times[name]):.1f}", f"{statistics.median(ratios):.2f}"]
        print(f"| {name} | {' | '.join(cells)} | {'' if target is None else f'at most {target}'} |")
    print(f"Medians of {rounds} rounds. CRD's and SSKD's losses equalled their definitions before timing.")


if __name__ == "__main__":
    main()
