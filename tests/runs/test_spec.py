"""What a specification refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_runs import RECIPE, SCRATCH

from kdlib.errors import KdlibError
from kdlib.runs.spec import make_spec


def test_what_starts_elsewhere_is_a_run_of_the_same_network():
    with pytest.raises(KdlibError, match="same network"):
        replace(SCRATCH, start=replace(SCRATCH, model="resnet18", model_options=()))
    with pytest.raises(KdlibError, match="no run to start from"):
        replace(SCRATCH, frozen_up_to="layer1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small_resnet", "kd", RECIPE, 0), "objective 'kd' needs a teacher"),
        (("small_resnet", "crossentropy", RECIPE, 0), "did you mean 'cross_entropy'"),
        (("small_resnet", "cross_entropy", RECIPE, -1), "seed must be a whole number from 0 to 4294967295, not -1"),
    ],
)
def test_a_senseless_specification_is_refused(arguments, message):
    with pytest.raises(KdlibError, match=message):
        make_spec(*arguments)
