"""What a parameter of a given name may be: the one place for ranges, read by notebooks and by the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kdlib.errors import (
    LEAST_TEMPERATURE,
    MOST_EPOCHS,
    MOST_POWER,
    MOST_SEED,
    MOST_SEEDS,
    MOST_STUDENT_EPOCHS,
    MOST_TEMPERATURE,
    choose,
    choose_device,
    finite_number,
    positive_integer,
)
from kdlib.names import DATA_SETS, NETWORKS, PRESETS


@dataclass(frozen=True)
class Limit:
    """What a parameter of a given name may be: one of `choices`, or a number between two bounds."""

    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    several: bool = False  # a list of such values, also where the default is None

    def check(self, value: Any, name: str) -> Any:
        """The value; a KdlibError that names `name` and `value` if it lies outside."""
        if name == "device":
            return choose_device(value)
        if self.choices:
            return choose(value, self.choices, name)
        if self.whole:
            most = None if self.maximum is None else int(self.maximum)
            return positive_integer(value, name, minimum=int(self.minimum or 0), maximum=most)
        return finite_number(value, name, minimum=self.minimum, maximum=self.maximum, exclusive=self.exclusive)

    def __str__(self) -> str:
        if self.choices:
            return " | ".join(self.choices)
        low, high = (">", "<") if self.exclusive else (">=", "<=")
        bounds = [f"{sign} {b:.12g}" for sign, b in ((low, self.minimum), (high, self.maximum)) if b is not None]
        return " and ".join(bounds)


MOST_SIDE = 4096  # pixels of an image, units of a layer
MOST_IMAGES = 10**9
MOST_TEXT = 4096  # characters: as long as a path may be
_count = Limit(minimum=1, maximum=MOST_IMAGES, whole=True)
_epochs = Limit(minimum=1, maximum=MOST_EPOCHS, whole=True)
_side = Limit(minimum=1, maximum=MOST_SIDE, whole=True)
_share = Limit(minimum=0, maximum=1)
_positive = Limit(minimum=0, exclusive=True)
_temperature = Limit(minimum=LEAST_TEMPERATURE, maximum=MOST_TEMPERATURE, exclusive=True)

# A list is checked element by element.
LIMITS: dict[str, Limit] = {
    "preset": Limit(choices=tuple(PRESETS)),
    "data": Limit(choices=tuple(DATA_SETS)),
    "device": Limit(choices=("auto", "cpu", "cuda")),
    "denominator": Limit(choices=("lite", "original")),
    "seed": Limit(minimum=0, maximum=MOST_SEED, whole=True),
    "n_seeds": Limit(minimum=1, maximum=MOST_SEEDS, whole=True),
    "temperature": _temperature,
    "temperatures": _temperature,
    "alpha": _share,
    "alphas": _share,
    "smoothing": _share,
    "tau": Limit(minimum=0, maximum=1, exclusive=True),
    "quantile": Limit(minimum=0, maximum=1, exclusive=True),
    "confidence": Limit(minimum=0, maximum=1, exclusive=True),
    "bias": _share,
    "epochs": _epochs,
    "teacher_epochs": _epochs,
    "student_epochs": Limit(minimum=1, maximum=MOST_STUDENT_EPOCHS, whole=True),
    "batch_size": _count,
    "n_train": _count,
    "n_val": _count,
    "n_test": _count,
    "n_probe": _count,
    "image_size": Limit(minimum=8, maximum=MOST_SIDE, whole=True),
    "width": _side,
    "student_depth": Limit(minimum=8, maximum=1_000, whole=True),
    "teacher_width": _side,
    "student_width": _side,
    "features": Limit(minimum=1, maximum=10**6, whole=True),
    "learning_rate": _positive,
    "momentum": Limit(minimum=0, maximum=1),
    "weight_decay": Limit(minimum=0),
    "saliency_method": Limit(choices=("gradient", "signed_gradient", "input_x_gradient", "integrated_gradients")),
    "five_band_variant": Limit(choices=("v1", "v2", "v1_clamped")),
    "roar_gradients": Limit(choices=("logit", "loss", "random_class")),
    "fractions": Limit(minimum=0, maximum=1, several=True),
    "retrainings": Limit(minimum=1, maximum=MOST_SEEDS, whole=True),
    "power": Limit(minimum=0, maximum=MOST_POWER, exclusive=True),
    "n_maps": _count,
    "n_images": _count,
    "regime": Limit(choices=("independent", "correlated", "plain")),
    "teacher_images": Limit(choices=("more", "same")),
    "network": Limit(choices=tuple(NETWORKS)),
    "threshold": _positive,
    "estimator": Limit(choices=("linear", "sampled")),
}
