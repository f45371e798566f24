"""What stands in Concept World: 20 classes in 5 superclasses, as lists of parts drawn one over the other.

Siblings share every part but one, the cue, which alone distinguishes them. The frame of an object: u to the right, v
down, the object within [-1, 1]; objects look to the right (half are mirrored, all turned and stretched a little later).
"""

from __future__ import annotations

from torch import Tensor

from kdlib.data.drawn.concept_world_parts import Frame, Part, Superclass, arm, wedge
from kdlib.data.drawn.concept_world_shapes import box, circle, ellipse, polygon, segment, stripes, union

VEHICLE = Superclass(
    name="vehicle",
    materials=("metal",),
    behind=(
        Part(
            "bodywork",
            lambda f: union(
                box(f.u, f.v, 0.0, 0.18, 0.95, 0.27, 0.1),
                polygon(f.u, f.v, (-0.72, -0.42), (0.28, -0.42), (0.6, 0.0), (-0.82, 0.0)),
            ),
            textured=True,
        ),
        Part(
            "window",
            lambda f: union(
                box(f.u, f.v, -0.45, -0.16, 0.2, 0.15),
                polygon(f.u, f.v, (-0.1, -0.31), (0.22, -0.31), (0.4, -0.02), (-0.1, -0.02)),
            ),
            "white",
            "glass",
        ),
        Part(
            "wheel",
            lambda f: union(circle(f.u, f.v, -0.52, 0.45, 0.23), circle(f.u, f.v, 0.52, 0.45, 0.23)),
            "black",
            "rubber",
        ),
        Part(
            "hub",
            lambda f: union(circle(f.u, f.v, -0.52, 0.45, 0.09), circle(f.u, f.v, 0.52, 0.45, 0.09)),
            "gray",
            "metal",
        ),
        Part("headlight", lambda f: circle(f.u, f.v, 0.86, 0.1, 0.1), "yellow", "glass"),
    ),
    before=(),
    cues={
        "taxi": (
            Part(
                "taxi sign",
                lambda f: box(f.u, f.v, -0.22, -0.42 - 0.12 * f.cue, 0.3 * f.cue, 0.13 * f.cue),
                "yellow",
                None,
            ),
        ),
        "police car": (
            Part(
                "siren",
                lambda f: box(f.u, f.v, -0.22 - 0.15 * f.cue, -0.42 - 0.1 * f.cue, 0.15 * f.cue, 0.13 * f.cue),
                "red",
                "glass",
            ),
            Part(
                "siren",
                lambda f: box(f.u, f.v, -0.22 + 0.15 * f.cue, -0.42 - 0.1 * f.cue, 0.15 * f.cue, 0.13 * f.cue),
                "blue",
                "glass",
            ),
        ),
        "ambulance": (
            Part("red cross", lambda f: box(f.u, f.v, 0.0, 0.16, 0.27 * f.cue, 0.27 * f.cue), "white", None),
            Part(
                "red cross",
                lambda f: union(
                    box(f.u, f.v, 0.0, 0.16, 0.2 * f.cue, 0.075 * f.cue),
                    box(f.u, f.v, 0.0, 0.16, 0.075 * f.cue, 0.2 * f.cue),
                ),
                "red",
                None,
            ),
        ),
        "fire engine": (Part("ladder", lambda f: _ladder(f), "white", "metal"),),
    },
)


def _ladder(f: Frame) -> Tensor:
    # Two rails that lean from the back of the roof, with rungs between them.
    u, v = f.u + 0.75, f.v + 0.5 + 0.22 * f.u
    length = 1.25 * f.cue
    rails = union(segment(u, v, 0.0, 0.0, length, 0.0, 0.05), segment(u, v, 0.0, -0.28, length, -0.28, 0.05))
    rungs = box(u, v, length / 2, -0.14, length / 2, 0.14).maximum(stripes(u - 0.05, 0.27, 0.35))
    return union(rails, rungs)


