"""The search on the exact derivative, beside the sampled recipe and the closed form."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from kdlib.errors import KdlibError
from kdlib.metrics.information.closed_form import closed_form_entropy, sensitivity
from kdlib.metrics.information.linear import linear_information
from kdlib.metrics.information.maps import information_discarding
from kdlib.metrics.information.search import Converged, EarlyStopped


@pytest.fixture
def linear():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24))
    model[1].weight.data *= torch.logspace(-0.5, 0.5, 64)  # the last pixels matter most
    model[1].bias.data += 100.0  # so that the ReLU is never in the way
    return model.eval()


@pytest.fixture
def images():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_of_a_linear_layer_it_is_what_the_samples_come_to(linear, images):
    exact = linear_information(linear, images, "1", grid=8)
    sampled = information_discarding(linear, images, "1", grid=8, samples=1024)
    assert exact.reached.all() and sampled.reached.all()
    assert float((exact.entropy - sampled.entropy).abs().max()) < 0.05
    assert float((exact.mean_entropy - sampled.mean_entropy).abs().max()) < 0.02


def test_it_has_no_noise(linear, images):
    first, second = (linear_information(linear, images, "1", grid=8, seed=seed) for seed in (0, 1))
    assert torch.equal(first.entropy, second.entropy)


def test_run_to_the_end_it_is_the_closed_form(linear, images):
    found = linear_information(linear, images, "1", grid=8, search=Converged())
    wanted = closed_form_entropy(sensitivity(linear, images, "1", grid=8))
    assert torch.allclose(found.entropy, wanted, atol=1e-3)
    assert found.feature_loss == pytest.approx([3.5] * 3, abs=0.01)  # lambda / 2


def test_its_order_is_that_of_the_sensitivity(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 16)).eval()
    found = linear_information(model, images, "3", grid=8)
    a = sensitivity(model, images, "3", grid=8)
    for entropy, own in zip(found.entropy, a, strict=True):
        assert spearmanr(entropy.flatten(), own.flatten()).statistic == pytest.approx(-1.0)
    few = linear_information(model, images, "3", grid=8, projections=256, seed=3)
    assert float((few.entropy - found.entropy).abs().mean()) < 0.05


def test_a_dead_image_has_no_map_and_leaves_the_others_alone(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    nn.init.ones_(model[1].weight)
    nn.init.constant_(model[1].bias, -1.0)
    pictures = torch.cat([images, torch.zeros(1, 1, 8, 8)])
    found = linear_information(model, pictures, "1", grid=8)
    assert found.dead.tolist() == [False, False, False, True]
    assert found.entropy[3].isnan().all() and not found.reached[3]
    assert torch.equal(found.entropy[:3], linear_information(model, images, "1", grid=8).entropy)


def test_a_target_out_of_reach_is_refused_or_marked(linear, images):
    search = EarlyStopped(weight=1.0)
    with pytest.raises(KdlibError, match=r"3 of 3 images never reach a mean entropy of -2\.8 nats"):
        linear_information(linear, images, "1", grid=8, search=search)
    found = linear_information(linear, images, "1", grid=8, search=search, if_not_reached="mark")
    assert not found.reached.any() and found.entropy.isfinite().all()
    short = Converged(steps=4, averaged=4)
    with pytest.raises(KdlibError, match="3 of 3 images have not converged in 4 steps"):
        linear_information(linear, images, "1", grid=8, search=short)


def test_a_layer_dead_on_all_images_is_refused_as_the_samples_refuse_it_or_marked():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    nn.init.constant_(model[1].bias, -1e3)
    dark, told = torch.zeros(2, 1, 8, 8), []
    for estimator in (linear_information, information_discarding):
        with pytest.raises(KdlibError, match="does not change under noise on any of the 2 images") as error:
            estimator(model, dark, "1", grid=8)
        told.append(str(error.value))
    assert told[0] == told[1]
    for search in (EarlyStopped(), Converged()):
        found = linear_information(model, dark, "1", grid=8, search=search, if_not_reached="mark")
        assert found.dead.all() and not found.reached.any()
        assert found.entropy.isnan().all() and found.entropy.shape == (2, 8, 8)
        assert found.step.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, not -1"),
        ({"images": torch.rand(2, 3, 8, 8)}, "does not take images of 3 channels and 8x8 pixels"),
        ({"images": torch.rand(2, 8, 8)}, "images must be real numbers of shape"),
        ({"search": "exact"}, "search must be EarlyStopped"),
        ({"if_not_reached": "marc"}, "did you mean 'mark'"),
    ],
)
def test_mistakes_are_one_sentence(linear, images, change, message):
    with pytest.raises(KdlibError, match=message) as error:
        linear_information(**{"model": linear, "images": images, "layer": "1", "grid": 8} | change)
    assert "\n" not in str(error.value)


def test_an_unknown_layer_is_refused(linear, images):
    with pytest.raises(KdlibError, match="nearest"):
        linear_information(linear, images, "fc9")
