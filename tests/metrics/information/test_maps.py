"""Information discarding against a per-image loop written from the recipe, and against the layer's derivative."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from information_twin import slow_map
from scipy.stats import spearmanr
from torch import nn

from kdlib.errors import KdlibError
from kdlib.metrics.information.closed_form import closed_form_entropy, linear_response, sensitivity
from kdlib.metrics.information.maps import Converged, EarlyStopped, information_discarding
from kdlib.metrics.information.response import exact_float32, pool, spread
from kdlib.metrics.information.search import entropy_of, search_converged, search_early_stopped
from kdlib.models.resnet import Normalise


def small_net(seed: int = 0, channels: int = 2, size: int = 8) -> nn.Sequential:
    """Layers "0" (convolution), "4" (FC1) and "6" (FC2), in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(size * size, 12),
            nn.ReLU(inplace=True), nn.Linear(12, 5),
        )  # fmt: skip
    return net.double().eval()


def pictures(count: int = 3, size: int = 8, channels: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measure(net, images, layer="4", **options):
    return information_discarding(net, images, layer, **{"grid": 4, "samples": 6, "seed": 5, **options})


def linear_net(weights: torch.Tensor, size: int) -> nn.Sequential:
    """One linear layer "1" without negative outputs on the pictures used here."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.shape[1], weights.shape[0]))
    net[1].weight.data.copy_(weights)
    net[1].bias.data.fill_(1e3)
    return net.double()


# ---- against the definition -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["0", "4", "6"])
@pytest.mark.parametrize("relu", [True, False])
def test_every_map_equals_the_slow_twin(layer, relu):
    net, images = small_net(), pictures()
    found = measure(net, images, layer, relu=relu)
    for number, image in enumerate(images):
        twin = slow_map(
            net, image, layer, grid=(4, 4), samples=6, seed=5, image_id=number, learning_rate=1e-4 / 16, relu=relu
        )
        assert torch.allclose(found.entropy[number], twin.entropy, atol=1e-9)
        assert int(found.step[number]) == twin.step
        assert float(found.normaliser[number]) == pytest.approx(twin.normaliser)
        assert float(found.feature_loss[number]) == pytest.approx(twin.feature_loss)
        path = found.path[number][~found.path[number].isnan()]
        assert path.tolist() == pytest.approx(twin.path[: len(path)], abs=1e-9)
    assert found.entropy.flatten(1).std(1).min() > 0.01, "the maps show something"


def test_the_published_grid_and_learning_rate_equal_the_slow_twin_in_float32():
    net, images = small_net(size=32).float(), pictures(2, 32).float()
    found = information_discarding(net, images, "4", samples=8)
    for number, image in enumerate(images):
        twin = slow_map(net, image, "4", samples=8, image_id=number)
        assert int(found.step[number]) == twin.step
        # ReLUs that switch on a rounding error make single cells differ a little.
        assert (found.entropy[number] - twin.entropy).abs().max() < 2e-3
        assert (found.entropy[number] - twin.entropy).abs().mean() < 2e-5


def test_images_that_are_late_get_a_greater_weight_for_the_last_steps_like_the_slow_twin():
    net, images = small_net(), pictures()
    search = EarlyStopped(weight=4.6)
    found = measure(net, images, search=search, if_not_reached="mark")
    twins = [
        slow_map(net, image, "4", grid=(4, 4), samples=6, seed=5, image_id=i, learning_rate=1e-4 / 16, weight=4.6)
        for i, image in enumerate(images)
    ]
    assert found.raised.tolist() == [twin.raised for twin in twins]
    assert found.raised.any()
    for number, twin in enumerate(twins):
        assert torch.allclose(found.entropy[number], twin.entropy, atol=1e-9)
        assert int(found.step[number]) == twin.step


def test_leaving_early_keeps_the_maps_of_all_steps():
    net, images = small_net(2), pictures(4)
    early, full = measure(net, images), measure(net, images, search=EarlyStopped(leave=None))
    assert torch.equal(early.step, full.step)
    assert torch.allclose(early.entropy, full.entropy, atol=1e-12)
    assert early.path.isnan().sum() > full.path.isnan().sum()
    assert full.path[:, :60].isfinite().all()


def test_at_the_published_settings_leaving_early_changes_no_bit():
    net, images = small_net(size=32).float(), pictures(4, 32).float()
    early, full = (
        information_discarding(net, images, "4", samples=8, search=search)
        for search in (EarlyStopped(), EarlyStopped(leave=None))
    )
    for field in ("entropy", "feature_loss", "step", "raised", "reached"):
        assert torch.equal(getattr(early, field), getattr(full, field))
    # No step leaps: whatever lies so far over the target is neither measured nor kept.
    assert float(early.path.nan_to_num(-9.0).max()) <= -2.8 + 0.02 < float(full.path.nan_to_num(-9.0).max())


def test_a_step_that_leaps_over_the_target_is_compared_before_its_image_is_left():
    net, images = small_net(1), pictures()
    early, full = (
        measure(net, images, search=EarlyStopped(weight=30.0, target=-2.84, leave=leave), if_not_reached="mark")
        for leave in (0.02, None)
    )
    assert torch.equal(early.entropy, full.entropy)
    assert torch.equal(early.step, full.step)
    assert torch.equal(early.feature_loss, full.feature_loss)
    leapt = full.mean_entropy > -2.84 + 0.02
    assert leapt.any(), "the nearest step lies so far over the target that the image is left there"
    assert early.path.isfinite().sum(1).max() < 10


@pytest.mark.parametrize(("grid", "cells"), [(3, (3, 3)), ((2, 5), (2, 5)), ("pixel", (8, 8))])
def test_other_grids_equal_the_slow_twin_whose_cells_are_interpolated(grid, cells):
    net, images = small_net(), pictures(1)
    rate = 1e-4 * cells[0] * cells[1] / 256
    found = measure(net, images, grid=grid, if_not_reached="mark")
    twin = slow_map(net, images[0], "4", grid=cells, samples=6, seed=5, learning_rate=rate)
    assert torch.allclose(found.entropy[0], twin.entropy, atol=1e-9)


def test_spread_is_nearest_neighbour_enlargement_and_pool_its_transpose():
    cells = torch.rand(2, 3, 5, dtype=torch.float64)
    pixels = torch.rand(2, 7, 12, dtype=torch.float64)
    assert torch.equal(spread(cells, 7, 12), F.interpolate(cells[:, None], size=(7, 12), mode="nearest")[:, 0])
    assert float((spread(cells, 7, 12) * pixels).sum()) == pytest.approx(float((cells * pool(pixels, 3, 5)).sum()))


# ---- the search by hand ---------------------------------------------------------------------------------------------


def test_the_first_steps_worked_by_hand():
    # One cell, a = 1e4: loss 1e4 s^2, slope 2e4 s. At s = 0.01 with lambda 7 and rate 1e-6:
    # s <- 0.01 - 1e-6 (200 - 700) = 0.0105;  0.0105 - 1e-6 (210 - 7 / 0.0105) = 0.01095667
    a = torch.tensor([[[1e4]]], dtype=torch.float64)
    search = EarlyStopped(learning_rate=1e-6, steps=3, last_steps=1, target=math.log(0.0105) + 1.4189385, leave=None)
    found = search_early_stopped(linear_response(a), a, search)
    assert found.path[0].exp().mul(math.exp(-1.4189385332)).tolist()[:2] == pytest.approx([0.01, 0.0105])
    assert int(found.step[0]) == 1
    assert float(found.sigma[0]) == pytest.approx(0.0105)
    assert float(found.loss[0]) == pytest.approx(1e4 * 0.0105**2)
    assert not found.raised.any(), "the second step is a hair over the target"
    later = search_early_stopped(linear_response(a), a, replace(search, target=search.target + 0.04))
    assert later.raised.all()
    # The step at whose end the weight goes up still takes the old one.
    assert float(later.sigma[0]) == pytest.approx(0.0105 - 1e-6 * (210 - 7 / 0.0105))


def test_sigma_stays_between_its_bounds():
    a = torch.tensor([[[1e6, 1e-6]]], dtype=torch.float64)
    search = EarlyStopped(learning_rate=1e-4, target=-1.0, tolerance=5.0, leave=None)
    seen = []
    respond = linear_response(a)

    def watched(numbers, sigma):
        seen.append(sigma.clone())
        return respond(numbers, sigma)

    search_early_stopped(watched, a, search)
    assert float(torch.stack(seen).min()) == pytest.approx(0.001)
    assert torch.stack(seen).max() <= 1.0
    top = search_converged(respond, a, Converged()).sigma
    assert top.flatten().tolist() == pytest.approx([math.sqrt(7 / (2 * 1e6 * 2)), 1.0])


def test_early_stopping_follows_the_exponential_approach_and_keeps_the_order():
    a = torch.tensor([0.2, 0.5, 1.0, 1.3, 2.0], dtype=torch.float64)
    a = (a / a.sum() * 1e4).view(1, 1, 5)
    search = EarlyStopped(learning_rate=1e-8 * 5, steps=2000, last_steps=1, target=9.0, tolerance=99, leave=None)
    found = search_early_stopped(linear_response(a), a, search)
    goal = 7 / (2 * a * 5)
    expected = goal + (1e-4 - goal) * torch.exp(-4 * 5e-8 * a * int(found.step[0]))
    assert torch.allclose(found.sigma.square(), expected, rtol=1e-3)
    assert found.sigma.flatten().argsort().tolist() == [4, 3, 2, 1, 0]


def test_a_converged_search_of_a_linear_response_is_the_closed_form():
    a = torch.rand(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.05
    a = a / a.sum((1, 2), keepdim=True) * 1e4
    found = search_converged(linear_response(a), a, Converged())
    assert found.reached.all()
    assert torch.allclose(entropy_of(found.sigma), closed_form_entropy(a), atol=1e-6)
    assert torch.allclose(found.loss, torch.full((3,), 3.5, dtype=torch.float64), atol=1e-6)


# ---- against the derivative -----------------------------------------------------------------------------------------


def test_sensitivity_is_the_pooled_jacobian_of_torch():
    net, images = small_net(), pictures(2)
    a = sensitivity(net, images, "6", grid=4, batch_size=1)
    for number, image in enumerate(images):
        jacobian = torch.autograd.functional.jacobian(lambda x: net(x[None])[0].relu(), image)
        energy = F.avg_pool2d(jacobian.square().sum((0, 1))[None], 2)[0] * 4
        assert torch.allclose(a[number], energy / energy.sum() * 1e4)
    assert a.sum((1, 2)).tolist() == pytest.approx([1e4, 1e4])


def test_projections_come_near_the_exact_sensitivity():
    net, images = small_net(), pictures(2)
    exact, guess = (sensitivity(net, images, "4", grid=4, projections=p) for p in (None, 2000))
    assert not torch.equal(exact, guess)
    assert torch.allclose(guess / exact, torch.ones(1, dtype=torch.float64), atol=0.15)


def test_a_linear_layer_converges_to_the_closed_form_up_to_sampling():
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(20, 16, generator=generator) * torch.linspace(0.5, 3, 16)
    net, images = linear_net(weights, 4), pictures(2, 4, 1)
    found = measure(net, images, "1", search=Converged(), samples=256)
    expected = closed_form_entropy(sensitivity(net, images, "1", grid=4))
    assert torch.allclose(found.entropy, expected, atol=0.04)
    assert torch.allclose(found.feature_loss, torch.full((2,), 3.5, dtype=torch.float64), rtol=0.03)
    assert expected.flatten(1).std(1).min() > 0.4, "far more than the tolerance"


@pytest.fixture(scope="module")
def trained():
    """A small network with "fc1" that tells where on noise a bright bar lies, and pictures of it, 32x32."""
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        images = torch.rand(count, 1, 32, 32, generator=generator) * 0.5
        labels = torch.randint(3, (count,), generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, 11 * label : 11 * label + 6, 8:24] += 0.5
        return images, labels

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        net.add_module("fc1", nn.Linear(512, 24))
        net.add_module("act", nn.ReLU())
        net.add_module("fc2", nn.Linear(24, 3))
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(60):
            images, labels = draw(32)
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return net.eval(), draw(2)[0]


def test_maps_of_a_trained_network_rank_cells_as_its_derivative_does(trained):
    net, images = trained
    found = information_discarding(net, images, "fc1", samples=128)
    expected = closed_form_entropy(sensitivity(net, images, "fc1"))
    for one, other in zip(found.entropy, expected, strict=True):
        assert spearmanr(one.flatten(), other.flatten()).statistic >= 0.95
    assert (found.mean_entropy + 2.8).abs().max() < 0.02


# ---- what must hold -------------------------------------------------------------------------------------------------


def test_one_image_does_not_depend_on_the_others():
    net, images = small_net(), pictures(4)
    found = measure(net, images, samples=40)
    changed = images.clone()
    changed[[0, 2]] = torch.rand_like(changed[[0, 2]]) * 3
    other = measure(net, changed, samples=40)
    assert torch.equal(found.entropy[[1, 3]], other.entropy[[1, 3]])
    assert not torch.equal(found.entropy[0], other.entropy[0])
    batched = [measure(net, given, samples=40, chunk=100).entropy for given in (images, changed)]
    assert torch.allclose(batched[0][[1, 3]], batched[1][[1, 3]], atol=1e-9)
    alone = measure(net, images[2:3], samples=40, image_ids=[2])
    assert torch.allclose(alone.entropy[0], found.entropy[2], atol=1e-9)
    assert not torch.allclose(measure(net, images[2:3], samples=40).entropy[0], found.entropy[2], atol=1e-4)


def test_the_order_of_images_with_ids_does_not_matter():
    net, images = small_net(), pictures(3)
    one, other = measure(net, images), measure(net, images[[2, 0, 1]], image_ids=[2, 0, 1])
    assert torch.allclose(one.entropy[[2, 0, 1]], other.entropy, atol=1e-9)


class Watch(nn.Module):
    """Passes its input on and remembers how many images there were; its copies share the memory."""

    seen: ClassVar[list[int]] = []

    def forward(self, images):
        Watch.seen.append(len(images))
        return images


@pytest.mark.parametrize("chunk", [1, 4, 7, 13, 1000])
def test_a_chunk_bounds_the_images_at_once_and_changes_nothing_but_rounding(chunk):
    images = pictures(3)
    whole = measure(small_net(), images)
    Watch.seen.clear()
    found = measure(nn.Sequential(Watch(), *small_net()), images, "5", chunk=chunk)
    assert torch.allclose(found.entropy, whole.entropy, atol=1e-9)
    assert torch.equal(found.step, whole.step)
    whole_images = min(chunk // 6, 3) * 6  # of several images all samples go together
    assert max(Watch.seen) == (whole_images or chunk)


def peak_bytes(run) -> int:
    """The most memory that was taken at one time, as torch's allocator tells it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_besides_the_chunk_an_image_s_noise_is_held_once():
    net, images = small_net(size=32).float(), pictures(1, 32).float()
    of_one_image = 200 * 2 * 32 * 32 * 4
    search = EarlyStopped(steps=2, last_steps=1)
    few, many = (
        peak_bytes(lambda c=chunk: measure(net, images, samples=200, search=search, chunk=c, if_not_reached="mark"))
        for chunk in (2, 200)
    )
    assert of_one_image < few < 1.3 * of_one_image
    assert many > 3 * of_one_image, "the noisy copies and what the network makes of them"


def test_nothing_after_the_layer_is_computed():
    net = small_net()
    Watch.seen.clear()
    found = measure(nn.Sequential(*net[:5], Watch(), *net[5:]), pictures(2))
    assert Watch.seen == [1], "the one image on which the layer is checked"
    assert torch.equal(found.entropy, measure(net, pictures(2)).entropy)


def test_same_seed_same_bits_and_another_seed_other_noise():
    net, images = small_net(), pictures()
    one, same, other = (measure(net, images, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.entropy, same.entropy)
    assert not torch.allclose(one.entropy, other.entropy, atol=1e-4)


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = measure(small_net(), pictures(1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(one.entropy, measure(small_net(), pictures(1)).entropy)


def test_the_number_of_threads_does_not_matter():
    net, images, before = small_net(), pictures(5), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(measure(net, images, samples=40))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].entropy, found[1].entropy)


def test_multiplying_the_features_changes_nothing():
    net, larger, images = small_net(), small_net(), pictures()
    larger[4].weight.data *= 8
    larger[4].bias.data *= 8
    assert torch.allclose(measure(net, images).entropy, measure(larger, images).entropy, atol=1e-9)
    assert torch.allclose(measure(net, images).normaliser * 64, measure(larger, images).normaliser)


def test_noise_is_in_units_of_the_normalised_image():
    mean, std = (0.2, 0.6), (0.1, 0.4)
    net, images = small_net(), pictures()
    inside = nn.Sequential(Normalise(mean, std), *net).double()
    outside = (images - torch.tensor(mean).view(2, 1, 1).double()) / torch.tensor(std).view(2, 1, 1).double()
    assert torch.allclose(measure(inside, images, "5").entropy, measure(net, outside).entropy, atol=1e-6)
    assert torch.allclose(
        measure(inside, images, "5").entropy, measure(inside, images, "5", noise_scale=std).entropy, atol=1e-6
    )
    a, b = sensitivity(inside, images, "5", grid=4), sensitivity(net, outside, "4", grid=4)
    assert torch.allclose(a, b, rtol=1e-5)


def test_the_model_is_left_as_it_was():
    net = small_net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        one = measure(net, pictures())
    with torch.inference_mode():
        other = measure(net, pictures())
    assert torch.equal(one.entropy, other.entropy)
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_dropout_and_batch_statistics_are_off():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5), *small_net()).double().train()
    net[0].running_mean += 0.3
    still = nn.Sequential(net[0], *net[2:]).eval()
    assert torch.allclose(measure(net, pictures(), "6").entropy, measure(still, pictures(), "5").entropy, atol=1e-12)


