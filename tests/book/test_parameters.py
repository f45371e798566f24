"""A notebook's form: what is read from its parameters cell, what is accepted, what is refused and in which words."""

from __future__ import annotations

import contextlib

import pytest

from kdlib.book.limits import LIMITS
from kdlib.book.parameters import Parameter, check_parameters, read_parameters
from kdlib.errors import KdlibError

CELL = """\
preset = "quick"  # size
seed = 0  # first seed
n_seeds = 3  # repetitions
temperature = 4  # an int here, a number all the same
alphas = [0.1, 0.9]  # several
full = False  # everything
epochs: int | None = None  # the preset's
note = "a # b"  # text with a hash
"""


@pytest.fixture
def form():
    return read_parameters(CELL)


def check(form, **values):
    return check_parameters(form, values, "toy")


def test_names_defaults_and_helps_are_read_in_order(form):
    assert [(p.name, p.default, p.help) for p in form][:3] == [
        ("preset", "quick", "size"),
        ("seed", 0, "first seed"),
        ("n_seeds", 3, "repetitions"),
    ]
    assert form[-1] == Parameter("note", "a # b", "text with a hash")
    assert [p.type_name for p in form] == ["str", "int", "int", "float", "list", "bool", "int | None", "str"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "8", 8.0),
        ("temperature", "2.5", 2.5),
        ("n_seeds", "7", 7),
        ("full", "true", True),
        ("alphas", "[0, 1]", [0.0, 1.0]),
        ("alphas", "0.2,0.3", [0.2, 0.3]),
        ("epochs", "12", 12),
        ("epochs", "None", None),
        ("note", "8", "8"),
        ("preset", "gpu", "gpu"),
    ],
)
def test_a_text_becomes_a_value_of_the_default_s_type(form, name, text, value):
    converted = check(form, **{name: text})[name]
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "0", "temperature must be a finite number greater than 1e-09 and less than 1e+06, not 0.0"),
        ("temperature", "-1", "temperature must be a finite number greater than 1e-09 and less than 1e+06, not -1.0"),
        ("temperature", "nan", "temperature must be a finite number, not nan"),
        ("temperature", "inf", "temperature must be a finite number, not inf"),
        ("temperature", "abc", "temperature must be a number, not 'abc'"),
        ("n_seeds", "0", "n_seeds must be a whole number from 1 to 1000, not 0"),
        ("n_seeds", "2.5", "n_seeds must be a whole number, not '2.5'"),
        ("seed", "-1", "seed must be a whole number from 0 to 4294967295, not -1"),
        ("full", "perhaps", "full must be True or False, not 'perhaps'"),
        ("alphas", "[0.1, 2]", "alphas must be a finite number at least 0 and at most 1, not 2.0"),
        ("alphas", "[]", "alphas must be a list of at least one value, not []"),
        ("epochs", "many", "epochs must be a whole number from 1 to 100000, not 'many'"),
        ("preset", "qick", "unknown preset 'qick'; did you mean 'quick'?"),
        ("n_seed", "3", "unknown parameter of toy 'n_seed'; did you mean 'n_seeds'?"),
    ],
)
def test_an_unfit_value_is_refused_in_one_sentence_that_names_it(form, name, text, message):
    with pytest.raises(KdlibError) as caught:
        check(form, **{name: text})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_default_of_none_takes_its_type_from_the_range():
    (seeds,) = read_parameters("n_seeds = None  # the preset's")
    assert seeds.type_name == "int or None"
    assert (seeds.convert("5"), seeds.convert("None"), seeds.convert(None)) == (5, None, None)
    for wrong in ("0", "2.5", "abc"):
        with pytest.raises(KdlibError, match="n_seeds must be a whole number from 1 to 1000"):
            seeds.convert(wrong)


@pytest.mark.parametrize("name", ["seed", "alphas", "epochs", "note"])
def test_a_value_is_never_run_as_code(form, name, tmp_path):
    trace = tmp_path / "ran"
    for code in (f"__import__('os').mkdir({str(trace)!r})", f"[__import__('os').mkdir({str(trace)!r})]"):
        with contextlib.suppress(KdlibError):
            check(form, **{name: code})
    assert not trace.exists()


def test_typed_values_are_checked_like_texts(form):
    assert check(form, temperature=8) == {"temperature": 8.0}
    for name, value in (("n_seeds", True), ("n_seeds", "x"), ("full", 1), ("note", 3), ("seed", None)):
        with pytest.raises(KdlibError, match=name):
            check(form, **{name: value})


def test_a_device_may_carry_a_number():
    device = read_parameters('device = "auto"')
    assert check_parameters(device, {"device": "cuda:1"}, "toy") == {"device": "cuda:1"}
    with pytest.raises(KdlibError, match="unknown device 'tpu'"):
        check_parameters(device, {"device": "tpu"}, "toy")


@pytest.mark.parametrize("cell", ["x = 1 + y", "import os", "a, b = 1, 2", "x = [1, f(2)]", "print(3)"])
def test_a_cell_that_is_no_form_is_refused(cell):
    with pytest.raises(KdlibError):
        read_parameters(cell)


def test_an_iou_threshold_that_every_unit_reaches_is_refused_before_anything_is_trained():
    form = read_parameters("tau = 0.05  # IoU from which a unit is a detector")
    with pytest.raises(KdlibError, match=r"tau must be a finite number greater than 0 and less than 1, not 0\.0"):
        check_parameters(form, {"tau": "0"}, "toy")


def test_the_ranges_agree_with_the_rest_of_kdlib():
    from kdlib import models, names
    from kdlib.papers.cheng2020 import concept_maps
    from kdlib.papers.cheng2020 import study as concept_study

    assert LIMITS["preset"].choices == tuple(names.PRESETS)
    assert LIMITS["data"].choices == tuple(names.DATA_SETS)
    assert LIMITS["regime"].choices == concept_study.REGIMES
    assert LIMITS["estimator"].choices == concept_maps.ESTIMATORS
    with_linear = {name for name in models.MODELS if name.startswith(("small_vgg", "vgg")) or "alexnet" in name}
    with_linear |= {name for name in models.MODELS if name.endswith("_linear3")}
    assert set(LIMITS["network"].choices) == with_linear
