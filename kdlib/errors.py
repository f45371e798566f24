"""One error type for everything that a user can correct, and the checks that raise it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Set

MOST_SEED = 2**32 - 1
MOST_SEEDS = 1_000  # of one experiment: at quick, a seed takes a minute or more
MOST_EPOCHS = 100_000  # of one training; the longest of the papers has 400
MOST_TEMPERATURE = 1e6  # all softened outputs are alike long before
LEAST_TEMPERATURE = 1e-9  # all outputs are hard long before; near 0, logits divided by it overflow
MOST_POWER = 100.0  # of gradients of size 1/2 to 2: their sums over pixels stay within float64
MOST_STUDENT_EPOCHS = MOST_EPOCHS // 2  # an arm may train twice as long as the students
_MOST_SHOWN = 80  # characters of a value in a message
_MOST_CHOICES = 1_000  # characters of all choices together
_MOST_WORD = 300  # characters without a space, such as a path
_MOST_MESSAGE = 2_000  # characters of a whole message


class KdlibError(ValueError):
    r"""A mistake in the input, reported in one sentence that names the value and the remedy.

    The command line prints the message alone and exits with 2. Whatever names and values it holds, the message is one
    line of bounded length without control characters.

    >>> print(KdlibError("there is no class 'a\nb'"))
    there is no class 'a\nb'
    """

    def __str__(self) -> str:
        text = one_line(super().__str__())
        text = re.sub(rf"\S{{{_MOST_WORD + 1},}}", lambda word: shortened(word[0], _MOST_WORD), text)
        return shortened(text, _MOST_MESSAGE)


def one_line(text: str) -> str:
    r"""The text with every character escaped that a terminal does not print as itself: ends of lines, control codes.

    >>> print(one_line("a\x1b[31m\nb"))
    a\x1b[31m\nb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int = _MOST_SHOWN, length: int | None = None) -> str:
    """The text itself, or its two ends and its length if it has more than `most` characters.

    length: the length to tell, where the text stands for another one.

    >>> shortened("0" * 5000, 12)
    '00000000…0000 (5000 characters)'
    """
    if len(text) <= most:
        return text
    last = most // 3
    return f"{text[: most - last]}…{text[-last:]} ({length or len(text)} characters)"


def shown(value: object) -> str:
    """A value as a message shows it: as Python writes it, in one line, shortened.

    >>> shown("quick")
    "'quick'"
    >>> shown(10**5000)
    'a value of type int too long to be written'
    """
    try:
        return shortened(one_line(repr(value)), length=len(value) if isinstance(value, str) else None)
    except (ValueError, RecursionError):  # Python writes no whole number of more than 4300 digits
        return f"a value of type {type(value).__name__} too long to be written"