def test_arithmetic_is_float32_whatever_is_switched_on_around():
    net, images = small_net().float(), pictures().float()
    plain = measure(net, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(measure(net, images).entropy, plain.entropy)


def test_switches_for_coarser_matrix_products_are_off_inside_and_as_before_outside():
    places = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        values = [place.fp32_precision for place in places]
        with exact_float32():
            assert [place.fp32_precision for place in places] == ["ieee"] * 3
        assert [place.fp32_precision for place in places] == values
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_relu_at_the_layer_hides_what_is_negative():
    # Feature 0 sees the upper half, feature 1, always negative, the lower one.
    weights = torch.zeros(2, 16)
    weights[0, :8], weights[1, 8:] = 1.0, 3.0
    net = linear_net(weights, 4)
    net[1].bias.data.copy_(torch.tensor([5.0, -99.0]))
    images = pictures(1, 4, 1)
    options = {"samples": 64, "search": EarlyStopped(target=-2.9), "if_not_reached": "mark"}
    with_relu, without = (measure(net, images, "1", relu=relu, **options).entropy[0] for relu in (True, False))
    assert with_relu[:2].mean() < with_relu[2:].mean() - 0.1
    assert without[:2].mean() > without[2:].mean() + 0.1


# ---- what can't be measured -----------------------------------------------------------------------------------------


def dead_on_dark() -> nn.Sequential:
    """A unit "1" that is on for bright pictures alone."""
    net = linear_net(torch.ones(1, 16), 4)
    net[1].bias.data.fill_(-8.0)
    return net


def test_a_dead_image_has_no_map_and_is_counted():
    images = torch.stack([torch.full((1, 4, 4), value) for value in (0.9, 0.1, 0.8)]).double()
    found = measure(dead_on_dark(), images, "1", samples=32)
    assert found.dead.tolist() == [False, True, False]
    assert found.normaliser[1] == 0
    assert found.entropy[1].isnan().all()
    assert found.entropy[[0, 2]].isfinite().all()
    assert found.step[1] == -1
    assert not found.reached[1]
    summary = found.summary()
    assert (summary["images"], summary["dead"], summary["not_reached"]) == (3, 1, 0)
    assert summary["mean_entropy"] == pytest.approx(-2.8, abs=0.02)


def test_a_layer_that_is_dead_for_all_images_is_refused():
    with pytest.raises(KdlibError, match=r"layer '1' does not change .* on any of the 2 images \(sigma_f\^2 = 0\)"):
        measure(dead_on_dark(), torch.full((2, 1, 4, 4), 0.1).double(), "1")


def test_maps_of_a_dead_layer_can_be_marked():
    for search in (EarlyStopped(), Converged()):
        found = measure(
            dead_on_dark(), torch.full((2, 1, 4, 4), 0.1).double(), "1", search=search, if_not_reached="mark"
        )
        assert found.dead.all()
        assert not found.reached.any()
        assert found.entropy.isnan().all() and found.entropy.shape == (2, 4, 4)
        assert found.summary()["dead"] == 2


def test_a_target_that_is_never_reached_is_told_and_not_passed_off():
    net, images = small_net(), pictures()
    with pytest.raises(KdlibError, match=r"3 of 3 images never reach a mean entropy of -1 nats in 80 steps") as error:
        measure(net, images, search=EarlyStopped(target=-1.0))
    assert "\n" not in str(error.value)
    found = measure(net, images, search=EarlyStopped(target=-1.0), if_not_reached="mark")
    assert not found.reached.any()
    assert found.summary()["not_reached"] == 3
    with pytest.raises(KdlibError, match=r"3 of 3 images never reach a mean entropy of -3\.3"):
        measure(net, images, search=EarlyStopped(target=-3.3))


def test_too_small_a_weight_shrinks_the_noise_and_is_told():
    with pytest.raises(KdlibError, match=r"with lambda 2 and learning rate 6.25e-06 on 16 cells"):
        measure(small_net(), pictures(), search=EarlyStopped(weight=2.0))


def test_a_search_that_still_moves_is_told():
    with pytest.raises(KdlibError, match="3 of 3 images have not converged in 4 steps"):
        measure(small_net(), pictures(), search=Converged(steps=4, averaged=4))


class Pair(nn.Module):
    def forward(self, images):
        return images, images


def not_finite() -> nn.Sequential:
    net = small_net()
    net[4].weight.data[0, 0] = math.nan
    return net


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "44"}, "this model has no layer '44'"),
        ({"net": nn.Sequential(Pair())}, "gives tuple, not one tensor"),
        ({"net": nn.Sequential(nn.Flatten(0)), "layer": "0"}, "layer '0' gives torch.float32 of shape .* not features"),
        ({"net": small_net().half()}, "needs a model in float32, not torch.float16"),
        ({"net": not_finite()}, "weights that are NaN or infinite"),
        (
            {"net": nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()), "layer": "1"},
            "'0' normalises by the statistics of the batch",
        ),
        ({"images": torch.rand(2, 8, 8)}, r"images must be real numbers of shape \(N, C, H, W\)"),
        ({"images": torch.zeros(3, 2, 8, 8, dtype=torch.uint8)}, "not torch.uint8"),
        ({"images": torch.full((3, 2, 8, 8), math.inf)}, "images hold NaN or infinity"),
        ({"grid": 9}, "a grid of 9x9 cells is finer than the 8x8 pixels"),
        ({"grid": 0}, "grid must be a whole number of cells a side"),
        ({"grid": "cell"}, "grid must be"),
        ({"grid": (2, 2, 2)}, "grid must be"),
        ({"samples": 0}, "samples must be a whole number of at least 1"),
        ({"chunk": 0}, "chunk must be a whole number of at least 1"),
        ({"noise_scale": (1.0, 2.0, 3.0)}, "noise_scale must be a positive number, or one for each of the 2 channels"),
        ({"noise_scale": 0.0}, "noise_scale must be a positive number"),
        ({"image_ids": [0, 1]}, "image_ids must be 3 whole numbers of at least 0"),
        ({"image_ids": [0, 1, -1]}, "image_ids must be 3 whole numbers of at least 0"),
        ({"image_ids": "ab"}, "image_ids must be 3 whole numbers of at least 0, one an image, not 'ab'"),
        ({"image_ids": 3}, "image_ids must be 3 whole numbers"),
        ({"image_ids": [0, 1, 1.5]}, r"image_ids must be 3 whole numbers .*not \[0, 1, 1.5\]"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, not -1"),
        ({"noise_scale": "a"}, "noise_scale must be a positive number, or one for each of the 2 channels, not 'a'"),
        ({"noise_scale": (1.0, None)}, "noise_scale must be a positive number"),
        ({"images": pictures(channels=3)}, r"does not take images of 3 channels and 8x8 pixels \(.*as it was trained"),
        ({"images": pictures(size=12)}, "does not take images of 2 channels and 12x12 pixels"),
        ({"images": pictures().numpy()}, "images must be a tensor"),
        (
            {"net": nn.Sequential(Normalise((0.5,) * 3, (0.5,) * 3), nn.Flatten()), "images": pictures(channels=1)},
            r"takes images of shape \(batch, 3, height, width\), not \(1, 1, 8, 8\)",
        ),
        ({"search": "converged"}, r"search must be EarlyStopped\(...\) or Converged\(...\), not 'converged'"),
        ({"if_not_reached": "ignore"}, "choices: refuse, mark"),
    ],
)
def test_mistakes_are_one_sentence(change, message):
    arguments = {"net": small_net(), "images": pictures(), "layer": "0" if "net" in change else "4", **change}
    with pytest.raises(KdlibError, match=message) as error:
        measure(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopped(start=2.0), "start must be a finite number at least 0.001 and at most 1"),
        (lambda: EarlyStopped(weight=0.0), "weight must be a finite number greater than 0"),
        (lambda: EarlyStopped(steps=20), "last_steps must be fewer than the 20 steps, not 20"),
        (lambda: EarlyStopped(target=math.nan), "target must be a finite number"),
        (lambda: EarlyStopped(learning_rate=0.0), "learning_rate must be"),
        (lambda: Converged(steps=10), "steps must be at least the 60 averaged ones, not 10"),
    ],
)
def test_mistakes_in_a_search(make, message):
    with pytest.raises(KdlibError, match=message):
        make()


def test_a_layer_without_a_derivative_is_told():
    class Rounded(nn.Module):
        def forward(self, images):
            return (images * 100).round().detach()

    with pytest.raises(KdlibError, match="does not depend on the image in a differentiable way"):
        measure(nn.Sequential(Rounded()), pictures(), "0")
    with pytest.raises(KdlibError, match="does not depend on the image in a differentiable way"):
        sensitivity(nn.Sequential(Rounded()), pictures(), "0", grid=4)


def test_a_sensitivity_without_any_derivative_is_nan():
    images = torch.stack([torch.full((1, 4, 4), value) for value in (0.9, 0.1)]).double()
    a = sensitivity(dead_on_dark(), images, "1", grid=4)
    assert a[0].isfinite().all()
    assert a[1].isnan().all()
