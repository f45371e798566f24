"""The figures of the first chapters show the numbers they are given."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import pytest
import torch

from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.metrics.dissection.dissect import dissect
from kdlib.models import build
from kdlib.names import MODEL_COLOURS
from kdlib.papers.first_steps.figures import hesitant_image, softened_outputs, unit_figure
from kdlib.widgets import unit_views


@pytest.fixture(scope="module")
def probe():
    return draw_scenes(60, seed=0, image_size=32)


def test_softened_outputs_are_softmaxes_in_the_order_of_superclasses(probe):
    logits = {"teacher": torch.randn(20), "kd": torch.randn(20)}
    figure = softened_outputs(logits, (1.0, 4.0), probe, 0)
    order = sorted(range(20), key=lambda c: (probe.superclass_of[c], c))
    for axis, temperature in zip(figure.axes[1:], (1.0, 4.0), strict=True):
        for bars, z in zip(axis.containers, logits.values(), strict=True):
            heights = [bar.get_height() for bar in bars]
            assert heights == pytest.approx((z / temperature).softmax(0)[order].tolist(), rel=1e-5)
    assert figure.axes[1].containers[1][0].get_facecolor()[:3] == pytest.approx(
        matplotlib.colors.to_rgb(MODEL_COLOURS["kd"])
    )


def test_the_title_of_softened_outputs_has_the_first_models_largest_probabilities(probe):
    even = torch.zeros(20)
    even[3] = torch.tensor(19.0).log()  # odds 19 : 1 against each of 19 others
    figure = softened_outputs({"teacher": even, "kd": torch.zeros(20)}, (1.0, 1e6), probe, 0)
    words = " ".join(figure.get_suptitle().split())  # lines are broken, but never within "T = 1"
    assert words == "Teacher's largest probability: 0.50 at T = 1, 0.05 at T = 1e+06"


def test_the_hesitant_image_is_right_but_barely():
    logits = torch.tensor([[5.0, 0.0], [1.0, 0.9], [0.9, 1.0], [2.0, 1.0]])
    assert hesitant_image(logits, torch.tensor([0, 1, 1, 0])) == 2


@pytest.mark.parametrize(("images", "panels"), [(3, 3), (4, 6)])
def test_a_unit_is_shown_with_its_concept(probe, images, panels):
    network = build("small_resnet", num_classes=20, width=4, features=8)
    dissection = dissect(network, probe, "layer3")
    views = unit_views(dissection, network, probe, k=images)
    figure = unit_figure(views, 2, probe)
    assert len(figure.axes) == panels
    assert sum(len(axis.images) for axis in figure.axes) == images
    assert figure.get_suptitle().endswith(f"IoU {float(dissection.score[2]):.3f}")
    assert f"“{dissection.best_concept[2] or 'nothing'}”" in figure.get_suptitle()
