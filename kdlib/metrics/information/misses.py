"""What to say of a search that did not find its map, and what would help."""

from __future__ import annotations

import math

from torch import Tensor

from kdlib.errors import KdlibError
from kdlib.metrics.information.search import GAUSSIAN_ENTROPY, Converged, EarlyStopped, Found, entropy_of

_MORE_STEPS = 100  # steps at the last pace that must be enough, or more of them are no remedy


def refuse_misses(found: Found, search: EarlyStopped | Converged) -> None:
    """Raise `KdlibError` if some image has not reached the target, or not converged: how many, why, and the remedy.

    The remedy follows from where each path of mean entropies went: it stays below the target, is above it from the
    first step, or leaps over it, more than the tolerance on either side.
    """
    missed = ~found.reached
    if not bool(missed.any()):
        return
    count = f"{int(missed.sum())} of {len(missed)} images"
    if isinstance(search, Converged):
        raise KdlibError(
            f"{count} have not converged in {search.steps} steps; give more steps or, where noise is drawn, more "
            'samples, or if_not_reached="mark" to keep their maps'
        )
    cells = found.sigma.shape[1:].numel()
    nearest = entropy_of(found.sigma[missed].double()).flatten(1).mean(1)
    farthest = float(nearest[(nearest - search.target).abs().argmax()])
    raise KdlibError(
        f"{count} never reach a mean entropy of {search.target:g} nats in {search.steps} steps "
        f"(nearest: {farthest:.3f}) with lambda {search.weight:g} and learning rate {search.rate(cells):g} on {cells} "
        f'cells; {_reasons(found, missed, search)}; or if_not_reached="mark" keeps their maps'
    )


def _reasons(found: Found, missed: Tensor, search: EarlyStopped) -> str:
    """What happened to the missed images and what helps, the commonest first."""
    below = missed & ~found.above
    # Of an image that stays below, every step is measured: how fast it rises at the end.
    pace = found.path[:, -1] - found.path[:, :-1].amax(1)
    rises = below & (pace * _MORE_STEPS > search.target - found.path[:, -1])
    kinds = [
        (missed & found.above & found.below, "leapt over it: give a smaller learning_rate or weight"),
        (missed & ~found.below, f"started above it: give {_lower_start(search)}"),
        (rises, f"ended below it, still rising: give {_help_to_rise(search, True)}"),
        (below & ~rises, f"ended below it, hardly rising: give {_help_to_rise(search, False)}"),
    ]
    counts = sorted(((int(chosen.sum()), words) for chosen, words in kinds), reverse=True)
    return "; ".join(f"{count} {words}" for count, words in counts if count)


def _lower_start(search: EarlyStopped) -> str:
    first = math.log(search.start) + GAUSSIAN_ENTROPY
    sigma = math.exp(min(search.target, first) - GAUSSIAN_ENTROPY)
    named = "start" if sigma > search.lowest else "start and a lowest"
    return f"a {named} below {sigma:.3g}, or a target above {first:.3f}"


def _help_to_rise(search: EarlyStopped, rising: bool) -> str:
    top = math.log(search.highest) + GAUSSIAN_ENTROPY
    if search.target > top:
        return f"a target below {top:.3f}, where all noise is at its highest {search.highest:g}, or a greater highest"
    # Every path has a limit, which may lie below the target; a greater weight lifts it.
    return "a greater weight" + (", or more steps or a greater learning_rate while it rises" if rising else "")
