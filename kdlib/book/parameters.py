"""The form at the top of a notebook: its parameters, their types and their ranges.

A notebook states its parameters in one cell tagged `parameters`, one line each, `name = literal  # help`. papermill
silently ignores a name it does not know and passes any value on; here both are refused before anything runs.

>>> form = read_parameters("temperature = 4.0  # softens both distributions")
>>> check_parameters(form, {"temperature": "8"}, "kd_loss")
{'temperature': 8.0}
>>> check_parameters(form, {"temprature": "8"}, "kd_loss")
Traceback (most recent call last):
...
kdlib.errors.KdlibError: unknown parameter of kd_loss 'temprature'; did you mean 'temperature'? (choices: temperature)
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlib.errors import MOST_SEED, KdlibError, choose, finite_number, positive_integer
from kdlib.names import DATA_SETS, PRESETS

PROBED_NETWORKS = (
    "small_vgg", "small_alexnet", "alexnet", "vgg11", "vgg16", "vgg19",
    "resnet18_linear3", "resnet50_linear3", "resnet101_linear3", "resnet152_linear3",
)  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """What a parameter of a given name may be: one of `choices`, or a number between two bounds."""

    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    numbered: bool = False  # a choice may carry a number, as in cuda:1

    def check(self, value: object, name: str) -> None:
        """Raise a KdlibError naming `name` and `value` if the value lies outside."""
        if self.choices:
            choose(re.sub(r":\d+$", "", str(value)) if self.numbered else str(value), self.choices, name)
        elif self.whole:
            most = None if self.maximum is None else int(self.maximum)
            positive_integer(value, name, minimum=int(self.minimum or 0), maximum=most)
        else:
            finite_number(value, name, minimum=self.minimum, maximum=self.maximum, exclusive=self.exclusive)

    def __str__(self) -> str:
        if self.choices:
            return " | ".join(self.choices)
        low, high = (">", "<") if self.exclusive else (">=", "<=")
        bounds = [f"{sign} {b:.12g}" for sign, b in ((low, self.minimum), (high, self.maximum)) if b is not None]
        return " and ".join(bounds)


_count = Limit(minimum=1, whole=True)
_share = Limit(minimum=0, maximum=1)
_positive = Limit(minimum=0, exclusive=True)

# The one place for ranges: notebooks, `kdlib run` and `kdlib params` all read it. A list is checked element by element.
LIMITS: dict[str, Limit] = {
    "preset": Limit(choices=tuple(PRESETS)),
    "data": Limit(choices=tuple(DATA_SETS)),
    "device": Limit(choices=("auto", "cpu", "cuda"), numbered=True),
    "denominator": Limit(choices=("lite", "original")),
    "seed": Limit(minimum=0, maximum=MOST_SEED, whole=True),
    "n_seeds": _count,
    "temperature": _positive,
    "temperatures": _positive,
    "alpha": _share,
    "alphas": _share,
    "smoothing": _share,
    "tau": Limit(minimum=0, maximum=1, exclusive=True),
    "quantile": Limit(minimum=0, maximum=1, exclusive=True),
    "confidence": Limit(minimum=0, maximum=1, exclusive=True),
    "bias": _share,
    "epochs": _count,
    "teacher_epochs": _count,
    "student_epochs": _count,
    "batch_size": _count,
    "n_train": _count,
    "n_val": _count,
    "n_test": _count,
    "n_probe": _count,
    "n_resamples": _count,
    "image_size": Limit(minimum=8, whole=True),
    "width": _count,
    "student_depth": Limit(minimum=8, whole=True),
    "teacher_width": _count,
    "student_width": _count,
    "features": _count,
    "learning_rate": _positive,
    "momentum": Limit(minimum=0, maximum=1),
    "weight_decay": Limit(minimum=0),
    "saliency_method": Limit(choices=("gradient", "signed_gradient", "input_x_gradient", "integrated_gradients")),
    "five_band_variant": Limit(choices=("v1", "v2", "v1_clamped")),
    "roar_gradients": Limit(choices=("logit", "loss", "random_class")),
    "fractions": Limit(minimum=0, maximum=1),
    "retrainings": _count,
    "power": _positive,
    "n_maps": _count,
    "n_images": _count,
    "regime": Limit(choices=("independent", "correlated", "plain")),
    "teacher_images": Limit(choices=("more", "same")),
    "network": Limit(choices=PROBED_NETWORKS),
    "threshold": _positive,
    "estimator": Limit(choices=("linear", "sampled")),
}


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: its name, its default (a literal), the type that follows, and its help."""

    name: str
    default: Any
    help: str = ""
    annotation: str = ""

    @property
    def limit(self) -> Limit | None:
        """The range that goes with this name, if there is one."""
        return LIMITS.get(self.name)

    @property
    def pattern(self) -> Any:
        """The default, as a float where the range allows fractions (`temperature = 4` may become 2.5)."""
        fractions = self.limit is not None and not self.limit.whole and not self.limit.choices
        if fractions and isinstance(self.default, int) and not isinstance(self.default, bool):
            return float(self.default)
        return self.default

    @property
    def type_name(self) -> str:
        """The type a reader sees: the annotation if there is one, else that of the default, else that of the range."""
        if self.annotation or self.default is not None:
            return self.annotation or type(self.pattern).__name__
        if self.limit is None:
            return "any"
        return ("str" if self.limit.choices else "int" if self.limit.whole else "float") + " or None"

    def convert(self, given: object) -> Any:
        """Turn what was typed (or an already typed value) into this parameter's type and check its range."""
        read = _typed if isinstance(given, str) else _same_type
        value = read(given, self.pattern, self.name)  # type: ignore[arg-type]
        if value is None and self.default is not None:
            raise KdlibError(f"{self.name} must be {_article(self.type_name)}, not None")
        limit = self.limit
        if limit is not None and value is not None:
            for item in value if isinstance(value, (list, tuple)) else [value]:
                limit.check(item, self.name)
        return value


