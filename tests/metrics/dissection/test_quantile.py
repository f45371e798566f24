"""The streamed quantile is the quantile of all values, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdlib.errors import KdlibError
from kdlib.metrics.dissection.quantile import UpperQuantile


def streamed(values: torch.Tensor, quantile: float, piece: int) -> torch.Tensor:
    upper = UpperQuantile(quantile, values.shape[1])
    for part in values.split(piece, dim=1):
        upper.update(part)
    return upper.result()


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(5, 4001, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("quantile", [0.0005, 0.005, 0.0937, 0.5, 0.9, 0.9999])
def test_equals_numpy_and_torch_on_the_full_array(values, quantile):
    found = streamed(values, quantile, piece=128)
    # In float64: torch.quantile computes the rank in the values' own type, too coarse in float32.
    assert torch.equal(found, torch.from_numpy(np.quantile(values.double().numpy(), 1 - quantile, axis=1)).float())
    assert torch.equal(found, torch.quantile(values.double(), 1 - quantile, dim=1).float())


@pytest.mark.parametrize("order", ["random", "rising", "falling"])
@pytest.mark.parametrize("piece", [1, 7, 64, 4001])
def test_does_not_depend_on_how_or_in_what_order_the_values_come(values, piece, order):
    expected = streamed(values, 0.01, piece=500)
    if order != "random":
        values = values.sort(dim=1, descending=order == "falling").values
    assert torch.equal(streamed(values, 0.01, piece), expected)


def test_hand_example():
    # 11 values 0..10: position (1 - 0.25) * 10 = 7.5 lies between 7 and 8.
    values = torch.tensor([[3.0, 10.0, 0.0, 7.0, 5.0, 1.0, 9.0, 2.0, 8.0, 4.0, 6.0]])
    assert streamed(values, 0.25, piece=3).tolist() == [7.5]


def test_a_sparse_unit_has_threshold_zero():
    values = torch.zeros(1, 1000)
    values[0, :3] = torch.tensor([1.0, 2.0, 3.0])  # 0.3 % of the values
    assert streamed(values, 0.005, piece=100).tolist() == [0.0]
    assert streamed(values, 0.002, piece=100).item() > 0


def test_one_value_per_unit_is_its_own_quantile():
    assert streamed(torch.tensor([[4.0], [-2.0]]), 0.3, piece=1).tolist() == [4.0, -2.0]


def test_keeps_only_the_values_that_can_matter(values):
    upper = UpperQuantile(0.005, values.shape[1])
    for part in values.split(200, dim=1):
        upper.update(part)
    kept = [] if upper._kept is None else [upper._kept]
    held = sum(piece.shape[1] for piece in [*kept, *upper._pending])
    assert held <= 2 * (int(0.005 * 4000) + 2)


def test_maximum(values):
    upper = UpperQuantile(0.01, values.shape[1])
    for part in values.split(99, dim=1):
        upper.update(part)
    assert torch.equal(upper.maximum(), values.amax(1))


@pytest.mark.parametrize("quantile", [0, 1, -0.1, float("nan"), "0.1"])
def test_refuses_a_quantile_outside_0_and_1(quantile):
    with pytest.raises(KdlibError, match="quantile"):
        UpperQuantile(quantile, 10)


def test_refuses_more_or_fewer_values_than_announced():
    upper = UpperQuantile(0.5, 4)
    upper.update(torch.zeros(2, 3))
    with pytest.raises(KdlibError, match="3 values, not the 4"):
        upper.result()
    with pytest.raises(KdlibError, match="6 values, not the 4"):
        upper.update(torch.zeros(2, 3))
    with pytest.raises(KdlibError, match="shape"):
        UpperQuantile(0.5, 4).update(torch.zeros(4))
