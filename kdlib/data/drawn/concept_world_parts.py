"""What Concept World's objects are made of: parts with an outline, a paint and a material, in an object's own frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from kdlib.data.drawn.concept_world_shapes import polygon, segment


@dataclass(frozen=True)
class Frame:
    """Coordinates u, v (B, H, W) of an object's frame and the size `cue` (B, 1, 1), around 1, of its cue."""

    u: Tensor
    v: Tensor
    cue: Tensor


@dataclass(frozen=True)
class Part:
    """One layer of an object.

    shape: frame to signed distance. paint: a name of `COLOURS`, or "body" for the object's own colour.
    material: a name of the materials, "body" for the object's own, or None. textured: has the object's own texture.
    """

    name: str
    shape: Callable[[Frame], Tensor]
    paint: str = "body"
    material: str | None = "body"
    textured: bool = False


@dataclass(frozen=True)
class Superclass:
    """A body that siblings share, parts `behind` and `before` the cue, and the materials it may be made of."""

    name: str
    behind: tuple[Part, ...]
    before: tuple[Part, ...]
    materials: tuple[str, ...]
    cues: dict[str, tuple[Part, ...]]


# The eleven colour names of Broden (van de Weijer et al.), in RGB from 0 to 1.
COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (0.13, 0.13, 0.14),
    "blue": (0.14, 0.32, 0.85),
    "brown": (0.45, 0.27, 0.11),
    "gray": (0.52, 0.52, 0.53),
    "green": (0.13, 0.58, 0.20),
    "orange": (0.96, 0.52, 0.08),
    "pink": (0.96, 0.60, 0.76),
    "purple": (0.50, 0.18, 0.64),
    "red": (0.82, 0.10, 0.10),
    "white": (0.93, 0.93, 0.92),
    "yellow": (0.96, 0.86, 0.18),
}


def arm(f: Frame, ax: float, ay: float, bx: float, by: float, radius: float = 0.07) -> Tensor:
    """A stroke from its root (ax, ay) towards (bx, by), as long as the cue is large."""
    return segment(f.u, f.v, ax, ay, ax + (bx - ax) * f.cue, ay + (by - ay) * f.cue, radius)


def wedge(f: Frame, left: float, right: float, base: float, tip: tuple[float, float]) -> Tensor:
    """A triangle that stands on (left..right, base); its height follows the cue."""
    middle = (left + right) / 2
    half = (right - left) / 2 * f.cue
    top = (middle + (tip[0] - middle) * f.cue, base + (tip[1] - base) * f.cue)
    return polygon(f.u, f.v, top, (middle + half, base), (middle - half, base))