def _article(type_name: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "bool": "True or False",
        "list": "a list such as [1, 2]",
        "tuple": "a list such as (1, 2)",
    }
    return words.get(type_name, type_name)


def _typed(text: str, default: Any, name: str) -> Any:
    """Read `text` as a value of the default's type."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        words = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
        if text.lower() not in words:
            raise KdlibError(f"{name} must be True or False, not {text!r}")
        return words[text.lower()]
    if isinstance(default, (list, tuple)):
        try:
            value = ast.literal_eval(text if text.strip()[:1] in "[(" else f"[{text}]")
        except (ValueError, SyntaxError):
            # Bare words, as in data=concept_world,cifar10
            value = [item.strip() for item in text.strip("[]() ").split(",") if item.strip()]
        return _same_type(value, default, name)
    if isinstance(default, (float, int)):
        kind = type(default)
        try:
            value = kind(text)
        except ValueError:
            raise KdlibError(f"{name} must be {_article(kind.__name__)}, not {text!r}") from None
        return _same_type(value, default, name)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _same_type(value: Any, default: Any, name: str) -> Any:
    """Return `value` in the default's type; ints are floats where a float is wanted, nothing else is stretched."""
    if default is None or value is None:
        return value
    if isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)) or not value:
            raise KdlibError(f"{name} must be a list of at least one value, not {value!r}")
        return [_same_type(item, default[0], name) if default else item for item in value]
    if isinstance(default, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise KdlibError(f"{name} must be a finite number, not {value!r}")
        return float(value)
    if type(value) is not type(default):
        raise KdlibError(f"{name} must be {_article(type(default).__name__)}, not {value!r}")
    return value


def read_parameters(source: str) -> list[Parameter]:
    """Read the source of a parameters cell: assignments of literals, each with its trailing comment as help.

    Raises KdlibError for a line that is anything else, because such a line could not be turned into a form.

    >>> read_parameters("n_seeds = 3  # paired repetitions")
    [Parameter(name='n_seeds', default=3, help='paired repetitions', annotation='')]
    """
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ").rstrip()
    form = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value, annotation = node.targets[0], node.value, ""
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value, annotation = node.target, node.value, ast.unparse(node.annotation)
        else:
            raise KdlibError(f"line {node.lineno} of the parameters cell is not of the form name = literal")
        if not isinstance(target, ast.Name):
            raise KdlibError(f"line {node.lineno} of the parameters cell does not assign to a plain name")
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise KdlibError(
                f"the default of {target.id} is not a literal: {ast.unparse(value)!r}; write the value itself"
            ) from None
        form.append(Parameter(target.id, default, comments.get(node.end_lineno or node.lineno, ""), annotation))
    return form


def check_parameters(form: Sequence[Parameter], values: Mapping[str, Any], notebook: str) -> dict[str, Any]:
    """Return `values` typed and checked against `form`; raise on an unknown name or an unfit value.

    `values` may hold texts (from a command line) or typed values. `notebook` is the name used in messages.
    """
    by_name = {parameter.name: parameter for parameter in form}
    return {
        choose(name, by_name, f"parameter of {notebook}"): by_name[name].convert(value)
        for name, value in values.items()
    }
