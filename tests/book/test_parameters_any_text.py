"""Any text that a user may type gives a value within the form, or one sentence that says why not."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdlib.book.limits import LIMITS
from kdlib.book.parameters import check_parameters, read_parameters
from kdlib.commands import parse_assignments
from kdlib.errors import KdlibError

CELL = """\
preset = "quick"
seed = 0
n_seeds = None
device = "auto"
temperature = 4
alpha = 0.5
student_epochs = None
image_size = None
fractions = None
estimator = None
alphas = [0.1, 0.9]
names = ["a"]
numbers = (1, 2)
full = False
layer = ""
anything = None
"""
FORM = read_parameters(CELL)
BY_NAME = {parameter.name: parameter for parameter in FORM}
NAMES = sorted(BY_NAME)
# What people type: numbers, lists, literals of Python, words, and whatever a terminal hands on.
NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(10**20, 10**40)).map(str)
LITERALS = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    st.text("()[]{}-+~.,'\"0123456789eEjx_ \\\t\nNonTrue", max_size=30),
    st.sampled_from([*LIMITS["device"].choices, "cuda:0", "cuda:99", "auto:1", "cpu:0", "None", "True", "linear"]),
)
TEXTS = st.one_of(LITERALS, st.text(max_size=50), st.text(st.characters(codec=None), max_size=10))


def inside(name: str, value: object) -> bool:
    """Whether a value is what the form promises to a notebook."""
    default, limit = BY_NAME[name].default, LIMITS.get(name)
    if value is None:
        return default is None
    if isinstance(default, (list, tuple)) or name == "fractions":
        wanted = float if limit else type(default[0])
        return isinstance(value, list) and len(value) > 0 and all(type(item) is wanted for item in value)
    if limit is None:
        return default is None or type(value) is type(default)
    if limit.choices:
        return isinstance(value, str) and value.split(":")[0] in limit.choices
    if limit.whole:
        return type(value) is int and limit.minimum <= value and (limit.maximum is None or value <= limit.maximum)
    return type(value) is float and math.isfinite(value) and value >= 0


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), TEXTS)
@example("student_epochs", "-" * 5000 + "1")
@example("anything", "-" * 5000 + "1")
@example("anything", "[" * 5000)
@example("anything", "{[]: 1}")
@example("anything", "0x" + "f" * 5000)
@example("n_seeds", "0x" + "f" * 5000)
@example("names", "'\\d', 1is")
@example("temperature", "1" * 400)
@example("layer", "a" * 5000)
@example("layer", "\udc80")
def test_any_text_gives_a_value_of_the_form_or_one_short_sentence(name, text):
    try:
        value = check_parameters(FORM, {name: text}, "toy")[name]
    except KdlibError as refused:
        told = str(refused)
        assert told.isprintable() and len(told) < 600
    else:
        assert inside(name, value)
        assert yaml.safe_load(yaml.safe_dump({name: value}).encode()) == {name: value}  # it arrives as it is


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=3))
@example(["x" * 5000])
@example(["a\nb=1", "a\nb=1"])
@example(["\x1b[31mred=1"])
def test_any_assignments_are_read_or_refused_in_one_short_sentence(texts):
    try:
        check_parameters(FORM, parse_assignments(texts), "toy")
    except KdlibError as refused:
        assert str(refused).isprintable() and len(str(refused)) < 600


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("n_seeds", "1000000000", "n_seeds must be a whole number from 1 to 1000, not 1000000000"),
        ("n_seeds", "[3]", "n_seeds must be a whole number from 1 to 1000, not [3]"),
        ("n_seeds", "()", "n_seeds must be a whole number from 1 to 1000, not ()"),
        ("n_seeds", "True", "n_seeds must be a whole number from 1 to 1000, not True"),
        ("n_seeds", "-----1", "n_seeds must be a whole number from 1 to 1000, not '-----1'"),
        ("seed", "-----1", "seed must be a whole number, not '-----1'"),
        ("student_epochs", "10**23", "student_epochs must be a whole number from 1 to 50000, not '10**23'"),
        ("student_epochs", "1" + "0" * 23, "student_epochs must be a whole number from 1 to 50000, not 1" + "0" * 23),
        ("image_size", "[64]", "image_size must be a whole number from 8 to 4096, not [64]"),
        ("estimator", "[]", "unknown estimator [] (choices: linear, sampled)"),
        ("fractions", "[]", "fractions must be a list of at least one value, not []"),
        ("fractions", "[0.1, None]", "fractions must be a finite number at least 0 and at most 1, not None"),
        ("device", "auto:1", "unknown device 'auto:1'; did you mean 'auto'? (choices: auto, cpu, cuda, cuda:0)"),
        ("device", "cuda:-1", "unknown device 'cuda:-1'; did you mean 'cuda:0'?"),
        ("device", "cuda:1\n", "unknown device 'cuda:1\\n'; did you mean 'cuda"),
        ("alpha", "1e400", "alpha must be a finite number, not inf"),
        ("temperature", "9" * 5000, "temperature must be a finite number, not inf"),
        ("layer", "a\0b", "layer must be text in UTF-8 without zero bytes, not 'a\\x00b'"),
        ("lay\ner", "x", "unknown parameter of toy 'lay\\ner'; did you mean 'layer'?"),
        ("numbers", "[1, None]", "numbers must be a list without None, not [1, None]"),
    ],
)
def test_what_no_notebook_could_use_is_refused_in_words_that_name_it(name, text, message):
    with pytest.raises(KdlibError) as refused:
        check_parameters(FORM, {name: text}, "toy")
    assert str(refused.value).startswith(message)


def test_a_value_is_shortened_to_its_ends():
    with pytest.raises(KdlibError, match=r"^alpha must be a number, not 'x{20,}…x{20,}' \(5000 characters\)$"):
        check_parameters(FORM, {"alpha": "x" * 5000}, "toy")


def test_a_list_may_be_given_where_the_default_is_the_preset_s():
    assert check_parameters(FORM, {"fractions": "[0.1, 1]"}, "toy") == {"fractions": [0.1, 1.0]}
    assert check_parameters(FORM, {"fractions": "0.1,0.5"}, "toy") == {"fractions": [0.1, 0.5]}
    assert check_parameters(FORM, {"fractions": "0.5"}, "toy") == {"fractions": [0.5]}