def choose(value: str, options: Iterable[str], what: str) -> str:
    """Return `value` if it is one of `options`; otherwise raise, naming the nearest match.

    >>> choose("quick", ["smoke", "quick"], "preset")
    'quick'
    >>> choose("quik", ["smoke", "quick"], "preset")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: unknown preset 'quik'; did you mean 'quick'? (choices: smoke, quick)
    """
    names = list(options)
    if value in names:
        return value
    near = difflib.get_close_matches(value[:_MOST_SHOWN] if isinstance(value, str) else "", names, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    choices = shortened(", ".join(names), _MOST_CHOICES)
    raise KdlibError(f"unknown {what} {shown(value)}{hint} (choices: {choices})")


def names_in_order(value: object, what: str) -> tuple[str, ...]:
    """Return `value` as a tuple of names; refused is what has no order or holds anything but texts.

    >>> names_in_order(["cat", "dog"], "class_names")
    ('cat', 'dog')
    >>> names_in_order({"cat", "dog"}, "class_names")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: class_names must be names in a fixed order, such as a tuple, not {...}
    """
    if isinstance(value, (str, bytes, Set, Mapping)) or not isinstance(value, Iterable):
        raise KdlibError(f"{what} must be names in a fixed order, such as a tuple, not {shown(value)}")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise KdlibError(f"{what} must be texts, not {shown(name)}; write it as one")
    return tuple(str(name) for name in names)


def positive_integer(value: object, name: str, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an int of at least `minimum` and, if there is one, at most `maximum`.

    >>> positive_integer(0, "n_seeds")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: n_seeds must be a whole number of at least 1, not 0
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
    if not fits or (maximum is not None and value > maximum):  # type: ignore[operator]
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise KdlibError(f"{name} must be a whole number {bounds}, not {shown(value)}")
    return value  # type: ignore[return-value]


def check_seed(value: object, name: str = "seed") -> int:
    """Return `value` as a seed: a whole number from 0 to `MOST_SEED`.

    torch's generator on a CPU reads 32 bits of a seed, so that a larger one would give the numbers of a smaller one.

    >>> check_seed(2**32)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: seed must be a whole number from 0 to 4294967295, not 4294967296
    """
    return positive_integer(value, name, minimum=0, maximum=MOST_SEED)


def check_seeds(first: object, count: int) -> None:
    """Refuse seeds that run beyond `MOST_SEED`: `count` of them, from `first` on.

    >>> check_seeds(2**32 - 1, 2)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: n_seeds=2 from seed=4294967295 on go beyond the largest seed, 4294967295; give ...
    """
    if check_seed(first) + count - 1 > MOST_SEED:
        raise KdlibError(
            f"n_seeds={count} from seed={first} on go beyond the largest seed, {MOST_SEED}; give a seed of at most "
            f"{MOST_SEED + 1 - count}"
        )


def finite_number(
    value: object,
    name: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: bool = False,
) -> float:
    """Return `value` as a finite float between `minimum` and `maximum` (both excluded if `exclusive`).

    >>> finite_number(4, "temperature", minimum=0, exclusive=True)
    4.0
    >>> finite_number(0.0, "temperature", minimum=0, exclusive=True)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: temperature must be a finite number greater than 0, not 0.0
    """
    low, high = ("greater than", "less than") if exclusive else ("at least", "at most")
    bounds = [f"{word} {bound:g}" for word, bound in ((low, minimum), (high, maximum)) if bound is not None]
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number beyond all floats
        number = math.inf
    if math.isfinite(number):
        below = minimum is not None and (number <= minimum if exclusive else number < minimum)
        above = maximum is not None and (number >= maximum if exclusive else number > maximum)
        if not below and not above:
            return number
    raise KdlibError(f"{name} must be a finite number {' and '.join(bounds)}".rstrip() + f", not {shown(value)}")


def yes_or_no(value: object, name: str) -> bool:
    """Return `value`, 0 or 1, as False or True: a setting that nothing lies between.

    >>> yes_or_no(0.5, "relative")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: relative must be 0 or 1, not 0.5
    """
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    raise KdlibError(f"{name} must be 0 or 1, not {shown(value)}")


def check_temperature(value: object, name: str = "temperature") -> float:
    """Return `value` as a temperature: a finite float above `LEAST_TEMPERATURE` and below `MOST_TEMPERATURE`.

    >>> check_temperature(1e200)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: temperature must be a finite number greater than 1e-09 and less than 1e+06, not 1e+200
    """
    return finite_number(value, name, minimum=LEAST_TEMPERATURE, maximum=MOST_TEMPERATURE, exclusive=True)


def choose_device(value: object, name: str = "device") -> str:
    """Return `value` if it names a device: auto, cpu, cuda, or cuda with a number; whether it is there is not asked.

    >>> choose_device("cuda:1")
    'cuda:1'
    >>> choose_device("auto:1")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: unknown device 'auto:1'; did you mean 'auto'? (choices: auto, cpu, cuda, cuda:0)
    """
    if isinstance(value, str) and re.fullmatch(r"cuda:(0|[1-9][0-9]{0,3})", value):
        return value
    return choose(value, ("auto", "cpu", "cuda", "cuda:0"), name)  # type: ignore[arg-type]


def sentence_of(error: KdlibError) -> KdlibError:
    """The error with its sentence alone: a worker of torch's DataLoader sends its whole traceback as the message.

    >>> sentence_of(KdlibError("Caught KdlibError in worker 0.\\nTraceback:\\nkdlib.errors.KdlibError: no such file"))
    KdlibError('no such file')
    """
    last = (ValueError.__str__(error).strip().splitlines() or [""])[-1]
    return KdlibError(last.removeprefix("kdlib.errors.KdlibError: "))
