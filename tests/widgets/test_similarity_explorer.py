"""The similarity explorer's Python side: matrices in 16 bits, numbers told, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr
from widget_toys import CLASSES, SUPERCLASS_OF, SUPERCLASSES, toy_matrices

from kdlib.errors import KdlibError
from kdlib.widgets import similarity_explorer
from kdlib.widgets.common import static_figure


def uniform(k: int = 3) -> torch.Tensor:
    return torch.full((k, k), -math.log(k))


def build(**changes):
    arguments = {
        "matrices": {"teacher": torch.log_softmax(torch.eye(3) * 4, 1), "kd": uniform()},
        "class_names": ["cat", "dog", "car"],
        "superclass_names": ["animal", "vehicle"],
        "superclass_of": [0, 0, 1],
    }
    return similarity_explorer(**{**arguments, **changes})


def test_every_matrix_survives_packing_within_the_promised_error(similarity):
    fixed, sweep = toy_matrices()
    bound = abs(similarity.lowest) / 131_000
    for name, matrix in fixed.items():
        assert float((similarity.matrix(name) - matrix).abs().max()) <= bound < 1e-4
    for t, each in sweep.items():
        similarity.temperature = t
        for name, matrix in each.items():
            assert float((similarity.matrix(name) - matrix).abs().max()) <= bound


def test_a_class_without_images_stays_unknown():
    holed = uniform().clone()
    holed[1] = math.nan
    explorer = build(matrices={"teacher": uniform(), "kd": holed})
    assert explorer.matrix("kd").isnan().all(1).tolist() == [False, True, False]
    assert explorer.numbers("kd")["siblings"] == pytest.approx(-math.log(3), abs=1e-4)
    assert explorer.draw().axes and "the diagonal is unknown" in explorer.describe()


def test_by_hand_siblings_and_others():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.7, 0.05], [0.1, 0.2, 0.7]]).log()
    numbers = build(matrices={"teacher": p, "kd": uniform()}).numbers("teacher")
    assert numbers["siblings"] == pytest.approx((math.log(0.2) + math.log(0.25)) / 2, abs=1e-4)
    others = [0.1, 0.05, 0.1, 0.2]
    assert numbers["others"] == pytest.approx(sum(map(math.log, others)) / 4, abs=1e-4)


def test_the_correlation_is_scipys(similarity):
    fixed, _ = toy_matrices()
    off = ~torch.eye(len(CLASSES), dtype=torch.bool)
    expected = spearmanr(fixed["teacher"][off], fixed["kd"][off]).statistic
    assert similarity.correlation() == pytest.approx(expected, abs=1e-3)  # codes of 16 bits may tie neighbours


def test_the_slider_moves_the_swept_models_alone(similarity):
    similarity.left, similarity.right = "ls_teacher", "kd"
    before, fixed = similarity.matrix("ls_teacher"), similarity.matrix("kd")
    similarity.temperature = 8.0
    assert not torch.equal(similarity.matrix("ls_teacher"), before) and torch.equal(similarity.matrix("kd"), fixed)
    assert "LS teacher, T = 8 gives a sibling" in similarity.describe()


def test_temperatures_are_sorted_and_names_readable():
    pair = {"ls_teacher": uniform(), "ls_student": uniform()}
    explorer = build(sweep={8: pair, 1: pair}, titles={"kd": "Mine"}, colours={"kd": "#123456"}, temperature=8)
    assert explorer.temperatures == [1.0, 8.0] and explorer.temperature == 8.0
    assert [m["title"] for m in explorer.models] == ["Teacher", "Mine", "LS teacher", "LS teacher's student"]
    assert explorer.models[1]["colour"] == "#123456"
    assert repr(explorer) == "SimilarityExplorer(3 classes: teacher, kd, ls_teacher, ls_student; T = 1, 8)"


def test_the_first_pair_is_one_of_siblings_and_both_views_can_be_drawn(similarity):
    assert SUPERCLASS_OF[similarity.row] == SUPERCLASS_OF[similarity.column] and similarity.row != similarity.column
    for similarity.view in ("side by side", "difference"):
        assert similarity.draw().axes


def test_fourteen_matrices_of_twenty_classes_take_20_kb():
    matrices = {name: uniform(20) for name in ("teacher", "scratch", "label_smoothing", "kd")}
    sweep = {t: {"ls_teacher": uniform(20), "ls_student": uniform(20)} for t in (1, 2, 3, 4, 8)}
    explorer = similarity_explorer(matrices, [f"c{i}" for i in range(20)], ["all"], [0] * 20, sweep=sweep)
    assert len(explorer.values) == 14 * 400 * 2 and len(repr(explorer.get_state())) < 120_000


def test_the_same_content_has_the_same_key():
    assert build().static_key == build().static_key != build(superclass_of=[0, 1, 1]).static_key


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_names": ["cat"]}, "class_names must name at least 2 classes, not 1"),
        ({"superclass_of": [0, 0, 2]}, "superclass_of must give each of the 3 classes an index below 2"),
        ({"matrices": {"kd": uniform()}}, "needs at least two models to compare, not 1"),
        ({"matrices": {"kd": uniform(4), "at": uniform()}}, r"the matrix of 'kd' must have shape \(3, 3\)"),
        ({"matrices": {"kd": uniform() - math.inf, "at": uniform()}}, "'kd' holds values that are not finite"),
        ({"matrices": {"kd": torch.zeros(3, 3), "at": uniform()}}, "exp of a row sums to 3, more than 1"),
        (
            {"sweep": {0.0: {"ls_student": uniform()}}},
            "a temperature of the sweep must be a finite number greater than 0",
        ),
        ({"sweep": {1: {"a": uniform()}, 2: {"b": uniform()}}}, "the sweep holds a at T = 1 but b at T = 2"),
        ({"sweep": {1: {}}}, "but nothing at T = 1"),
        ({"sweep": {1: {"kd": uniform()}}}, "'kd' is both in matrices and in the sweep"),
        ({"sweep": {1: {"a": uniform() + 3}}}, "the matrix of 'a' at T = 1 holds no mean log-probabilities"),
        ({"sweep": {1: {"a": uniform()}}, "temperature": 3.0}, r"temperature must be one of \[1.0\], not 3.0"),
        ({"left": "teachr"}, "unknown model 'teachr'; did you mean 'teacher'?"),
        ({"max_bytes": 40}, "2 matrices of 3 classes take 0.0 MB of widget state"),
    ],
)
def test_bad_input_gets_one_clear_sentence(changes, sentence):
    with pytest.raises(KdlibError, match=sentence):
        build(**changes)


@pytest.mark.parametrize(("trait", "value"), [("left", "nobody"), ("row", 10), ("column", -1), ("temperature", 5.0)])
def test_a_choice_that_does_not_exist_is_refused(similarity, trait, value):
    assert len(SUPERCLASSES) == 4
    with pytest.raises(KdlibError):
        setattr(similarity, trait, value)


def test_a_still_picture_keeps_such_names_and_gives_numbers_the_sign(similarity):
    similarity.class_names = ["-5", *similarity.class_names[1:]]
    page = static_figure(similarity).data
    assert "images of -5, " in page and "−" in page and "−5, " not in page
