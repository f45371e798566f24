"""The retrainings of DiffROAR: one process trains all mask levels, on data that lie on the device once.

`kdlib.metrics.diffroar` says what is measured. Every retraining is an ordinary `kdlib.train.loop.fit` on a
`MaskedImages`: the uint8 images and one byte of rank a coordinate, both shared by all levels; a batch is masked when
it is asked for. The attributions of several networks are judged in parallel, one process a core.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.cores import cores
from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.task import CLASSIFICATION, Task
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.errors import KdlibError, check_seed, choose, positive_integer
from kdlib.explain.saliency import loss_gradients, saliency
from kdlib.metrics.diffroar import KEPT, DiffRoar, RankCodes, Retrain, diffroar, masked, rank_codes
from kdlib.models import MODELS, build
from kdlib.runs.arms import later_seed
from kdlib.runs.measurements import measure_once, measurement_key, stored_measurement
from kdlib.runs.parallel import in_processes, worth_processes
from kdlib.runs.source import training_source
from kdlib.train.device import deterministic, resolve_device, watched
from kdlib.train.loop import fit
from kdlib.train.predict import score
from kdlib.train.recipe import Recipe

GRADIENTS = ("logit", "loss", "random_class")
_SEED_OFFSET = 10_000  # a fresh network must not start from the weights of the one whose gradients are judged


@dataclass(frozen=True)
class MaskedImages:
    """An `ImageSet` of which only the top or bottom `fraction` of each image's coordinates is seen.

    ranks: of the same images. constant: per channel, what stands in place of the others, in [0, 1]. statistics: mean
    and standard deviation per channel by which a network normalises, those of the unmasked training images, so that
    the constant becomes zero. `inputs` masks on the fly; everything else is as the images have it.
    """

    task: ClassVar[Task] = CLASSIFICATION

    images: ImageSet
    ranks: RankCodes
    kept: str
    fraction: float
    constant: tuple[float, ...]
    statistics: tuple[tuple[float, ...], tuple[float, ...]]

    def __post_init__(self) -> None:
        choose(self.kept, KEPT, "kept end")
        if self.ranks.codes.shape != self.images.images.shape:
            raise KdlibError(
                f"there are ranks of shape {tuple(self.ranks.codes.shape)} for images of shape "
                f"{tuple(self.images.images.shape)}; rank the attributions of these images"
            )
        if not len(self.constant) == len(self.statistics[0]) == len(self.statistics[1]) == self.images.channels:
            raise KdlibError(f"constant and statistics must have one value for each of {self.images.channels} channels")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def name(self) -> str:
        return f"{self.images.name}, {self.kept} {self.fraction:g} kept"

    @property
    def labels(self) -> Tensor:
        return self.images.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.images.class_names

    @property
    def num_classes(self) -> int:
        return self.images.num_classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.images.images.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> MaskedImages:
        """The same set on `device`; nothing is copied if it is there."""
        return replace(self, images=self.images.to(device), ranks=self.ranks.to(device))

    def first(self, count: int) -> MaskedImages:
        """The first `count` images."""
        ranks = replace(self.ranks, codes=self.ranks.codes[:count])
        return replace(self, images=self.images.subset(slice(0, count)), ranks=ranks)

    def inputs(self, indices: Tensor | slice) -> Tensor:
        """Masked images as float32 in [0, 1], (B, C, H, W)."""
        images = self.images.inputs(indices)
        return masked(images, self.ranks.keep(indices, self.kept, self.fraction), images.new_tensor(self.constant))

    def model_options(self) -> dict[str, Any]:
        """What a network must know of the images, with the statistics of the unmasked ones."""
        mean, std = self.statistics
        return {"num_classes": self.num_classes, "channels": self.images.channels, "mean": mean, "std": std}

    def content_hash(self) -> str:
        """SHA-256 over the images, what is seen of them and what stands in place of the rest."""
        codes = self.ranks.codes.cpu().numpy().tobytes()
        rest = repr((self.ranks.limits, self.kept, self.fraction, self.constant, self.statistics))
        return hashlib.sha256(self.images.content_hash().encode() + codes + rest.encode()).hexdigest()


@dataclass(frozen=True)
class RoarPlan:
    """How DiffROAR is measured: unmask levels, retrainings of each, and the network and recipe of a retraining.

    n_train, n_test: how many images, from the first on; None for all.
    """

    fractions: tuple[float, ...]
    recipe: Recipe
    repeats: int = 1
    model: str = "small_resnet"
    model_options: dict[str, int] = field(default_factory=dict)
    n_train: int | None = None
    n_test: int | None = None

    def __post_init__(self) -> None:
        positive_integer(self.repeats, "repeats")


PLANS = {
    "smoke": RoarPlan((0.1, 0.5), Recipe(epochs=1, batch_size=32), n_train=128, n_test=100),
    "quick": RoarPlan((0.1, 0.2, 0.4), Recipe(epochs=2, batch_size=32), n_train=1024, n_test=1000),
    "retrain": RoarPlan((0.1, 0.2, 0.4), Recipe(epochs=6, batch_size=64), n_train=4000, n_test=2000),
    "gpu": RoarPlan((0.05, 0.1, 0.2, 0.4, 0.6, 0.8), Recipe(epochs=20, augment="flip_shift"), repeats=3),
}


@dataclass(frozen=True)
class Ranking:
    """What ranks the coordinates: the gradients of `network`, or random numbers (None), and a seed.

    The seed sets what is random and the retrained networks. Rankings to be compared in pairs share it: their fresh
    networks then start from the same weights and see the images in the same order.

    gradients: of the true class's "logit", of the cross-entropy "loss", or of the logit of a "random_class" drawn for
    each image. The first two depend on the label, and so do their masks, which can reveal the class to a retrained
    network (Rong et al. 2022); the third can't. Coordinates are ranked by magnitude.
    """

    network: nn.Module | None
    seed: int = 0
    gradients: str = "logit"

    def __post_init__(self) -> None:
        choose(self.gradients, GRADIENTS, "kind of gradient")
        check_seed(self.seed)


def magnitudes(ranking: Ranking, images: ImageSet) -> Tensor:
    """(N, C, H, W) |gradient| of every image, or uniform random numbers for a random ranking."""
    stream = int.from_bytes(hashlib.sha256(f"{ranking.seed}/{images.name}".encode()).digest()[:6], "little")
    generator = torch.Generator().manual_seed(stream)
    if ranking.network is None:
        return torch.rand(images.images.shape, generator=generator).to(images.device)
    inputs, targets = images.inputs(slice(None)), images.labels
    if ranking.gradients == "random_class":
        targets = torch.randint(images.num_classes, (len(images),), generator=generator).to(images.device)
    with deterministic():
        if ranking.gradients == "loss":
            return loss_gradients(ranking.network, inputs, targets).abs()
        return saliency(ranking.network, inputs, targets, "gradient")


def retraining(
    train: ImageSet,
    test: ImageSet,
    train_ranks: RankCodes,
    test_ranks: RankCodes,
    plan: RoarPlan,
    seed: int = 0,
    *,
    device: str = "auto",
) -> Retrain:
    """The function that `kdlib.metrics.diffroar.diffroar` needs; images and ranks move to the device once.

    The replaced coordinates get the training images' mean per channel. The last epoch counts: nothing is selected.
    """
    target = resolve_device(device)
    statistics = train.channel_statistics()
    constant = statistics[0]
    train, test = train.to(target), test.to(target)
    train_ranks, test_ranks = train_ranks.to(target), test_ranks.to(target)

    def retrain(kept: str, fraction: float, repeat: int) -> float:
        seen = MaskedImages(train, train_ranks, kept, fraction, constant, statistics)
        judged = MaskedImages(test, test_ranks, kept, fraction, constant, statistics)
        fresh = later_seed(seed, _SEED_OFFSET * (repeat + 1))
        make = functools.partial(build, plan.model, seed=fresh, **seen.model_options() | plan.model_options)
        # `fit` looks at a val part after each epoch; a few training images will do, for none of it is used.
        few = seen.first(8)
        parts = Splits(seen.name, seen, few, judged, judged)
        run = fit(make, parts, CrossEntropy(), plan.recipe, fresh, device=str(target), label=seen.name)
        with deterministic():
            return score(run.model("last", target), judged)

    return retrain


def diffroar_of(ranking: Ranking, train: ImageSet, test: ImageSet, plan: RoarPlan, *, device: str = "auto") -> DiffRoar:
    """DiffROAR of one ranking: all mask levels, one after the other in this process. Nothing is stored."""
    train_ranks, test_ranks = (rank_codes(magnitudes(ranking, part), plan.fractions) for part in (train, test))
    retrain = retraining(train, test, train_ranks, test_ranks, plan, ranking.seed, device=device)
    return diffroar(retrain, plan.fractions, plan.repeats)


def diffroar_scores(
    rankings: Mapping[str, Ranking],
    train: ImageSet,
    test: ImageSet,
    plan: RoarPlan,
    *,
    device: str = "auto",
    workers: int | None = None,
) -> dict[str, DiffRoar]:
    """DiffROAR of each ranking, from the run store or measured now, rankings in parallel on a CPU.

    workers: processes; by default one a core, and none besides this one where there is little to do. The result is the
    same whichever way it is made.
    """
    train, test = train.subset(slice(0, plan.n_train)), test.subset(slice(0, plan.n_test))
    data = train.content_hash() + test.content_hash()
    keys = {name: _key(ranking, data, plan) for name, ranking in rankings.items()}
    missing = [name for name, key in keys.items() if stored_measurement("diffroar", key) is None]
    retrainings = 2 * len(plan.fractions) * plan.repeats * len(missing)
    if workers is None:
        worth = worth_processes(retrainings * plan.recipe.epochs * len(train), device)
        workers = cores() if worth else 1
    shared = (rankings, keys, train, test, plan, device)
    bar = tqdm(total=len(missing), desc="DiffROAR", unit="network", disable=not (missing and watched()), leave=False)
    with bar:
        fresh = dict(zip(missing, in_processes(_measure, shared, missing, workers, bar), strict=True))
    return {name: fresh[name] if name in fresh else _measure(shared, name) for name in rankings}


def _measure(shared: tuple, name: str) -> DiffRoar:
    rankings, keys, train, test, plan, device = shared
    values = measure_once(
        "diffroar", keys[name], lambda: asdict(diffroar_of(rankings[name], train, test, plan, device=device))
    )
    return DiffRoar(tuple(values["fractions"]), *(tuple(map(tuple, values[kept])) for kept in KEPT))


def _key(ranking: Ranking, data: str, plan: RoarPlan) -> str:
    kind = "random" if ranking.network is None else ranking.gradients
    digest = hashlib.sha256(f"{kind}/{ranking.seed}/".encode())
    if ranking.network is not None:
        for name, tensor in ranking.network.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    settings = json.dumps(asdict(plan), sort_keys=True)
    source = training_source([MODELS[plan.model].__module__, CrossEntropy.__module__, __name__])
    return measurement_key([digest.hexdigest(), data, settings, source])
