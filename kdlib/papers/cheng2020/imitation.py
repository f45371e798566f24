"""Whether students learnt what they were taught: how much of their own teacher's outputs they give."""

from __future__ import annotations

import torch

from kdlib.capture import features_of
from kdlib.data.image_set import ImageSet
from kdlib.errors import choose
from kdlib.papers.cheng2020.study import BY_LAYER, ConceptStudy
from kdlib.runs.spec import RunSpec

_AT_ONCE = 256  # images


def explained(study: ConceptStudy, arm: str, seed: int | None = None, layer: str = "fc1", part: str = "val") -> float:
    """Percent of its own teacher's outputs at a layer that a layer arm gives on images of `part`: 100 % less its mean
    squared error over their variance, so 0 for one that always gives their mean, and less for one that does worse."""
    choose(arm, BY_LAYER, "arm that learns one layer")
    spec = study.spec(arm, seed, layer)
    assert isinstance(spec.teacher, RunSpec)  # a layer arm has one
    images: ImageSet = study.part(part)
    pieces = [slice(start, start + _AT_ONCE) for start in range(0, len(images), _AT_ONCE)]
    models = [study.model_of(one) for one in (spec, spec.teacher)]
    given, wanted = (
        torch.cat([features_of(model, images.inputs(piece), study.paths[layer]) for piece in pieces]).double()
        for model in models
    )
    error = (given - wanted).square().mean()
    return 100 * (1 - float(error / wanted.var(0, correction=0).mean()))


def fair_comparison(name: str, claim: str, lacks: str, learnt: float, student: float) -> str:
    """What a claim can say whose control explains `learnt` percent of its teacher, where the student explains
    `student` percent of its own.

    >>> fair_comparison("Other student", "1e", "a trained teacher", 40.0, 50.0)
    'Other student 40 %, student of the teacher 50 %: both have learnt what they were taught; claim 1e compares that'
    """
    both = f"{name} {learnt:.0f} %, student of the teacher {student:.0f} %"
    if student < 10:
        return f"{both}: neither has learnt much of what it was taught, and claim {claim} is not about teaching"
    if learnt < student / 2:
        return (
            f"{both}: **claim {claim} compares networks that learnt from a teacher with networks that learnt far less "
            f"from theirs**; if it holds, the reason may be the lack of {lacks} or the lack of learning"
        )
    return f"{both}: both have learnt what they were taught; claim {claim} compares that"
