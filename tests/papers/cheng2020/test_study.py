"""The experiments on visual concepts: who is paired with whom, what is measured on what, and the sums that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from archives import plant_cub, plant_voc

from kdlib.capture import features_of
from kdlib.data.registry import load
from kdlib.errors import KdlibError
from kdlib.metrics.information.search import EarlyStopped
from kdlib.metrics.visual_concepts import visual_concepts
from kdlib.models.freezing import parameters_up_to
from kdlib.papers.cheng2020.counts import agreement_of_seeds
from kdlib.papers.cheng2020.dynamics import discarded, dynamics_of, path_length
from kdlib.papers.cheng2020.imitation import explained
from kdlib.papers.cheng2020.study import ARMS, ConceptStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield ConceptStudy(preset="smoke", device="cpu")


def test_arms_of_one_seed_are_paired_and_differ_in_what_teaches_them(study):
    specs = {arm: study.spec(arm, 1, "fc2") for arm in ARMS}
    assert {spec.seed for arm, spec in specs.items() if arm != "teacher"} == {1}
    assert {spec.n_train for arm, spec in specs.items() if arm != "teacher"} == {study.n_student}
    assert specs["teacher"].n_train is None and specs["teacher"].seed == study.seed
    assert len(set(specs.values())) == len(ARMS)
    assert specs["student"].teacher == specs["kd"].teacher == specs["teacher"]
    assert specs["self"].teacher == specs["baseline"]
    assert specs["random_teacher"].teacher.recipe.epochs == 0
    assert specs["random_teacher"].teacher.seed != 1  # or the student would start as its teacher


def test_controls_change_the_learning_rates_alone(study):
    def without_rates(spec):
        recipe = spec.recipe
        return spec.objective, spec.teacher, recipe.epochs, recipe.checkpoints, recipe.batch_size, spec.seed

    baseline, slow = study.spec("baseline"), study.spec("baseline_slow")
    student, fast = study.spec("student"), study.spec("student_fast")
    assert without_rates(baseline) == without_rates(slow) and without_rates(student) == without_rates(fast)
    rates = [(spec.recipe.learning_rate, spec.recipe.final_learning_rate) for spec in (baseline, slow, student, fast)]
    assert rates[0] == rates[3] and rates[1] == rates[2] and rates[0] != rates[1]


def test_in_the_fair_regime_the_teacher_sees_what_its_students_see_and_is_no_baseline():
    fair = ConceptStudy(preset="smoke", device="cpu", teacher_images="same")
    teacher = fair.spec("teacher")
    assert teacher.n_train == fair.n_student == fair.spec("student").n_train
    assert fair.spec("student").teacher == fair.spec("kd").teacher == teacher
    assert teacher.seed not in fair.seeds  # at preset quick it would be the first baseline else


def test_a_student_explains_of_its_own_teacher_what_the_definition_says(study):
    for arm, taught_by in (("student", "teacher"), ("self", "baseline")):
        told = explained(study, arm, 1, "fc2", "test")
        images = study.splits.test.inputs(slice(None))
        networks = [study.run_of(study.spec(one, 1, "fc2")).model() for one in (arm, taught_by)]
        given, wanted = (features_of(network, images, "fc2").double() for network in networks)
        mean = wanted.mean(0)
        slow = 1 - float((given - wanted).square().sum() / (wanted - mean).square().sum())
        assert told == pytest.approx(100 * slow)
    with pytest.raises(KdlibError, match="learns one layer"):
        explained(study, "baseline")


def test_which_maps_reached_the_target_is_told_of_each_network_and_plan(study):
    assert study.reached("student", 0, "fc2").shape == (len(study.measured),)
    far = replace(study.plan, search=EarlyStopped(target=5.0))
    assert not study.reached("student", 0, "fc2", plan=far).any()


def test_only_arms_of_a_layer_depend_on_the_layer(study):
    assert study.spec("baseline", 0, "fc1") == study.spec("baseline", 0, "fc3")
    assert study.spec("student", 0, "fc1") != study.spec("student", 0, "fc3")


def test_the_classifier_behind_a_distilled_layer_leaves_the_layer_as_it_is(study):
    spec = study.classified("student", 0, "fc1")
    before, after = study.run_of(study.spec("student", 0, "fc1")).model(), study.run_of(spec).model()
    frozen = len(parameters_up_to(before, "fc1"))
    pairs = list(zip(before.parameters(), after.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs[:frozen])
    assert not all(torch.equal(a, b) for a, b in pairs[frozen:])
    assert 0 <= study.accuracy("student", 0, "fc1") <= 1
    assert study.classified("student", 0, "fc3") == study.spec("student", 0, "fc3")
    assert study.classified("baseline") == study.spec("baseline")


def test_measured_images_are_those_that_students_saw_and_have_cells_on_and_beside_the_object(study):
    shown = {image.numpy().tobytes() for image in study.splits.train.subset(slice(0, study.n_student)).images}
    assert all(image.numpy().tobytes() in shown for image in study.measured.images)
    cells = study.foreground.flatten(1)
    assert bool((cells.any(1) & ~cells.all(1)).all())
    held_out = ConceptStudy(preset="smoke", device="cpu", part="test")
    assert not {image.numpy().tobytes() for image in held_out.measured.images} & shown


def test_telling_cells_lie_on_the_object_mostly(study):
    telling = study.telling_cells
    assert telling.any()
    assert float((telling & study.foreground).sum() / telling.sum()) > 0.8


def test_concepts_are_counted_on_the_maps(study):
    maps = study.maps("baseline", 0, "fc1")
    found = study.concepts("baseline", 0, "fc1")
    assert torch.equal(found.concepts, visual_concepts(maps, study.foreground, 0.2).concepts)
    every = study.maps("baseline", 0, "fc1", checkpoints=True)
    assert torch.equal(every[-1], maps) and len(every) == len(study.spec("baseline").recipe.checkpoints)


def test_agreement_of_seeds_is_the_mean_over_pairs_and_images(study):
    one, other = (study.concepts("baseline", seed, "fc1").concepts for seed in study.seeds)
    slow, blind = [], []
    for a, b in zip(one.flatten(1).tolist(), other.flatten(1).tolist(), strict=True):
        either = sum(x or y for x, y in zip(a, b, strict=True))
        if either:
            slow.append(sum(x and y for x, y in zip(a, b, strict=True)) / either)
            by_chance = sum(a) * sum(b) / len(a)
            blind.append(by_chance / (sum(a) + sum(b) - by_chance))
    assert agreement_of_seeds(study, "baseline", "fc1") == pytest.approx(
        (sum(slow) / len(slow), sum(blind) / len(blind))
    )
    with pytest.raises(KdlibError, match="raise n_seeds"):
        agreement_of_seeds(ConceptStudy(preset="smoke", device="cpu", n_seeds=1), "baseline")


def test_dynamics_follow_from_maps_and_the_history(study):
    found = dynamics_of(study, "student", 1, "fc2")
    spec = study.spec("student", 1, "fc2")
    rows = study.run_of(spec).history
    assert found.epochs == spec.recipe.checkpoints
    for epoch, distance in zip(found.epochs, found.distances.tolist(), strict=True):
        length = sum(row["distance/fc2"] for row in rows[:epoch])
        assert distance == pytest.approx(length)
    by_epoch = dynamics_of(study, "student", 1, "fc2", by_epoch=True).distances
    assert by_epoch.tolist() == pytest.approx([sum(r["epoch_distance/fc2"] for r in rows[:e]) for e in found.epochs])
    longer = dynamics_of(study, "student", 1, "fc2", up_to=True).distances
    assert not torch.equal(longer, found.distances)
    assert not torch.equal(path_length(study, "student", 1, "fc2", up_to=True, by_epoch=True), by_epoch)
    m, n = found.foreground_counts.shape
    assert (m, n) == (len(found.epochs), len(study.measured))
    union = found.concepts.any(0) & study.foreground
    assert found.stability.union.tolist() == union.flatten(1).sum(1).tolist()


def test_counts_over_noise_seeds_are_means_and_concepts_the_first_seeds(tmp_path):
    sampled = ConceptStudy(preset="smoke", device="cpu", estimator="sampled", n_images=2)
    sampled.plan = replace(sampled.plan, samples=2)
    both = dynamics_of(sampled, "baseline", 0, "fc1", noise_seeds=2)
    counts = []
    for seed in (0, 1):
        maps = sampled.maps("baseline", 0, "fc1", checkpoints=True, plan=replace(sampled.plan, noise_seed=seed))
        counts.append([visual_concepts(one, sampled.foreground, 0.2).on_foreground.tolist() for one in maps])
    assert both.foreground_counts.tolist() == torch.tensor(counts).double().mean(0).tolist()
    assert torch.equal(both.concepts, dynamics_of(sampled, "baseline", 0, "fc1").concepts)


def test_the_discard_rule_looks_at_late_checkpoints(study):
    found = discarded(study, "baseline", 0, "fc1")
    assert found.keep.shape == (len(study.measured),) and 0 <= found.rate() <= 1


@pytest.mark.parametrize("regime", ["independent", "correlated", "plain"])
@pytest.mark.parametrize("data", ["concept_world", "garment_scenes"])
def test_every_regime_loads(data, regime):
    study = ConceptStudy(data, "smoke", device="cpu", regime=regime)
    assert study.splits.train.foreground is not None and len(study.measured) == study.sizes.n_images


def test_fashion_mnist_has_foregrounds_too():
    study = ConceptStudy("fashion_mnist", "smoke", device="cpu")
    assert study.foreground.any() and study.telling_cells is None


def test_a_large_network_takes_drawn_scenes_at_its_own_size():
    large = ConceptStudy(preset="smoke", device="cpu", network="alexnet", image_size=64, n_images=2)
    assert large.splits.train.image_size == (64, 64) and large.layers == ("conv", "fc1", "fc2", "fc3")
    with torch.no_grad():
        assert large.untrained()(large.measured.inputs(slice(None))).shape == (2, large.splits.train.num_classes)


@pytest.mark.parametrize(("data", "plant"), [("voc", plant_voc), ("cub", plant_cub)])
def test_folders_of_photographs_with_masks_give_what_they_have(data, plant, tmp_path):
    plant(tmp_path)
    study = ConceptStudy(data, "smoke", device="cpu", data_folder=str(tmp_path), image_size=32, n_images=3)
    assert 3 <= len(study.splits.train) < study.sizes.n_train and study.foreground.shape == (3, 16, 16)
    assert study.regime == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": "cifar11"}, "did you mean 'cifar10'"),
        ({"regime": "plane"}, "did you mean 'plain'"),
        ({"network": "small_resnet"}, "has no layers called"),
        ({"network": "small_vg"}, "did you mean 'small_vgg'"),
        ({"part": "val"}, "part"),
        ({"teacher_images": "some"}, "did you mean 'same'"),
        ({"image_size": 8}, "image_size"),
        ({"threshold": 0.0}, "threshold"),
        ({"estimator": "exact"}, "estimator"),
        ({"n_images": 10_000}, "ask for no more"),
        ({"n_seeds": 0}, "n_seeds"),
    ],
)
def test_bad_input_is_refused(arguments, words):
    with pytest.raises(KdlibError, match=words):
        study = ConceptStudy(**{"preset": "smoke", "device": "cpu"} | arguments)
        assert study.layers and study.measured


def test_an_arm_or_layer_that_is_not_there_is_refused(study):
    with pytest.raises(KdlibError, match="did you mean 'baseline'"):
        study.spec("basline")
    with pytest.raises(KdlibError, match="layer"):
        study.spec("student", 0, "fc4")


def test_data_without_masks_are_refused(monkeypatch):
    def without_masks(*arguments, **options):
        splits = load(*arguments, **options)
        return replace(splits, train=replace(splits.train, foreground=None))

    monkeypatch.setattr("kdlib.papers.cheng2020.study.load", without_masks)
    with pytest.raises(KdlibError, match="has no foreground masks"):
        assert ConceptStudy(preset="smoke", device="cpu").measured