BOAT = Superclass(
    name="boat",
    materials=("wood", "metal"),
    behind=(
        Part("cabin", lambda f: box(f.u, f.v, -0.12, -0.08, 0.4, 0.24), "white", None),
        Part(
            "window",
            lambda f: union(box(f.u, f.v, -0.3, -0.1, 0.11, 0.1), box(f.u, f.v, 0.06, -0.1, 0.11, 0.1)),
            "blue",
            "glass",
        ),
        Part(
            "hull", lambda f: polygon(f.u, f.v, (-0.98, 0.12), (1.0, 0.08), (0.68, 0.64), (-0.7, 0.64)), textured=True
        ),
    ),
    before=(),
    cues={
        "sailing boat": (
            Part("mast", lambda f: arm(f, 0.0, -0.2, 0.0, -1.05, 0.06), "brown", "wood"),
            Part(
                "sail",
                lambda f: polygon(f.u, f.v, (0.04, -0.3 - 0.8 * f.cue), (0.04 + 0.75 * f.cue, -0.32), (0.04, -0.32)),
                "white",
                "fabric",
            ),
        ),
        "steamboat": (
            Part(
                "smoke",
                lambda f: union(
                    circle(f.u, f.v, -0.3, -0.4 - 0.5 * f.cue, 0.15 * f.cue),
                    circle(f.u, f.v, -0.52, -0.42 - 0.6 * f.cue, 0.18 * f.cue),
                ),
                "gray",
                None,
            ),
            Part(
                "funnel", lambda f: box(f.u, f.v, -0.14, -0.3 - 0.2 * f.cue, 0.15 * f.cue, 0.25 * f.cue), "red", "metal"
            ),
        ),
        "warship": (
            Part(
                "cannon",
                lambda f: union(
                    circle(f.u, f.v, 0.52, 0.0, 0.2 * f.cue),
                    segment(f.u, f.v, 0.52, -0.04, 0.52 + 0.6 * f.cue, -0.04 - 0.4 * f.cue, 0.075),
                ),
                "black",
                "metal",
            ),
        ),
        "lifeboat": (
            Part("lifebuoy", lambda f: circle(f.u, f.v, 0.2, 0.34, 0.29 * f.cue), "white", "rubber"),
            Part("lifebuoy", lambda f: circle(f.u, f.v, 0.2, 0.34, 0.17 * f.cue).abs() - 0.07 * f.cue, "red", "rubber"),
        ),
    },
)


BUILDING = Superclass(
    name="building",
    materials=("brick", "wood", "stone"),
    behind=(
        Part("wall", lambda f: box(f.u, f.v, 0.0, 0.32, 0.62, 0.5), textured=True),
        Part("roof", lambda f: polygon(f.u, f.v, (0.0, -0.62), (0.85, -0.1), (-0.85, -0.1)), "brown", "roof tile"),
    ),
    before=(
        Part("door", lambda f: box(f.u, f.v, -0.28, 0.54, 0.15, 0.28), "brown", "wood"),
        Part("window", lambda f: box(f.u, f.v, 0.28, 0.36, 0.17, 0.16), "blue", "glass"),
    ),
    cues={
        "cottage": (
            Part(
                "chimney", lambda f: box(f.u, f.v, 0.46, -0.3 - 0.22 * f.cue, 0.13 * f.cue, 0.3 * f.cue), "red", "brick"
            ),
        ),
        "church": (
            Part(
                "steeple cross",
                lambda f: union(
                    box(f.u, f.v, 0.0, -0.55 - 0.3 * f.cue, 0.065, 0.32 * f.cue),
                    box(f.u, f.v, 0.0, -0.58 - 0.3 * f.cue, 0.22 * f.cue, 0.065),
                ),
                "yellow",
                "metal",
            ),
        ),
        "windmill": (
            Part(
                "sails",
                lambda f: union(
                    segment(f.u, f.v, -0.5 * f.cue, -0.35 - 0.5 * f.cue, 0.5 * f.cue, -0.35 + 0.5 * f.cue, 0.085),
                    segment(f.u, f.v, 0.5 * f.cue, -0.35 - 0.5 * f.cue, -0.5 * f.cue, -0.35 + 0.5 * f.cue, 0.085),
                ),
                "white",
                "fabric",
            ),
        ),
        "shop": (
            Part("awning", lambda f: box(f.u, f.v, 0.0, 0.06, 0.72, 0.13 * f.cue), "white", "fabric"),
            Part(
                "awning",
                lambda f: box(f.u, f.v, 0.0, 0.06, 0.72, 0.13 * f.cue).maximum(stripes(f.u, 0.36)),
                "red",
                "fabric",
            ),
        ),
    },
)

SEA_ANIMAL = Superclass(
    name="sea animal",
    materials=("scales", "skin"),
    behind=(Part("tail", lambda f: polygon(f.u, f.v, (-0.5, 0.0), (-1.0, 0.38), (-1.0, -0.38)), textured=False),),
    before=(
        Part("torso", lambda f: ellipse(f.u, f.v, 0.05, 0.0, 0.75, 0.4), textured=True),
        Part("fin", lambda f: polygon(f.u, f.v, (0.1, 0.15), (0.18, 0.2), (-0.12, 0.62), (-0.2, 0.5))),
        Part("eye", lambda f: circle(f.u, f.v, 0.5, -0.1, 0.13), "white", None),
        Part("eye", lambda f: circle(f.u, f.v, 0.53, -0.1, 0.07), "black", None),
    ),
    cues={
        "shark": (Part("dorsal fin", lambda f: wedge(f, -0.4, 0.35, -0.26, (-0.35, -1.0))),),
        "swordfish": (
            Part("bill", lambda f: segment(f.u, f.v, 0.7, 0.0, 0.75 + 0.62 * f.cue, -0.08, 0.105), "white", "skin"),
        ),
        "whale": (
            Part(
                "water jet",
                lambda f: union(
                    segment(f.u, f.v, 0.15, -0.35, 0.15, -0.35 - 0.3 * f.cue, 0.065),
                    segment(f.u, f.v, 0.15, -0.35 - 0.3 * f.cue, 0.15 - 0.25 * f.cue, -0.35 - 0.5 * f.cue, 0.075),
                    segment(f.u, f.v, 0.15, -0.35 - 0.3 * f.cue, 0.15 + 0.25 * f.cue, -0.35 - 0.5 * f.cue, 0.075),
                ),
                "white",
                "water",
            ),
        ),
        "anglerfish": (
            Part(
                "lure",
                lambda f: union(
                    segment(f.u, f.v, 0.3, -0.3, 0.4, -0.35 - 0.35 * f.cue, 0.05),
                    segment(f.u, f.v, 0.4, -0.35 - 0.35 * f.cue, 0.5 + 0.3 * f.cue, -0.3 - 0.35 * f.cue, 0.05),
                ),
                "brown",
                "skin",
            ),
            Part(
                "lure",
                lambda f: circle(f.u, f.v, 0.55 + 0.3 * f.cue, -0.22 - 0.35 * f.cue, 0.14 * f.cue),
                "yellow",
                None,
            ),
        ),
    },
)

