"""KD with the teacher's dark knowledge put in the wrong places: two controls of class similarity.

A teacher's soft targets show which wrong classes are alike (Han et al. 2023: "class similarity"), but also how sure it
is of each image. Both controls keep the second and spoil the first: the true class keeps its logit, the wrong classes
exchange theirs. At every temperature the target's probability of the true class and its entropy stay exactly the
teacher's. If similarity is what makes a student interpretable, students of these targets must lose the gain; if they
keep it, something else explains it. The paper has neither control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kdlib.data.labelled_set import superclasses_of
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.kd import label_terms
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher
from kdlib.errors import KdlibError, check_seed, check_temperature, finite_number

Permute = Callable[[Tensor, TrainBatch], Tensor]
# Constants of Steele, Lea and Flood's "splitmix64" (2014), as signed numbers
_STEP, _FIRST, _SECOND = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mixed(numbers: Tensor) -> Tensor:
    """splitmix64's scrambling of int64 numbers: neighbouring ones give unrelated results; products wrap around."""
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        unsigned_shift = (numbers >> shift) & ((1 << (64 - shift)) - 1)
        numbers = (numbers ^ unsigned_shift) * factor
    return numbers


def shuffled_per_image(logits: Tensor, labels: Tensor, index: Tensor, seed: int) -> Tensor:
    """Control C1: each image's logits, those of the wrong classes permuted at random, once and for all.

    The permutation depends on the image's index and the seed alone: an image has the same one in every epoch and in
    all its views, so the targets are as consistent as the teacher's. Over images all permutations are equally likely,
    which leaves no similarity: on average, siblings get the share of the wrong classes' probability that their number
    gives by chance.

    logits: (B, K >= 3). labels, index: (B,) integers. seed: a whole number from 0 to 2^32 - 1. Nothing is drawn from a
    generator: the order is that of a hash of (seed, index, class), so no table over the data is kept.

    >>> logits = torch.tensor([[9.0, 3.0, 2.0, 1.0]]).repeat(3, 1)
    >>> shuffled_per_image(logits, torch.tensor([0, 0, 0]), torch.tensor([4, 7, 4]), seed=0)
    tensor([[9., 2., 3., 1.],
            [9., 2., 1., 3.],
            [9., 2., 3., 1.]])
    """
    classes = _three_classes(logits.shape[1])
    numbers = torch.arange(classes, device=logits.device)
    start = torch.tensor(check_seed(seed), dtype=torch.int64, device=logits.device)
    image = _mixed(_mixed(start * _STEP) + index.long() * _STEP)
    keys = _mixed(image[:, None] + (numbers + 1) * _STEP)
    keys = keys.scatter(1, labels[:, None], torch.iinfo(torch.int64).max)  # the true class comes last
    giving = keys.argsort(dim=1)[:, :-1]
    receiving = numbers[:-1] + (numbers[:-1] >= labels[:, None])  # the wrong classes in their order
    return logits.scatter(1, receiving, logits.gather(1, giving))


def wrong_classes(superclass_of: Sequence[int], seed: int) -> Tensor:
    """Control C2's table (K, K): for an image of class y, class c gets the teacher's logit of class table[y, c].

    Row by row: y keeps its own, no other class does, and the values of y's siblings go to classes of other
    superclasses, as many as there are such classes; which ones is drawn once from the seed. So every image of a class
    is said to resemble the same wrong classes. Where all classes have one superclass, nobody is a non-sibling, and
    each row is a derangement of the wrong classes.

    superclass_of: for each of K >= 3 classes the index of its superclass.

    >>> wrong_classes((0, 0, 1, 1), seed=0)[0]  # sibling 1 gives its value to 2 or 3
    tensor([0, 2, 3, 1])
    """
    groups = list(superclass_of)
    classes = _three_classes(len(groups))
    generator = torch.Generator().manual_seed(check_seed(seed))
    table = torch.arange(classes).repeat(classes, 1)
    for label in range(classes):
        order = [c for c in torch.randperm(classes, generator=generator).tolist() if c != label]
        siblings = sum(groups[c] == groups[label] for c in order)
        # Siblings first, then all move on by the number of siblings: into the others' places while there are any.
        giving = sorted(order, key=lambda c: groups[c] != groups[label])
        step = siblings if 0 < siblings < classes - 1 else 1
        receiving = giving[step:] + giving[:step]
        table[label, receiving] = torch.tensor(giving)
    return table


def with_wrong_classes(logits: Tensor, labels: Tensor, table: Tensor) -> Tensor:
    """Logits (B, K) rearranged by the rows of a `wrong_classes` table that belong to the labels (B,).

    >>> with_wrong_classes(torch.tensor([[9.0, 3.0, 2.0, 1.0]]), torch.tensor([0]), torch.tensor([[0, 2, 3, 1]]))
    tensor([[9., 2., 1., 3.]])
    """
    if table.shape[1] != logits.shape[1]:
        raise KdlibError(
            f"the table is for {table.shape[1]} classes, but the teacher's logits have {logits.shape[1]}; "
            "make both from one data set"
        )
    return logits.gather(1, table[labels])


def _three_classes(classes: int) -> int:
    if classes < 3:
        raise KdlibError(f"wrong classes can exchange their logits where there are at least 3 classes, not {classes}")
    return classes


class PermutedDarkKnowledge(Objective):
    """`KnowledgeDistillation` from logits that `permute` has rearranged among the wrong classes.

    permute: takes the teacher's logits (B, K) and the batch. alpha weights the soft term.

    >>> from kdlib.distill.teacher import Teacher
    >>> teacher = Teacher(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)))
    >>> batch = TrainBatch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> shuffle = lambda logits, batch: shuffled_per_image(logits, batch.labels, batch.index, seed=0)
    >>> sorted(PermutedDarkKnowledge(teacher, shuffle)(batch, torch.zeros(2, 3), {}))
    ['cross_entropy', 'kd']
    """

    def __init__(self, teacher: AnyTeacher, permute: Permute, temperature: float = 1.0, alpha: float = 0.5) -> None:
        self.teacher, self.permute = teacher, permute
        self.temperature = check_temperature(temperature)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        permuted = self.permute(self.teacher(batch), batch)
        return label_terms(logits, batch.labels, permuted, self.temperature, self.alpha)


def build_shuffled(setting: Setting, *, alpha: float = 0.5, temperature: float = 1.0) -> PermutedDarkKnowledge:
    """Control C1: KD from `shuffled_per_image` logits, with permutations of the student's seed."""
    setting.same_classes()
    _three_classes(setting.train.num_classes)
    seed = setting.seed

    def permute(logits: Tensor, batch: TrainBatch) -> Tensor:
        return shuffled_per_image(logits, batch.labels, batch.index, seed)

    return PermutedDarkKnowledge(setting.teacher(), permute, temperature, alpha)


def build_wrong_classes(setting: Setting, *, alpha: float = 0.5, temperature: float = 1.0) -> PermutedDarkKnowledge:
    """Control C2: KD from `with_wrong_classes` logits, with a table of the student's seed."""
    setting.same_classes()
    table = wrong_classes(superclasses_of(setting.train), setting.seed).to(setting.train.device)

    def permute(logits: Tensor, batch: TrainBatch) -> Tensor:
        return with_wrong_classes(logits, batch.labels, table)

    return PermutedDarkKnowledge(setting.teacher(), permute, temperature, alpha)
