"""Training from streamed folders: what `fit` gives, whoever decodes and however many processes train."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from photographs import plant_stripes
from together import run_together
from torch import nn

from kdlib.data import image_folder
from kdlib.data.folder_stream import FolderStream, stream_splits
from kdlib.data.labelled_set import Splits
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import KnowledgeDistillation
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.runs.spec import make_spec
from kdlib.runs.store import get_or_train
from kdlib.train.loop import fit
from kdlib.train.predict import score
from kdlib.train.processes import current
from kdlib.train.recipe import Recipe
from kdlib.train.state import Progress, Run
from kdlib.train.stream import fit_stream

COUNTS = {"top": 30, "middle": 30, "bottom": 29}
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05, warmup=0, augment="resized_crop", nesterov=False)
net = functools.partial(build, "small_resnet", num_classes=3, width=4, features=16)


def streams(root: Path, workers: int = 0) -> Splits[FolderStream]:
    return stream_splits(root, image_size=14, workers=workers, n_val=13)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(run: Run) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]


class Projected(Objective):
    """Cross-entropy, and a trained projection of the pooled features that should tell the class too."""

    student_layers = ("layer3",)

    def __init__(self) -> None:
        torch.manual_seed(7)
        self.module = nn.Linear(16, 3)

    def __call__(self, batch: TrainBatch, logits: torch.Tensor, features: dict) -> dict[str, torch.Tensor]:
        projected = self.module(features["layer3"].mean((2, 3)))
        return {
            "cross_entropy": F.cross_entropy(logits, batch.labels),
            "projected": F.cross_entropy(projected, batch.labels),
        }


class Remembering(CrossEntropy):
    """Has a memory bank, as CRD does."""

    def __init__(self) -> None:
        self.module = nn.Module()
        self.module.register_buffer("bank", torch.zeros(5))


class Killed(Exception):
    pass


def interrupted(after: int, saved: list[Progress]):
    def kill(progress: Progress) -> None:
        saved.append(progress)
        if progress.epoch == after:
            raise Killed

    return kill


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return plant_stripes(tmp_path_factory.mktemp("stripes"), COUNTS)


@pytest.fixture(scope="module")
def whole(tree) -> Run:
    return fit_stream(net, streams(tree), CrossEntropy(), RECIPE, seed=1)


class TestAlone:
    def test_without_augmentation_it_gives_the_bits_of_fit(self, tree):
        held = image_folder.load(tree, image_size=14, n_val=13)
        listings = image_folder.split_listings(tree, 0, None, 13, None)
        superclasses = image_folder.read_superclasses(tree, held.train.class_names)
        parts = {
            part: FolderStream.of_listing(listing, part, superclasses, image_size=14, resize=14)
            for part, listing in listings.items()
        }
        recipe = replace(RECIPE, augment="none")
        in_memory = fit(net, held, CrossEntropy(), recipe, seed=1)
        streamed = fit_stream(net, Splits("stripes", **parts, probe=parts["test"]), CrossEntropy(), recipe, seed=1)
        assert same(in_memory.state("last"), streamed.state("last"))
        assert same(in_memory.state("best"), streamed.state("best"))
        for held_row, row in zip(timeless(in_memory), timeless(streamed), strict=True):
            assert held_row == pytest.approx(row, rel=1e-5)

    def test_it_learns(self, tree):
        splits = streams(tree)
        run = fit_stream(net, splits, CrossEntropy(), replace(RECIPE, epochs=12, augment="none"), seed=0)
        assert score(run.model("last"), splits.test) > 0.8

    def test_who_decodes_does_not_matter_and_the_seed_does(self, tree, whole):
        again = fit_stream(net, streams(tree, workers=2), CrossEntropy(), RECIPE, seed=1)
        other = fit_stream(net, streams(tree), CrossEntropy(), RECIPE, seed=2)
        assert same(whole.state(), again.state())
        assert timeless(whole) == timeless(again)
        assert not same(whole.state(), other.state())

    @pytest.mark.parametrize("interrupted_after", [1, 2])
    def test_a_resumed_training_gives_the_bits_of_one_that_ran_through(self, tree, whole, interrupted_after):
        saved: list[Progress] = []
        with pytest.raises(Killed):
            fit_stream(
                net, streams(tree), CrossEntropy(), RECIPE, seed=1, after_epoch=interrupted(interrupted_after, saved)
            )
        resumed = fit_stream(net, streams(tree), CrossEntropy(), RECIPE, seed=1, resume=saved[-1])
        assert all(same(whole.states[name], resumed.states[name]) for name in ("last", "best"))
        assert timeless(whole) == timeless(resumed)

    def test_a_teacher_is_asked_about_the_very_cuts(self, tree):
        seen: list[torch.Tensor] = []

        def observe(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(images)
            return {"logits": model(images)}

        shown: list[torch.Tensor] = []

        class Watched(KnowledgeDistillation):
            def student_images(self, images):
                shown.append(images)
                return images

        teacher = Teacher(net(seed=9), observe=observe)
        run = fit_stream(net, streams(tree), Watched(teacher, 4.0, 0.9), replace(RECIPE, epochs=1), seed=0)
        assert {"kd", "cross_entropy"} < set(run.history[0])
        assert len(seen) == len(shown) == 3
        assert all(torch.equal(a, b) for a, b in zip(seen, shown, strict=True))
        assert 0 <= float(seen[0].min()) <= float(seen[0].max()) <= 1

    @pytest.mark.parametrize(
        ("method", "options"),
        [
            ("attention_transfer", {}),
            ("factor_transfer", {}),
            ("contrastive", {}),
            ("self_supervision", {}),
            ("layer_mse", {"layer": "layer2"}),
        ],
    )
    def test_every_method_of_features_learns_from_a_stream(self, tree, method, options):
        """First stages included: FT's paraphraser and SSKD's head are trained on the stream themselves."""
        shape = {"width": 4, "features": 16}
        teacher = make_spec("small_resnet", "cross_entropy", RECIPE, 5, model_options=shape)
        recipe = replace(RECIPE, epochs=2)
        spec = make_spec(
            "small_resnet", method, recipe, 1, model_options=shape, objective_options=options, teacher=teacher
        )
        run, again = get_or_train(spec, streams(tree)), net(seed=1).state_dict()
        assert len(run.history) == 2 and all(math.isfinite(row["loss"]) for row in run.history)
        assert not same(run.state(), again)
        terms = set(run.history[0]) - {"epoch", "learning_rate", "loss", "train_accuracy", "seconds"}
        assert terms - {"val_loss", "val_accuracy", "cross_entropy"}  # its own term is logged

    def test_val_accuracy_is_that_of_all_images(self, tree, whole):
        assert whole.history[-1]["val_accuracy"] == pytest.approx(score(whole.model("last"), streams(tree).val))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"augment": "flip"}, "unknown augmentation of a streamed folder 'flip'"),
            ({"batch_size": 99}, "batch_size 99 is larger than the training set of 58 images"),
        ],
    )
    def test_recipes_that_do_not_fit_are_refused(self, tree, changes, message):
        with pytest.raises(KdlibError, match=message):
            fit_stream(net, streams(tree), CrossEntropy(), replace(RECIPE, **changes), seed=0)

    def test_a_memory_is_no_matter_for_one_process(self, tree):
        fit_stream(net, streams(tree), Remembering(), replace(RECIPE, epochs=1), seed=0)


# ---- two processes -------------------------------------------------------------------------------------------------


def lessons(root: Path) -> dict:
    """All trainings of the tests below, in each of two processes."""
    splits = streams(root)
    found: dict = {}
    saved: list[Progress] = []
    found["whole"] = fit_stream(net, splits, CrossEntropy(), RECIPE, seed=1, after_epoch=saved.append)
    found["calls"] = len(saved)
    first_epoch = current().from_first(lambda: saved[0])
    found["resumed"] = fit_stream(net, splits, CrossEntropy(), RECIPE, seed=1, resume=first_epoch)
    objective = Projected()
    found["projected"] = fit_stream(net, splits, objective, RECIPE, seed=1)
    found["projection"] = {name: value.clone() for name, value in objective.module.state_dict().items()}
    found["kd"] = fit_stream(net, splits, KnowledgeDistillation(Teacher(net(seed=9)), 4.0, 0.9), RECIPE, seed=1)
    for name, broken, batch_size in (("memory", Remembering(), 16), ("uneven", CrossEntropy(), 15)):
        with pytest.raises(KdlibError) as error:
            fit_stream(net, splits, broken, replace(RECIPE, batch_size=batch_size), seed=0)
        found[name] = str(error.value)
    return found


@pytest.fixture(scope="module")
def pair(tree) -> list[dict]:
    return run_together(lessons, 2, tree)


def assert_close(a: Run, b: Run) -> None:
    for name in ("last", "best"):
        for key, value in a.state(name).items():
            torch.testing.assert_close(
                value, b.state(name)[key], rtol=2e-3, atol=2e-4, msg=lambda m, k=key: f"{k}: {m}"
            )
    for row, other in zip(timeless(a), timeless(b), strict=True):
        assert row == pytest.approx(other, rel=1e-3)


class TestTogether:
    def test_two_processes_give_what_one_gives(self, whole, pair):
        assert_close(whole, pair[0]["whole"])

    def test_all_processes_have_the_same_bits(self, pair):
        for name in ("whole", "projected", "kd"):
            assert same(pair[0][name].state(), pair[1][name].state())
            assert timeless(pair[0][name]) == timeless(pair[1][name])

    def test_a_resumed_training_gives_the_bits_of_one_that_ran_through(self, pair):
        for found in pair:
            assert same(found["whole"].state("last"), found["resumed"].state("last"))
            assert same(found["whole"].state("best"), found["resumed"].state("best"))
            assert timeless(found["whole"]) == timeless(found["resumed"])

    def test_only_the_first_writes(self, pair):
        assert [found["calls"] for found in pair] == [3, 0]

    def test_no_validation_image_counts_twice(self, tree, pair):
        """13 images: the processes' shares differ."""
        for found in pair:
            expected = score(found["whole"].model("last"), streams(tree).val)
            assert found["whole"].history[-1]["val_accuracy"] == pytest.approx(expected)
            assert round(13 * expected) == pytest.approx(13 * expected)

    def test_what_is_trained_beside_the_student_learns_from_all_images(self, tree, pair):
        objective = Projected()
        start = objective.module.weight.detach().clone()
        alone = fit_stream(net, streams(tree), objective, RECIPE, seed=1)
        assert_close(alone, pair[0]["projected"])
        for found in pair:
            for name, value in objective.module.state_dict().items():
                torch.testing.assert_close(found["projection"][name], value.detach(), rtol=2e-3, atol=2e-4)
        assert not torch.allclose(start, objective.module.weight, atol=1e-2)

    def test_distillation_is_the_same_too(self, tree, pair):
        alone = fit_stream(net, streams(tree), KnowledgeDistillation(Teacher(net(seed=9)), 4.0, 0.9), RECIPE, seed=1)
        assert_close(alone, pair[0]["kd"])

    def test_a_memory_of_images_is_refused(self, pair):
        assert pair[1]["memory"].startswith("Remembering remembers what it saw (its 'bank'), and each process sees")

    def test_a_batch_that_cannot_be_shared_out_is_refused(self, pair):
        assert "batch_size 15 can't be shared out evenly among 2 processes" in pair[0]["uneven"]
