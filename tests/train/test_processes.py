"""Processes that work together: who has which share, who writes, and BatchNorm over all of them."""

from __future__ import annotations

import pytest
import torch
from together import run_together
from torch import nn

from kdlib.errors import KdlibError
from kdlib.train.processes import ALONE, GlobalBatchNorm2d, Processes, current, several, synchronise

IMAGES = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class TestAlone:
    def test_it_has_everything(self):
        with several("cpu") as processes:
            assert processes == current() == ALONE
        assert torch.equal(ALONE.mine(torch.arange(3)), torch.arange(3))
        assert ALONE.share(256) == 256
        assert torch.equal(ALONE.sum(torch.ones(2)), torch.ones(2))
        assert ALONE.from_first(lambda: "made") == "made"


def test_shares_are_even_and_complete():
    shares = [Processes(rank, 3).mine(torch.arange(11)) for rank in range(3)]
    assert sorted(torch.cat(shares).tolist()) == list(range(11))
    assert Processes(0, 4).share(256) == 64
    with pytest.raises(KdlibError, match="batch_size 256 can't be shared out evenly among 3 processes"):
        Processes(0, 3).share(256)


def conversation() -> dict:
    """What one process learns from the others."""
    processes = current()
    told = {"rank": processes.rank, "count": processes.count, "first": processes.first}
    own = torch.tensor([1.0, processes.rank])
    told["sum"] = processes.sum(own).tolist()
    told["own"] = own.tolist()
    told["from_first"] = processes.from_first(lambda: f"made by {processes.rank}")
    with pytest.raises(KdlibError) as error:
        processes.from_first(refuse)
    told["error"] = str(error.value)

    norm = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3, momentum=0.2)))
    with torch.no_grad():
        norm[0][0].weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    before = dict(norm.state_dict(keep_vars=True))
    synchronise(norm)
    told["kind"] = type(norm[0][0]).__name__
    told["same tensors"] = all(tensor is before[name] for name, tensor in norm.state_dict(keep_vars=True).items())
    images = processes.mine(IMAGES).clone().requires_grad_()
    output = norm(images)
    (output.square() * torch.arange(3)[:, None, None]).mean().backward()
    told["output"], told["state"] = output.detach(), {k: v.clone() for k, v in norm.state_dict().items()}
    told["gradient"] = images.grad
    told["weight gradient"] = processes.sum(norm[0][0].weight.grad) / processes.count
    told["in eval mode"] = norm.eval()(images).detach()
    with pytest.raises(KdlibError) as error:
        synchronise(nn.Sequential(nn.BatchNorm1d(3)))
    told["refused"] = str(error.value)
    return told


def refuse() -> None:
    raise KdlibError("the disk is full")


@pytest.fixture(scope="module")
def told() -> list[dict]:
    return run_together(conversation, 2)


def test_each_knows_its_rank(told):
    assert [(t["rank"], t["count"], t["first"]) for t in told] == [(0, 2, True), (1, 2, False)]


def test_sums_are_known_to_all_and_leave_the_addends_alone(told):
    assert [t["sum"] for t in told] == [[2.0, 1.0]] * 2
    assert [t["own"] for t in told] == [[1.0, 0.0], [1.0, 1.0]]


def test_the_first_makes_and_all_have(told):
    assert [t["from_first"] for t in told] == ["made by 0"] * 2
    assert [t["error"] for t in told] == ["the disk is full"] * 2


def test_batch_norm_over_all_processes_is_batch_norm_over_the_whole_batch(told):
    norm = nn.BatchNorm2d(3, momentum=0.2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    images = IMAGES.clone().requires_grad_()
    output = norm(images)
    (output.square() * torch.arange(3)[:, None, None]).mean().backward()
    for rank, found in enumerate(told):
        assert found["kind"] == GlobalBatchNorm2d.__name__
        assert found["same tensors"]
        torch.testing.assert_close(found["output"], output[rank::2].detach())
        # Each process averages over its half: its loss counts half in the whole.
        torch.testing.assert_close(found["gradient"] / 2, images.grad[rank::2], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found["weight gradient"], norm.weight.grad)
        expected = norm.state_dict()
        assert {name.removeprefix("0.0.") for name in found["state"]} == set(expected)
        for name, value in found["state"].items():
            torch.testing.assert_close(value, expected[name.removeprefix("0.0.")])
        torch.testing.assert_close(found["in eval mode"], norm.eval()(IMAGES)[rank::2].detach())
    assert torch.equal(told[0]["state"]["0.0.running_var"], told[1]["state"]["0.0.running_var"])


def test_other_norms_are_refused_on_a_cpu(told):
    assert told[0]["refused"] == "several processes on a CPU can't train a BatchNorm1d like '0'; start one"
