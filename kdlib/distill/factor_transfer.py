"""FT, factor transfer (Kim, Park and Kwak 2018; Han et al. 2023 compare it with other methods).

Stage 1 trains an autoencoder, the paraphraser, on the frozen teacher's last feature maps; its code is the teacher's
"factor". Stage 2 trains the student together with a translator that turns its own maps into such factors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.capture import capture, features_of
from kdlib.data.augment import Augmentation
from kdlib.data.labelled_set import LabelledSet
from kdlib.data.task import at_least_float32
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.feature_maps import matched_stages
from kdlib.distill.kd import label_terms
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher, Observe, Teacher
from kdlib.distill.terms import unit_rows
from kdlib.errors import KdlibError, check_seed, check_temperature, finite_number, positive_integer

_SLOPE = 0.1  # of the LeakyReLU below zero
_PARAPHRASER_SEED = 0  # the same for all students: none may depend on which of them came first
_LARGEST_MEMORY = 512 * 2**20  # bytes


def factors_of(maps: Tensor) -> Tensor:
    """Factors as FT compares them: (B, m, H, W) flattened to (B, m * H * W), each row divided by its Euclidean norm.

    torchdistill flattens them too; RepDistiller instead averages the squares over the channels, which leaves one number
    a position.

    >>> factors_of(torch.tensor([[[[3.0]], [[4.0]]]]))
    tensor([[0.6000, 0.8000]])
    """
    return unit_rows(maps.flatten(1))


def factor_loss(student_factors: Tensor, teacher_factors: Tensor) -> Tensor:
    r"""L = 1 / (B D) * sum_i sum_d |F_s[i, d] - F_t[i, d]| for rows of norm 1.

    student_factors, teacher_factors: (B, D), from `factors_of`. Between 0 and 2 / sqrt(D), so that the same likeness
    gives a smaller loss the larger the factors are. No gradient flows to the teacher.

    >>> factor_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))  # (0.4 + 0.8) / 2
    tensor(0.6000)
    """
    if student_factors.shape != teacher_factors.shape:
        raise KdlibError(
            f"factors of student and teacher must have one shape (batch, numbers), not "
            f"{tuple(student_factors.shape)} and {tuple(teacher_factors.shape)}"
        )
    return (at_least_float32(student_factors) - teacher_factors.detach()).abs().mean()


def factor_encoder(channels: int, factors: int) -> nn.Sequential:
    """Three 3x3 convolutions, channels -> channels -> factors -> factors, LeakyReLU(0.1) after each; no BatchNorm.

    The paraphraser's first half, and the student's translator. (B, channels, H, W) -> (B, factors, H, W).

    >>> factor_encoder(8, 4)(torch.rand(2, 8, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """
    return _stack(nn.Conv2d, (channels, channels, factors, factors))


class Paraphraser(nn.Module):
    """The autoencoder of the teacher's maps: `factor_encoder` and three transposed convolutions back.

    channels: of the maps. rate: factors per channel, in (0, 1] (the paper's k).

    >>> Paraphraser(8, rate=0.5)(torch.rand(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int, rate: float = 0.5) -> None:
        super().__init__()
        self.factors = factor_channels(channels, rate)
        self.encoder = factor_encoder(channels, self.factors)
        self.decoder = _stack(nn.ConvTranspose2d, (self.factors, self.factors, channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        return self.decoder(self.encoder(maps))


def _stack(kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], channels: tuple[int, ...]) -> nn.Sequential:
    """3x3 convolutions with He initialisation: with torch's own, six layers shrink their input to a hundredth."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        convolution = kind(before, after, 3, padding=1)
        # a transposed convolution's weights lie the other way: torch's "fan out" counts what goes in
        nn.init.kaiming_normal_(
            convolution.weight, a=_SLOPE, mode="fan_in" if isinstance(convolution, nn.Conv2d) else "fan_out"
        )
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        layers += [convolution, nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers)


def factor_channels(channels: int, rate: float) -> int:
    """How many channels a factor has: rate * channels, at least 1; rate in (0, 1].

    >>> factor_channels(512, 0.5)
    256
    """
    finite = isinstance(rate, (int, float)) and not isinstance(rate, bool)
    if not finite or not 0 < rate <= 1:
        raise KdlibError(f"rate must be a finite number greater than 0 and at most 1, not {rate!r}")
    return max(1, round(channels * rate))


def train_paraphraser(
    teacher: nn.Module,
    layer: str,
    train: LabelledSet,
    augmentation: Augmentation,
    *,
    rate: float = 0.5,
    epochs: int = 1,
    batch_size: int | None = None,
    seed: int = _PARAPHRASER_SEED,
) -> Paraphraser:
    """Stage 1: a paraphraser of the teacher's `layer`, frozen, trained to give back the maps of augmented images.

    Mean squared error, SGD with learning rate 0.01, momentum 0.9 and weight decay 1e-4, one epoch, as torchdistill
    does for ImageNet, where an epoch is 5,004 batches of 256. batch_size: by default such that an epoch of fewer images
    has about 300 steps (at least 16 images, at most 256); the 78 batches of 64 that 5,000 images make would leave most
    of the maps unexplained. seed: of the initial weights, the order of the images and their views; the global
    generator is left as it was. The same seed gives the same bits within `kdlib.train.device.deterministic`, where the
    run store calls this.
    """
    positive_integer(epochs, "epochs")
    if batch_size is None:
        batch_size = min(256, max(16, len(train) // 300))
    batch_size = min(positive_integer(batch_size, "batch_size"), len(train))
    device = train.device
    channels = features_of(teacher, train.inputs(torch.arange(1, device=device)), layer).shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(check_seed(seed))
        paraphraser = Paraphraser(channels, rate).to(device)
    optimizer = torch.optim.SGD(paraphraser.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for epoch in range(epochs):
        for images in _one_pass(train, augmentation, batch_size, seed, epoch):
            maps = features_of(teacher, images, layer).float()
            loss = F.mse_loss(paraphraser(maps), maps)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return paraphraser.eval().requires_grad_(False)


def _one_pass(
    train: LabelledSet, augmentation: Augmentation, batch_size: int, seed: int, epoch: int
) -> Iterator[Tensor]:
    """All images as models take them, in batches; order and views are drawn from seed and epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(train), generator=generator)
    batches = order[: len(train) // batch_size * batch_size].to(train.device).split(batch_size)
    streamed = getattr(train, "training_batches", None)  # folders too large for memory are augmented as they are read
    if streamed is not None:
        for images, _, _ in streamed(batches, augmentation.name, seed, epoch):
            yield images.float().div_(255)
        return
    views = torch.randint(augmentation.num_views, (len(train),), generator=generator).to(train.device)
    for index in batches:
        yield augmentation(train.inputs(index), views[index])


def observe_factors(layer: str, paraphraser: Paraphraser) -> Observe:
    """What FT asks of a teacher: its logits and its "factors" (B, m * H * W), normalised."""

    def observe(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        with capture(model, layer) as captured:
            logits = model(images)
        return {"logits": logits, "factors": factors_of(paraphraser.encoder(captured[layer].float()))}

    return observe


class FactorTransfer(Objective):
    r"""L = CE(y, p_s) + weight * `factor_loss`(factors_of(translator(student's maps)), teacher's factors).

    With alpha > 0 the cross-entropy gives way to KD's loss, (1 - alpha) CE + alpha T^2 KL: the arm "with logits".

    teacher: a `Teacher` with `observe_factors`. translator: takes the student's maps at `student_layer` to as many
    channels as the teacher's factors have; it is trained with the student (`module`). weight: 1000 in torchdistill,
    in Han et al.'s released configuration (both in batches of 256 with cross-entropy 1) and here.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(16, 3))
    >>> teacher = Teacher(net, observe=observe_factors("0", Paraphraser(4)))
    >>> batch = TrainBatch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> objective = FactorTransfer(teacher, factor_encoder(6, 2), "stage")
    >>> sorted(objective(batch, torch.zeros(2, 3), {"stage": torch.rand(2, 6, 2, 2)}))
    ['cross_entropy', 'factor_transfer']
    """

    def __init__(
        self,
        teacher: AnyTeacher,
        translator: nn.Module,
        student_layer: str,
        weight: float = 1000.0,
        alpha: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        self.teacher, self.translator, self.module = teacher, translator, translator
        self.student_layers = (student_layer,)
        self.weight = finite_number(weight, "weight", minimum=0)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)
        self.temperature = check_temperature(temperature)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        answer = self.teacher.answer(batch)
        factors = factors_of(self.translator(features[self.student_layers[0]].float()))
        terms = label_terms(logits, batch.labels, answer["logits"], self.temperature, self.alpha)
        return {**terms, "factor_transfer": self.weight * factor_loss(factors, answer["factors"])}


def build_factor_transfer(
    setting: Setting, *, weight: float = 1000.0, rate: float = 0.5, alpha: float = 0.0, temperature: float = 1.0
) -> FactorTransfer:
    """FT at the last stage of both nets; see `FactorTransfer`.

    Stages of different height and width are refused; numbers of channels may differ. The paraphraser is trained once
    for all students of a teacher, the translator starts from the student's seed. The teacher's factors are remembered
    if those of all images and views take up at most 512 MiB (4 bytes a number); beyond, it is asked anew each time.
    """
    (pair,) = matched_stages(setting, 1, "factor transfer")
    channels, height, width = pair.teacher_shape
    factors = factor_channels(channels, rate)
    name = f"paraphraser of {pair.teacher_layer} at rate {rate:g}"
    paraphraser = setting.shared(
        name,
        lambda: train_paraphraser(setting.taught(), pair.teacher_layer, setting.train, setting.augmentation, rate=rate),
    )
    observe = observe_factors(pair.teacher_layer, paraphraser)
    answer = factors * height * width + setting.train.num_classes
    if 4 * answer * len(setting.train) * setting.augmentation.num_views <= _LARGEST_MEMORY:
        teacher = setting.teacher(f"factors of the {name}", observe)
    else:
        teacher = Teacher(setting.taught(), observe=observe)
    with torch.random.fork_rng():
        torch.manual_seed(setting.seed)
        translator = factor_encoder(pair.student_shape[0], factors).to(setting.train.device)
    return FactorTransfer(teacher, translator, pair.student_layer, weight, alpha, temperature)
