"""Where a training runs, and that it leaves the caller's settings as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_trainings import RECIPE, net, same

from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.errors import KdlibError
from kdlib.train.device import resolve_device
from kdlib.train.loop import fit


def test_the_callers_settings_are_left_alone(splits):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=1), seed=0)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_number_of_threads_changes_no_bit_and_is_left_alone(splits):
    before = torch.get_num_threads()
    try:
        states = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            states.append(fit(net, splits, CrossEntropy(), RECIPE, seed=0).state())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert same(*states)


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(KdlibError, match="device 'cuda' is not there"):
        resolve_device("cuda")
    with pytest.raises(KdlibError, match="unknown device 'gpu'"):
        resolve_device("gpu")


@pytest.mark.parametrize(("count", "device", "told"), [(1, "cuda:1", "one GPU, cuda:0"), (4, "cuda:99", "4 GPUs, .*3")])
def test_a_number_beyond_the_gpus_that_are_there_is_refused(monkeypatch, count, device, told):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with pytest.raises(KdlibError, match=f"^device '{device}' is not there: this torch sees {told}; use that or"):
        resolve_device(device)
    assert resolve_device(f"cuda:{count - 1}") == torch.device("cuda", count - 1)


@pytest.mark.parametrize("device", ["auto:1", "cpu:0", "cuda:x", "mps"])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(KdlibError, match=f"^unknown device '{device}'"):
        resolve_device(device)
