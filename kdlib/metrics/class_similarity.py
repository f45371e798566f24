"""How much a network's outputs and features say about which classes are alike.

Han et al. 2023 (ICML) explain the gain in interpretability by "class similarity": a dog image gives the other breeds
more probability than it gives cars, distillation passes this on, label smoothing erases it. They report an entropy of
the outputs over classes of one category (distilled 2.9041, from scratch 2.8986, label smoothing 2.6040) whose exact
definition is not known, and the usual definitions disagree even about the sign of label smoothing's effect. All of
them are here. The primary measure, named before any result was seen, is R, the sibling mass ratio: `PRIMARY`.

Notation: z are the logits of an image of class y, p = softmax(z / T), S(y) the classes of y's superclass, m their
number, K the number of classes; the siblings are S(y) without y. Entropies are in nats. Everything is computed in
float64 from log-probabilities, so that a network that is certain of y (p_y = 1) still has a ratio and a spread.

An image whose class has no sibling (m = 1) says nothing about siblings and is left out of the measures that need one;
the preferences among siblings need two of them (m >= 3). `class_similarity` reports how many images were left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdlib.errors import KdlibError, check_temperature
from kdlib.metrics.feature_geometry import class_means, feature_geometry

PRIMARY = "sibling_mass_ratio"


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(z / T) in float64; logits: (N, K), any floating type.

    >>> log_probabilities(torch.zeros(1, 4)).exp()
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]], dtype=torch.float64)
    """
    check_temperature(temperature)
    if logits.ndim != 2 or not logits.is_floating_point():
        raise KdlibError(f"logits must be real numbers of shape (N, K), not {logits.dtype} of {tuple(logits.shape)}")
    if not bool(torch.isfinite(logits).all()):
        raise KdlibError("the logits are not all finite; check the model's weights")
    return torch.log_softmax(logits.double() / temperature, dim=1)


def sibling_mask(labels: Tensor, superclass_of: Sequence[int]) -> Tensor:
    """(N, K) bool: the other classes of each image's superclass.

    >>> sibling_mask(torch.tensor([0, 2]), (0, 0, 1))
    tensor([[False,  True, False],
            [False, False, False]])
    """
    return _same_superclass(labels, superclass_of) & ~_target_mask(labels, len(superclass_of))


def _same_superclass(labels: Tensor, superclass_of: Sequence[int]) -> Tensor:
    groups = torch.as_tensor(superclass_of, device=labels.device)
    return groups[labels][:, None] == groups


def _target_mask(labels: Tensor, classes: int) -> Tensor:
    return labels[:, None] == torch.arange(classes, device=labels.device)


def _log_mass(log_p: Tensor, mask: Tensor) -> Tensor:
    """(N,) log of the probability within the mask; -inf where it is empty."""
    return log_p.masked_fill(~mask, -math.inf).logsumexp(1)


def _entropy(log_p: Tensor, mask: Tensor) -> Tensor:
    """(N,) -sum of p log p within the mask, without renormalisation."""
    return -(log_p.exp() * log_p).masked_fill(~mask, 0).sum(1)


def _within(log_p: Tensor, mask: Tensor) -> Tensor:
    """log of p renormalised within the mask; entries outside mean nothing."""
    return log_p - _log_mass(log_p, mask)[:, None]


