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

from kdlib.book.limits import LIMITS, MOST_TEXT, Limit
from kdlib.data.root import callers_folder
from kdlib.errors import (
    KdlibError,
    check_seeds,
    choose,
    finite_number,
    shown,
)


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
    checked = {
        choose(name, by_name, f"parameter of {notebook}"): by_name[name].convert(value)
        for name, value in values.items()
    }
    everything = {parameter.name: parameter.default for parameter in form} | checked
    first, count = everything.get("seed"), everything.get("n_seeds")
    if isinstance(first, int) and isinstance(count, int):  # else the preset's number, which the study knows
        check_seeds(first, count)
    return checked
