"""Every mistake gets one sentence that names the value and the remedy."""

from __future__ import annotations

import math

import pytest

from kdlib.errors import KdlibError, choose, choose_device, finite_number, positive_integer


def test_kdlib_errors_are_value_errors():
    assert issubclass(KdlibError, ValueError)


class TestChoose:
    def test_returns_what_is_among_the_options(self):
        assert choose("kd", ["kd", "label_smoothing"], "method") == "kd"

    def test_names_the_nearest_match_and_all_choices(self):
        with pytest.raises(KdlibError) as error:
            choose("label-smoothing", ["kd", "label_smoothing"], "method")
        assert str(error.value) == (
            "unknown method 'label-smoothing'; did you mean 'label_smoothing'? (choices: kd, label_smoothing)"
        )

    def test_without_a_near_match_it_names_the_choices(self):
        with pytest.raises(KdlibError, match=r"unknown method 'xyz'.*\(choices: kd, label_smoothing\)") as error:
            choose("xyz", ["kd", "label_smoothing"], "method")
        assert "did you mean" not in str(error.value)

    @pytest.mark.parametrize("value", [None, 3, ["kd"]])
    def test_values_of_another_type_are_refused_the_same_way(self, value):
        with pytest.raises(KdlibError, match="unknown method"):
            choose(value, ["kd"], "method")

    def test_options_may_be_any_iterable(self):
        assert choose("b", {"a": 1, "b": 2}, "key") == "b"
        assert choose("b", (name for name in "ab"), "key") == "b"


class TestPositiveInteger:
    @pytest.mark.parametrize(("value", "minimum"), [(1, 1), (7, 1), (0, 0)])
    def test_returns_the_number(self, value, minimum):
        assert positive_integer(value, "n", minimum) == value

    @pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True, math.nan])
    def test_refuses_all_else(self, value):
        with pytest.raises(KdlibError) as error:
            positive_integer(value, "n_seeds")
        assert str(error.value) == f"n_seeds must be a whole number of at least 1, not {value!r}"


class TestFiniteNumber:
    @pytest.mark.parametrize("value", [0, 0.5, 1])
    def test_bounds_belong_to_the_range(self, value):
        number = finite_number(value, "alpha", minimum=0, maximum=1)
        assert number == value
        assert isinstance(number, float)

    @pytest.mark.parametrize("value", [0, 1])
    def test_exclusive_bounds_do_not(self, value):
        with pytest.raises(KdlibError, match="must be a finite number greater than 0 and less than 1, not"):
            finite_number(value, "alpha", minimum=0, maximum=1, exclusive=True)

    @pytest.mark.parametrize("value", [-0.1, 1.1, math.inf, -math.inf, math.nan, "0.5", None, True])
    def test_refuses_all_else(self, value):
        with pytest.raises(KdlibError) as error:
            finite_number(value, "alpha", minimum=0, maximum=1)
        assert str(error.value) == f"alpha must be a finite number at least 0 and at most 1, not {value!r}"

    def test_without_bounds(self):
        assert finite_number(-1e9, "shift") == -1e9
        with pytest.raises(KdlibError, match="shift must be a finite number, not inf"):
            finite_number(math.inf, "shift")


class TestMessages:
    @pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\x00b", "a\x85b", "a\u2028b", "a\udc80b"])
    def test_whatever_a_name_holds_the_message_is_one_line_that_a_terminal_prints(self, name):
        assert str(KdlibError(f"there is no '{name}'; name another")).isprintable()
        for refuse in (lambda: choose(name, ["kd"], "method"), lambda: positive_integer(name, "n")):
            with pytest.raises(KdlibError) as error:
                refuse()
            assert str(error.value).isprintable()

    def test_a_word_of_any_length_is_shortened_wherever_it_stands(self):
        assert len(str(KdlibError(f"there is no folder {'x' * 5000}; name another"))) < 400
        assert len(str(KdlibError("many words " * 5000))) < 2100
        path = "/".join(["folder"] * 40)
        assert str(KdlibError(f"there is no {path}")) == f"there is no {path}"

    @pytest.mark.parametrize("value", ["x" * 5000, ["x"] * 5000, 10**4000, 10**5000, [10**5000]], ids=range(5))
    def test_a_value_of_any_size_is_shown_in_a_few_characters(self, value):
        for refuse in (
            lambda: choose(value, ["kd"], "method"),
            lambda: positive_integer(value, "n", maximum=5),
            lambda: finite_number(value, "x", maximum=5),
        ):
            with pytest.raises(KdlibError) as error:
                refuse()
            assert len(str(error.value)) < 200

    def test_many_choices_are_shortened(self):
        with pytest.raises(KdlibError) as error:
            choose("x", [f"class{i}" for i in range(1000)], "class")
        assert len(str(error.value)) < 1100


class TestChooseDevice:
    @pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
    def test_returns_what_names_a_device(self, device):
        assert choose_device(device) == device

    @pytest.mark.parametrize(
        "device",
        ["auto:1", "cpu:0", "cuda:", "cuda:-1", "cuda:01", "cuda:1 ", "cuda:\uff11", "cuda:99999", "", 0, []],
    )
    def test_refuses_all_else(self, device):
        with pytest.raises(KdlibError, match=r"^unknown device "):
            choose_device(device)