LAND_ANIMAL = Superclass(
    name="land animal",
    materials=("fur", "skin"),
    behind=(
        Part("tail", lambda f: segment(f.u, f.v, -0.6, -0.05, -0.88, 0.3, 0.07)),
        Part(
            "leg",
            lambda f: union(
                segment(f.u, f.v, -0.5, 0.2, -0.52, 0.82, 0.095),
                segment(f.u, f.v, -0.24, 0.2, -0.24, 0.82, 0.095),
                segment(f.u, f.v, 0.16, 0.2, 0.16, 0.82, 0.095),
                segment(f.u, f.v, 0.42, 0.2, 0.44, 0.82, 0.095),
            ),
        ),
    ),
    before=(
        Part("torso", lambda f: ellipse(f.u, f.v, -0.06, 0.12, 0.62, 0.34), textured=True),
        Part(
            "head",
            lambda f: union(segment(f.u, f.v, 0.42, 0.0, 0.62, -0.3, 0.15), ellipse(f.u, f.v, 0.72, -0.3, 0.27, 0.18)),
        ),
        Part("eye", lambda f: circle(f.u, f.v, 0.7, -0.34, 0.08), "white", None),
    ),
    cues={
        "deer": (
            Part(
                "antler",
                lambda f: union(
                    arm(f, 0.56, -0.4, 0.36, -1.0),
                    arm(f, 0.66, -0.4, 0.8, -1.0),
                    segment(
                        f.u, f.v, 0.56 - 0.1 * f.cue, -0.4 - 0.3 * f.cue, 0.56 - 0.34 * f.cue, -0.4 - 0.36 * f.cue, 0.06
                    ),
                    segment(
                        f.u, f.v, 0.66 + 0.07 * f.cue, -0.4 - 0.3 * f.cue, 0.66 + 0.32 * f.cue, -0.4 - 0.4 * f.cue, 0.06
                    ),
                ),
                "brown",
                None,
            ),
        ),
        "camel": (
            Part(
                "hump",
                lambda f: union(
                    ellipse(f.u, f.v, -0.36, -0.1, 0.2 * f.cue, 0.48 * f.cue),
                    ellipse(f.u, f.v, 0.1, -0.1, 0.2 * f.cue, 0.48 * f.cue),
                ),
            ),
        ),
        "elephant": (
            Part("ear", lambda f: ellipse(f.u, f.v, 0.4, -0.34, 0.2 * f.cue, 0.27 * f.cue), "gray", "skin"),
            Part(
                "trunk",
                lambda f: union(
                    segment(f.u, f.v, 0.9, -0.26, 0.98, -0.26 + 0.5 * f.cue, 0.105),
                    segment(f.u, f.v, 0.98, -0.26 + 0.5 * f.cue, 0.84, -0.26 + 0.85 * f.cue, 0.09),
                ),
            ),
        ),
        "unicorn": (Part("horn", lambda f: wedge(f, 0.58, 0.94, -0.34, (1.0, -1.1)), "white", None),),
    },
)

SUPERCLASSES = (VEHICLE, BOAT, BUILDING, SEA_ANIMAL, LAND_ANIMAL)
CLASS_NAMES = tuple(name for superclass in SUPERCLASSES for name in superclass.cues)
SUPERCLASS_NAMES = tuple(superclass.name for superclass in SUPERCLASSES)
SUPERCLASS_OF = tuple(index for index, superclass in enumerate(SUPERCLASSES) for _ in superclass.cues)
# The part that distinguishes a class from its siblings.
CUE_PARTS = {name: tuple(dict.fromkeys(p.name for p in cue)) for s in SUPERCLASSES for name, cue in s.cues.items()}


def parts_of(class_index: int) -> tuple[Part, ...]:
    """All parts of a class from the back to the front, its cue between `behind` and `before`."""
    superclass = SUPERCLASSES[SUPERCLASS_OF[class_index]]
    return (*superclass.behind, *superclass.cues[CLASS_NAMES[class_index]], *superclass.before)
