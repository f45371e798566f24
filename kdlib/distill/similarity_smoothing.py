"""Label smoothing that knows which classes are alike: two controls without a teacher.

Han et al. 2023 explain what distillation does for interpretability by the class similarity in the teacher's targets.
If that is the cause, targets that carry similarity and nothing else of a teacher must do the same: smoothing towards
the siblings (the other classes of the true class's superclass) should help like KD does, smoothing towards
non-siblings should not. The paper has neither control.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlib.data.labelled_set import superclasses_of
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.setting import Setting
from kdlib.distill.terms import log_probabilities
from kdlib.errors import KdlibError, choose, finite_number

SHARES = ("siblings", "non_siblings")


def smoothed_targets(superclass_of: Sequence[int], alpha: float, share: str) -> Tensor:
    """(K, K) float64: row y is the target distribution for an image of class y.

    1 - alpha on y, alpha spread evenly over the other classes of y's superclass (share = "siblings") or over the
    classes of all other superclasses ("non_siblings"). A class that has none of them keeps its hard label. Refused
    where no class has any: training would be plain cross-entropy under another name.

    superclass_of: for each class the index of its superclass. alpha in [0, 1].

    >>> smoothed_targets((0, 0, 0, 1), 0.1, "siblings")
    tensor([[0.9000, 0.0500, 0.0500, 0.0000],
            [0.0500, 0.9000, 0.0500, 0.0000],
            [0.0500, 0.0500, 0.9000, 0.0000],
            [0.0000, 0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    >>> smoothed_targets((0, 0, 1), 0.2, "non_siblings")[2]
    tensor([0.1000, 0.1000, 0.8000], dtype=torch.float64)
    """
    finite_number(alpha, "alpha", minimum=0, maximum=1)
    choose(share, SHARES, "share of the smoothing")
    groups = torch.as_tensor(tuple(superclass_of))
    own = torch.eye(len(groups), dtype=torch.bool)
    alike = groups[:, None] == groups
    receiving = alike & ~own if share == "siblings" else ~alike
    count = receiving.sum(1, keepdim=True)
    if not bool(count.any()):
        why = "every class has a superclass of its own" if share == "siblings" else "all classes have one superclass"
        raise KdlibError(
            f"no class has {share.replace('_', '-')} to smooth towards: {why}; group the classes otherwise"
        )
    targets = alpha * receiving.double() / count.clamp(min=1)
    return targets + own * (1 - targets.sum(1, keepdim=True))


class SimilaritySmoothing(Objective):
    """Cross-entropy with `smoothed_targets`: L = 1 / B * sum_i sum_k -target[y_i, k] log p_s[i, k].

    share = "siblings" is oracle superclass smoothing, "non_siblings" its opposite. Unlike `LabelSmoothing`, nothing of
    alpha goes to the true class. The true class's part and the others' are returned apart, as "cross_entropy" and
    under the share's name, so that a training log shows both.

    >>> batch = TrainBatch(torch.rand(1, 1, 2, 2), torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    >>> logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    >>> SimilaritySmoothing((0, 0, 1), 0.1, "siblings")(batch, logits, {})  # 0.9 ln 2 and 0.1 ln 4
    {'cross_entropy': tensor(0.6238), 'siblings': tensor(0.1386)}
    """

    def __init__(self, superclass_of: Sequence[int], alpha: float = 0.1, share: str = "siblings") -> None:
        self.share = share
        self.targets = smoothed_targets(superclass_of, alpha, share).float()

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        if logits.shape[1] != len(self.targets):
            raise KdlibError(
                f"superclass_of names {len(self.targets)} classes, but the logits have {logits.shape[1]}; "
                "give the superclass of each class of the data"
            )
        self.targets = self.targets.to(logits.device)
        targets, own = self.targets[batch.labels], batch.labels[:, None]
        # A class that no target is on contributes 0, though its logarithm may be -inf.
        losses = -targets * log_probabilities(logits).masked_fill(targets == 0, 0)
        hard, others = losses.gather(1, own).sum(), losses.scatter(1, own, 0).sum()
        return {"cross_entropy": hard / len(logits), self.share: others / len(logits)}


def build_superclass_smoothing(setting: Setting, *, alpha: float = 0.1) -> SimilaritySmoothing:
    """Control C3: alpha spread over the siblings alone; a class without siblings keeps its hard label.

    On data without superclasses (one for all classes) that is label smoothing over all the wrong classes.
    """
    setting.classification()
    return SimilaritySmoothing(superclasses_of(setting.train), alpha, "siblings")


def build_antisibling_smoothing(setting: Setting, *, alpha: float = 0.1) -> SimilaritySmoothing:
    """Control C4: alpha spread over the non-siblings alone; refused where all classes have one superclass."""
    setting.classification()
    return SimilaritySmoothing(superclasses_of(setting.train), alpha, "non_siblings")