def sibling_mass_ratio(
    logits: Tensor, labels: Tensor, superclass_of: Sequence[int], temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """R = (sum over siblings of p_c) / (1 - p_y) of each image, and its value by chance (m - 1) / (K - 1).

    Of the probability that a network gives to wrong classes, the share that goes to siblings (Han et al. 2023, our
    choice of definition). Label smoothing drives it to chance; distillation towards the teacher's value.
    Returns two (N,) float64 tensors with values in [0, 1]; both are 0 for a class without siblings.

    >>> ratio, chance = sibling_mass_ratio(torch.tensor([[9.0, 1.0, 0.0, 0.0]]), torch.tensor([0]), (0, 0, 1, 1))
    >>> round(ratio.item(), 4), round(chance.item(), 4)  # e / (e + 1 + 1)
    (0.5761, 0.3333)
    """
    log_p = log_probabilities(logits, temperature)
    _check(logits, labels, superclass_of)
    labels = labels.long()
    siblings = sibling_mask(labels, superclass_of)
    others = ~_target_mask(labels, len(superclass_of))
    # From log-probabilities: 1 - p_y would be exactly 0 for a certain network.
    ratio = (_log_mass(log_p, siblings) - _log_mass(log_p, others)).exp()
    return ratio, siblings.sum(1).double() / (len(superclass_of) - 1)


def similarity_matrix(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """(K, K) float64: row i is the mean of log p over the images of class i; NaN for a class without images.

    >>> similarity_matrix(torch.zeros(2, 2), torch.tensor([0, 1])).exp()
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]], dtype=torch.float64)
    """
    log_p = log_probabilities(logits, temperature)
    return class_means(log_p, labels, logits.shape[1])


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rho of two (n,) tensors: Pearson's correlation of average ranks; NaN if one of them is constant.

    Values that agree to nine digits of the largest one are tied: sums in another order differ by less than that.
    Raises KdlibError for values that are not finite.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 15.0]))
    0.5
    """
    ranks = []
    if a.shape != b.shape or a.ndim != 1:
        raise KdlibError(
            f"a rank correlation is of two rows of one length, not of {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not bool((a.isfinite() & b.isfinite()).all()):
        raise KdlibError("a rank correlation is of finite numbers; leave out the pairs in which one is not")
    for values in (a, b):
        values = values.double()
        largest = values.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
        _, place, count = (values / largest).round(decimals=9).unique(return_inverse=True, return_counts=True)
        # Equal values share the mean of the ranks they take up.
        average = count.cumsum(0) - (count - 1) / 2
        rank = average[place]
        ranks.append(rank - rank.mean())
    scale = math.sqrt(float((ranks[0] ** 2).sum()) * float((ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / scale if scale > 0 else math.nan


def _off_diagonal(matrix: Tensor) -> Tensor:
    """Entries beside the diagonal, of the classes that have images."""
    keep = ~torch.eye(len(matrix), dtype=torch.bool, device=matrix.device) & ~matrix.isnan().any(1, keepdim=True)
    return matrix[keep]


def nontarget_divergence(logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """(N,) KL(teacher || student) of the distributions over the wrong classes, each renormalised without y; in nats.

    The "non-target class" term of decoupled KD (Zhao et al. 2022). 0 where the student ranks and weighs the wrong
    classes as the teacher does, however sure of the right one each of them is.

    >>> nontarget_divergence(torch.tensor([[9.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0]))
    tensor([0.], dtype=torch.float64)
    """
    if logits.shape != teacher_logits.shape:
        raise KdlibError(
            f"the teacher's logits have shape {tuple(teacher_logits.shape)}, the student's {tuple(logits.shape)}; "
            "give both for the same images and classes"
        )
    student = log_probabilities(logits, temperature)
    teacher = log_probabilities(teacher_logits, temperature)
    _check(logits, labels, range(logits.shape[1]))
    others = ~_target_mask(labels, logits.shape[1])
    student, teacher = _within(student, others), _within(teacher, others)
    return (teacher.exp() * (teacher - student)).masked_fill(~others, 0).sum(1).clamp(min=0)


def _check(logits: Tensor, labels: Tensor, superclass_of: Sequence[int]) -> None:
    images, classes = logits.shape
    if tuple(labels.shape) != (images,) or labels.is_floating_point() or not images:
        raise KdlibError(
            f"labels must be {max(images, 1)} class indices, one per row of logits, not {tuple(labels.shape)}"
        )
    if len(superclass_of) != classes:
        raise KdlibError(
            f"superclass_of names {len(superclass_of)} classes, but the logits have {classes}; give each class one"
        )
    if classes < 2:
        raise KdlibError(f"class similarity needs logits of at least two classes, not of {classes}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise KdlibError(
            f"label {low if low < 0 else high} is not one of the classes 0 to {classes - 1}; give the labels of the "
            "images that the logits are of"
        )


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan


def _mean_output_entropies(log_p: Tensor, labels: Tensor, superclass_of: Sequence[int]) -> tuple[float, float]:
    """H4, partial and renormalised, averaged over the superclasses that have images and at least two classes."""
    groups = torch.as_tensor(superclass_of, device=labels.device)
    partial, renormalised = [], []
    for group in groups.unique().tolist():
        images, classes = groups[labels] == group, groups == group
        if not bool(images.any()) or int(classes.sum()) < 2:
            continue
        mean = log_p[images].logsumexp(0)[None] - math.log(int(images.sum()))
        partial.append(float(_entropy(mean, classes[None])))
        renormalised.append(float(_entropy(_within(mean, classes[None]), classes[None])))
    if not partial:
        return math.nan, math.nan
    return sum(partial) / len(partial), sum(renormalised) / len(renormalised)


def class_similarity(
    logits: Tensor,
    labels: Tensor,
    superclass_of: Sequence[int],
    teacher_logits: Tensor | None = None,
    features: Tensor | None = None,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Every measure of class similarity, averaged over held-out images.

    logits: (N, K) of the model under test. labels: (N,) class indices. superclass_of: for each class the index of its
    superclass. teacher_logits: (N, K) for the same images. features: (N, D), the inputs of the last linear layer.

    ====================================  =====================================================================
    sibling_mass_ratio                    R, the primary measure: sum over siblings of p / (1 - p_y)
    sibling_mass_ratio_chance             its value if siblings were like any wrong class: (m - 1) / (K - 1)
    full_entropy                          entropy of p over all K classes
    partial_entropy                       H1: - sum over S(y) of p log p
    conditional_entropy                   H2: entropy of p renormalised within S(y)
    sibling_preference_entropy            H3: entropy of p renormalised among the siblings, over log(m - 1): in [0, 1],
                                          1 = no preference among them; not a measure of similarity on its own
    mean_output_partial_entropy           H4: H1 of the mean output over a superclass's images, mean over superclasses
    mean_output_conditional_entropy       H4: H2 of the same
    superclass_rank_correlation           rho: Spearman, off the diagonal, of `similarity_matrix` with "same superclass"
    teacher_rank_correlation              rho of `similarity_matrix` with the teacher's (needs teacher_logits)
    nontarget_divergence                  see the function of that name (needs teacher_logits)
    teacher_sibling_mass_ratio            the teacher's R (needs teacher_logits)
    sibling_distance, ...                 see `feature_geometry` (needs features)
    images, images_without_siblings       how many there are, and how many of them R, H1 and H2 leave out (m = 1)
    images_without_sibling_preference     how many H3 leaves out (m < 3)
    ====================================  =====================================================================

    A measure that no image allows is NaN.

    >>> uniform = class_similarity(torch.zeros(4, 4), torch.arange(4), (0, 0, 1, 1))
    >>> round(uniform["sibling_mass_ratio"], 4), round(uniform["sibling_mass_ratio_chance"], 4)
    (0.3333, 0.3333)
    """
    log_p = log_probabilities(logits, temperature)
    _check(logits, labels, superclass_of)
    labels = labels.long()
    category, siblings = _same_superclass(labels, superclass_of), sibling_mask(labels, superclass_of)
    number = siblings.sum(1)
    some, several = number >= 1, number >= 2
    ratio, chance = sibling_mass_ratio(logits, labels, superclass_of, temperature)
    preference = _entropy(_within(log_p[several], siblings[several]), siblings[several])
    mean_partial, mean_conditional = _mean_output_entropies(log_p, labels, superclass_of)
    matrix = class_means(log_p, labels, logits.shape[1])
    groups = torch.as_tensor(superclass_of, device=labels.device)
    same = (groups[:, None] == groups).double().masked_fill(matrix.isnan(), math.nan)
    result: dict[str, float] = {
        PRIMARY: _mean(ratio[some]),
        "sibling_mass_ratio_chance": _mean(chance[some]),
        "full_entropy": _mean(_entropy(log_p, torch.ones_like(category))),
        "partial_entropy": _mean(_entropy(log_p, category)[some]),
        "conditional_entropy": _mean(_entropy(_within(log_p[some], category[some]), category[some])),
        "sibling_preference_entropy": _mean(preference / number[several].double().log()),
        "mean_output_partial_entropy": mean_partial,
        "mean_output_conditional_entropy": mean_conditional,
        "superclass_rank_correlation": rank_correlation(_off_diagonal(matrix), _off_diagonal(same)),
        "images": len(labels),
        "images_without_siblings": int((~some).sum()),
        "images_without_sibling_preference": int((~several).sum()),
    }
    if teacher_logits is not None:
        result["nontarget_divergence"] = _mean(nontarget_divergence(logits, teacher_logits, labels, temperature))
        teacher = similarity_matrix(teacher_logits, labels, temperature)
        result["teacher_rank_correlation"] = rank_correlation(_off_diagonal(matrix), _off_diagonal(teacher))
        teacher_ratio, _ = sibling_mass_ratio(teacher_logits, labels, superclass_of, temperature)
        result["teacher_sibling_mass_ratio"] = _mean(teacher_ratio[some])
    if features is not None:
        result.update(feature_geometry(features, labels, superclass_of))
    return result
