"""One error type for everything that a user can correct, and the checks that raise it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

MOST_SEED = 2**32 - 1


class KdlibError(ValueError):
    """A mistake in the input, reported in one sentence that names the value and the remedy.

    The command line prints the message alone and exits with 2.
    """


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
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise KdlibError(f"unknown {what} '{value}'{hint} (choices: {', '.join(names)})")


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
        raise KdlibError(f"{name} must be a whole number {bounds}, not {value!r}")
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
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if ok:
        number = float(value)  # type: ignore[arg-type]
        below = minimum is not None and (number <= minimum if exclusive else number < minimum)
        above = maximum is not None and (number >= maximum if exclusive else number > maximum)
        if not below and not above:
            return number
    raise KdlibError(f"{name} must be a finite number {' and '.join(bounds)}".rstrip() + f", not {value!r}")


def sentence_of(error: KdlibError) -> KdlibError:
    """The error with its sentence alone: a worker of torch's DataLoader sends its whole traceback as the message.

    >>> sentence_of(KdlibError("Caught KdlibError in worker 0.\\nTraceback:\\nkdlib.errors.KdlibError: no such file"))
    KdlibError('no such file')
    """
    last = (str(error).strip().splitlines() or [""])[-1]
    return KdlibError(last.removeprefix("kdlib.errors.KdlibError: "))
