"""The language study: sentences through the one loop and the run store, paired seeds, attributions of its nets."""

from __future__ import annotations

import math

import pytest
import torch

from kdlib.errors import KdlibError
from kdlib.metrics.word_attribution import attribution_summary, word_attributions
from kdlib.papers.han2023.language import (
    ARMS,
    PRESETS,
    instrument_check,
    language_study,
    negation_sentences,
)
from kdlib.runs.store import get_or_train
from kdlib.train.predict import predict


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("language")))
        study = language_study("smoke", n_seeds=1, device="cpu")
        study.train((*ARMS, "scratch_28"))
        yield study


def test_every_arm_is_a_small_transformer_on_sentences(study):
    for arm in ("teacher", *ARMS):
        model = study.model(arm)
        assert model.embedding.num_embeddings == len(study.part("train").vocabulary)
        assert study.logits(arm).shape == (len(study.part("test")), 2)
        assert bool(torch.isfinite(study.logits(arm)).all())
    assert study.model("teacher").depth > study.model("kd").depth


def test_arms_of_a_seed_start_alike_and_differ_by_their_objective_alone(study):
    specs = [study.spec(arm, 0) for arm in ARMS]
    assert len({(spec.model, spec.model_options, spec.recipe, spec.seed) for spec in specs}) == 1
    assert len({(spec.objective, spec.objective_options) for spec in specs}) == len(ARMS)


def test_the_store_gives_back_what_was_trained(study):
    again = get_or_train(study.spec("kd", 0), study.splits, device="cpu")
    assert torch.equal(predict(again.model(), study.part("test")), study.logits("kd"))


def test_nets_that_read_rightly_are_said_to_do_so_by_occlusion_and_not_by_gradient_x_input():
    rows = {row["method"]: row for row in instrument_check(2)}
    assert rows["occlusion"]["accuracy"] == 1.0
    assert rows["occlusion"]["plain"] == rows["occlusion"]["negated"] == 1.0
    assert rows["gradient_x_input"]["plain"] + rows["gradient_x_input"]["negated"] < 1.8


def test_the_sentences_of_the_check_share_no_thing_between_parts():
    splits = negation_sentences()
    assert not {words[1] for words in splits.train.words} & {words[1] for words in splits.test.words}
    assert splits.test.labels.double().mean() == splits.train.labels.double().mean() == 0.5
    assert torch.equal(splits.test.polarity.sum(1) > 0, splits.test.labels == 1)


def test_presets_have_what_the_book_asks_of_them():
    assert PRESETS["quick"].n_seeds >= 5 and PRESETS["gpu"].n_seeds >= 8
    assert (PRESETS["gpu"].teacher["depth"], PRESETS["gpu"].student["depth"]) == (12, 3)
    for preset in PRESETS.values():
        for recipe in (preset.teacher_recipe, preset.student_recipe):
            assert recipe.augment == "none" and not recipe.channels_last and recipe.optimizer == "adamw"


def test_sst_takes_the_grammar_s_place(tmp_path):
    rows = [f"a good film number {n} !\t1\na bad film number {n} .\t0" for n in range(60)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nit is not good\t0\nno bad film\t1\n")
    study = language_study("smoke", n_seeds=1, sst_folder=str(tmp_path))
    assert study.data_name == "SST-2" and len(study.part("test")) == 2
    study.train(("scratch",))
    probe = study.part("probe")
    found = attribution_summary(word_attributions(study.model("scratch"), probe), probe)
    assert math.isfinite(found["agreement"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "quik"}, "unknown preset 'quik'; did you mean 'quick'"),
        ({"preset": "smoke", "temperature": 0.0}, "temperature must be a finite number greater than 1e-09"),
        ({"preset": "smoke", "sst_folder": "nowhere"}, "sst_folder='nowhere' is no folder"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(arguments, message):
    with pytest.raises(KdlibError, match=message):
        language_study(**arguments)
