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
import tokenize
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlib.data.root import callers_folder
from kdlib.errors import (
    MOST_EPOCHS,
    MOST_SEED,
    MOST_SEEDS,
    MOST_STUDENT_EPOCHS,
    KdlibError,
    choose,
    choose_device,
    finite_number,
    positive_integer,
    shown,
)
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

# The one place for ranges: notebooks, `kdlib run` and `kdlib params` all read it. A list is checked element by element.
LIMITS: dict[str, Limit] = {
    "preset": Limit(choices=tuple(PRESETS)),
    "data": Limit(choices=tuple(DATA_SETS)),
    "device": Limit(choices=("auto", "cpu", "cuda")),
    "denominator": Limit(choices=("lite", "original")),
    "seed": Limit(minimum=0, maximum=MOST_SEED, whole=True),
    "n_seeds": Limit(minimum=1, maximum=MOST_SEEDS, whole=True),
    "temperature": _positive,
    "temperatures": _positive,
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
    "n_resamples": _count,
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

    @property
    def several(self) -> bool:
        """Whether its value is a list."""
        return isinstance(self.default, (list, tuple)) or (self.limit is not None and self.limit.several)

    def convert(self, given: object) -> Any:
        """Turn what was typed (or an already typed value) into this parameter's type and check its range."""
        read = _typed if isinstance(given, str) else _same_type
        value = read(given, self.pattern, self.name)  # type: ignore[arg-type]
        if value is None:
            if self.default is not None:
                raise KdlibError(f"{self.name} must be {_article(self.type_name)}, not None")
            return None
        if self.limit is None:
            return _plain(value, self.name)
        if not self.several:
            return self.limit.check(value, self.name)
        values = value if isinstance(value, (list, tuple)) else [value]
        return [self.limit.check(item, self.name) for item in _filled(values, self.name)]


def _filled(values: Any, name: str) -> Any:
    if not values:
        raise KdlibError(f"{name} must be a list of at least one value, not {shown(values)}")
    return values


def _plain(value: Any, name: str) -> Any:
    """The value, if a notebook can be given it: text, a number, True or False, or a list of these."""
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if isinstance(value, str):
        return _text(value, name)
    if value is not None and type(value) not in (bool, int, float):
        raise KdlibError(f"{name} must be text, a number or a list of these, not {shown(value)}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise KdlibError(f"{name} must be a whole number of less than 64 bits, not {shown(value)}")
    return value


def _text(text: str, name: str) -> str:
    """The text, if a notebook can be given it and a folder could have it as its name."""
    if len(text) > MOST_TEXT:
        raise KdlibError(f"{name} must have at most {MOST_TEXT} characters, not {shown(text)}")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise KdlibError(f"{name} must be text in UTF-8 without zero bytes, not {shown(text)}")
    return text


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
            raise KdlibError(f"{name} must be True or False, not {shown(text)}")
        return words[text.lower()]
    if isinstance(default, (list, tuple)):
        try:
            value = _literal(text if text.strip()[:1] in "[(" else f"[{text}]")
        except ValueError:
            # Bare words, as in data=concept_world,cifar10
            value = [item.strip() for item in text.strip("[]() ").split(",") if item.strip()]
        return _same_type(value, default, name)
    if isinstance(default, (float, int)):
        kind = type(default)
        try:
            value = kind(text)
        except ValueError:
            raise KdlibError(f"{name} must be {_article(kind.__name__)}, not {shown(text)}") from None
        return _same_type(value, default, name)
    try:
        return _literal(text)
    except ValueError:
        return text


def _literal(text: str) -> Any:
    """The Python literal that `text` writes; ValueError if it is none, or one too deep to be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's reader, such as of an escape that it does not know
            return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(text) from error


def _same_type(value: Any, default: Any, name: str) -> Any:
    """Return `value` in the default's type; ints are floats where a float is wanted, nothing else is stretched."""
    if default is None or value is None:
        return value
    if isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            raise KdlibError(f"{name} must be a list of at least one value, not {shown(value)}")
        if any(item is None for item in value):
            raise KdlibError(f"{name} must be a list without None, not {shown(value)}")
        return [_same_type(item, default[0], name) if default else item for item in _filled(value, name)]
    if isinstance(default, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return finite_number(value, name)
    if type(value) is not type(default):
        raise KdlibError(f"{name} must be {_article(type(default).__name__)}, not {shown(value)}")
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


def with_callers_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the paths of folders from the root on: a notebook's current folder is another than its caller's.

    Raises KdlibError for a folder that is not there.
    """
    return {
        name: str(callers_folder(value, name)) if name.endswith("_folder") and value else value
        for name, value in values.items()
    }


def check_parameters(form: Sequence[Parameter], values: Mapping[str, Any], notebook: str) -> dict[str, Any]:
    """Return `values` typed and checked against `form`; raise on an unknown name or an unfit value.

    `values` may hold texts (from a command line) or typed values. `notebook` is the name used in messages.
    """
    by_name = {parameter.name: parameter for parameter in form}
    return {
        choose(name, by_name, f"parameter of {notebook}"): by_name[name].convert(value)
        for name, value in values.items()
    }
