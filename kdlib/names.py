"""The names of everything that more than one file speaks of: presets, data sets, arms and measures, one row each.

It imports nothing but the standard library, so that the command can check a form without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PresetName:
    """A preset. strength: of several records, the one of the strongest preset is shown; 0 is never shown."""

    meaning: str
    strength: int
    cell_limit: bool = True  # whether a cell that takes an hour is taken for a hanging one


PRESETS = {
    "smoke": PresetName("seconds: everything runs, nothing is learned", 0),
    "quick": PresetName("the published networks, or small ones and few seeds", 1),
    "retrain": PresetName("all networks trained here, eight or more replicates", 2, cell_limit=False),
    "gpu": PresetName("larger networks, whole data sets, eight seeds", 3, cell_limit=False),
}


def strength(preset: str) -> int:
    """How much a preset's records say: 0 for nothing; one that is not in the table counts like quick.

    >>> strength("smoke"), strength("quick") < strength("gpu")
    (0, True)
    """
    return PRESETS[preset].strength if preset in PRESETS else PRESETS["quick"].strength


STRONGEST_FIRST = tuple(sorted(filter(strength, PRESETS), key=lambda preset: -strength(preset)))


@dataclass(frozen=True)
class DataSetName:
    """A data set.

    title: as prose has it. module: whose `load` makes its splits. images, size, classes, licence: what it has. needs:
    "nothing", "files" that lie in the data folder, or "folder", one that the user names. drawn: made from a seed.
    own_size: photographs of any number, of which a preset takes at most as many as there are.
    """

    title: str
    module: str
    images: str
    size: str
    classes: str
    licence: str
    needs: str = "nothing"
    drawn: bool = False
    own_size: bool = False


DATA_SETS = {
    "concept_world": DataSetName(
        "Concept World",
        "kdlib.data.drawn.concept_world",
        "any number",
        "any, 32x32 by default",
        "20 in 5 superclasses",
        "MIT, drawn by kdlib",
        drawn=True,
    ),
    "cells": DataSetName(
        "synthetic cells",
        "kdlib.data.drawn.cells",
        "any number",
        "any, 32x32 by default",
        "10 in 4 superclasses",
        "MIT, drawn by kdlib",
        drawn=True,
    ),
    "fashion_mnist": DataSetName(
        "Fashion-MNIST",
        "kdlib.data.fashion_mnist",
        "8,000 + 2,000",
        "28x28 grey",
        "10 in 4 superclasses",
        "MIT (Copyright 2017 Zalando SE)",
    ),
    "garment_scenes": DataSetName(
        "garment scenes",
        "kdlib.data.drawn.garment_scenes",
        "8,000 + 2,000 garments",
        "any, 32x32 by default",
        "10 in 4 superclasses",
        "MIT (garments Copyright 2017 Zalando SE)",
        drawn=True,
    ),
    "cifar10": DataSetName(
        "CIFAR-10",
        "kdlib.data.cifar10",
        "50,000 + 10,000",
        "32x32 colour",
        "10 in 2 superclasses",
        "none given; for research, not redistributed with kdlib",
        needs="files",
    ),
    "voc": DataSetName(
        "PASCAL VOC 2012",
        "kdlib.data.voc",
        "objects of 1,464 + 1,449 photographs",
        "any, 64x64 by default",
        "20 in 4 superclasses",
        "Flickr's terms of use, photograph by photograph; not redistributed with kdlib",
        needs="files",
        own_size=True,
    ),
    "cub": DataSetName(
        "CUB-200-2011",
        "kdlib.data.cub",
        "5,994 + 5,794",
        "any, 64x64 by default",
        "200, by the last word of their names",
        "for non-commercial research and education; not redistributed with kdlib",
        needs="files",
        own_size=True,
    ),
    "image_folder": DataSetName(
        "your images",
        "kdlib.data.image_folder",
        "your own",
        "any",
        "one per folder",
        "that of your images",
        needs="folder",
        own_size=True,
    ),
}


# The networks whose layers are probed, as readers see them.
NETWORKS = {
    "small_vgg": "small VGG",
    "small_alexnet": "small AlexNet",
    "alexnet": "AlexNet",
    **{f"vgg{depth}": f"VGG-{depth}" for depth in (11, 16, 19)},
    **{f"resnet{depth}_linear3": f"ResNet-{depth} with three linear layers" for depth in (18, 50, 101, 152)},
}


@dataclass(frozen=True)
class ArmName:
    """A network of an experiment, named by how it was trained.

    title: in figures and tables. prose: in a sentence. colour: the same everywhere, safe for colour-blind readers
    (Okabe and Ito's palette for the models of every chapter, Paul Tol's "muted" for the others). marker: of its points.
    """

    title: str
    prose: str
    colour: str
    marker: str = "o"
    short: str = ""


ARMS = {
    "teacher": ArmName("Teacher", "teacher", "#000000", "D"),
    "scratch": ArmName("Scratch", "scratch", "#E69F00", "o"),
    "label_smoothing": ArmName("Label smoothing", "label smoothing", "#CC79A7", "s", "LS"),
    "kd": ArmName("Distilled (KD)", "KD", "#0072B2", "^", "KD"),
    "truth": ArmName("Truth", "truth", "#009E73", "*"),
    "untrained": ArmName("Untrained", "untrained network", "#999999", "x"),
    "ls_teacher": ArmName("LS teacher", "label-smoothed teacher", "#661100"),
    "self_teacher": ArmName("Self-teacher", "self-teacher", "#8C6D1F"),
    "kd_t4": ArmName("KD, T = 4", "KD at T = 4", "#56B4E9", "v"),
    "self_kd": ArmName("Self-KD", "Self-KD", "#332288", "<"),
    "at": ArmName("AT", "AT", "#44AA99", "P"),
    "ft": ArmName("FT", "FT", "#882255", "X"),
    "crd": ArmName("CRD", "CRD", "#999933", "d"),
    "sskd": ArmName("SSKD", "SSKD", "#AA4499", "p"),
    "kd_shuffled": ArmName("KD, shuffled", "KD from shuffled probabilities", "#D55E00", ">"),
    "kd_wrong_classes": ArmName("KD, wrong classes", "KD from wrong classes", "#CC6677", "h"),
    "superclass_smoothing": ArmName("Superclass smoothing", "superclass smoothing", "#117733", "8"),
    "antisibling_smoothing": ArmName("Anti-sibling smoothing", "anti-sibling smoothing", "#DDCC77", "H"),
    "scratch_long": ArmName("Scratch, twice as long", "scratch, twice as long", "#8C6D1F"),
    "scratch_matched": ArmName("Scratch, matched", "scratch of the same accuracy", "#8C6D1F"),
    "deeper_kd": ArmName("Distilled (KD), deeper", "KD", "#0072B2", "^"),
    "deeper_scratch": ArmName("Scratch, deeper", "scratch", "#E69F00", "o"),
    # scratch and layer distillation, by the names that Cheng et al. give them
    "baseline": ArmName("Baseline", "baseline", "#E69F00", "o"),
    "student": ArmName("Student", "student", "#0072B2", "^"),
    "baseline_slow": ArmName("Baseline, student's rates", "baseline at the student's rates", "#8C6D1F", "8"),
    "student_fast": ArmName("Student, baseline's rates", "student at the baseline's rates", "#56B4E9", "v"),
    "random_teacher": ArmName("Student of an untrained teacher", "student of an untrained teacher", "#999999", "x"),
    "self": ArmName("Student of its baseline", "student of its own baseline", "#332288", "<"),
}
# A method with the teacher's logits besides has the colour of the method.
ARMS |= {
    f"{method}_with_logits": ArmName(f"{row.title} + logits", f"{row.prose} with logits", row.colour, row.marker)
    for method, row in ARMS.items()
    if method in ("at", "ft", "crd", "sskd")
}
# Students of a label-smoothed teacher: one hue, darker with the temperature.
ARMS |= {
    f"ls_teacher_t{t}": ArmName(f"KD from LS teacher, T = {t}", f"T = {t}", colour)
    for t, colour in {1: "#C9B3DE", 2: "#AB8BC9", 3: "#8C64B3", 4: "#6E3F9C", 8: "#4A1A78"}.items()
}

# Whatever is made from KD, at T = 4 instead of 1, has its colour; other lengths of training have their method's.
ARMS |= {
    f"{arm}_t4": replace(ARMS[arm], title=f"{ARMS[arm].title}, T = 4", prose=f"{ARMS[arm].prose} at T = 4")
    for arm in ("self_kd", "deeper_kd", "at_with_logits", "ft_with_logits", "crd_with_logits")
}
ARMS |= {
    f"kd_t4_{kind}": replace(
        ARMS[f"kd_{kind}"], title=f"KD, T = 4, {words}", prose=f"{ARMS[f'kd_{kind}'].prose}, T = 4"
    )
    for kind, words in (("shuffled", "shuffled"), ("wrong_classes", "wrong classes"))
}
ARMS |= {
    f"{arm}_{epochs}": replace(
        ARMS[arm], title=f"{ARMS[arm].title}, {epochs} epochs", prose=f"{ARMS[arm].prose}, {epochs} epochs"
    )
    for arm, lengths in (("scratch", (7, 10, 20, 28)), ("kd_t4", (7, 10)))
    for epochs in lengths
}

# The columns of the table by themselves.
MODEL_COLOURS = {arm: row.colour for arm, row in ARMS.items()}
MODEL_NAMES = {arm: row.title for arm, row in ARMS.items()}
MODEL_MARKERS = {arm: row.marker for arm, row in ARMS.items()}

# Measures whose name in a record does not read as prose.
MEASURES = {
    "diffroar": "DiffROAR",
    "five_band_accuracy": "five-band pixel accuracy",
    "five_band_false_positive_rate": "five-band false positive rate",
    "gradient_energy_inside": "loss gradient inside the object",
    "concepts_on_object": "concepts on the object",
    "concepts_beside_object": "concepts beside the object",
    "share_on_object": "share of concepts on the object",
    "distance_mean": "mean path length to the most concepts",
    "distance_deviation": "spread of the path lengths to the most concepts",
    "stability": "part of all concepts kept to the end",
}


def spelt(category: str) -> str:
    """A concept category as readers see it: Broden's own name of one is "color".

    >>> spelt("color"), spelt("object")
    ('colour', 'object')
    """
    return "colour" if category == "color" else category


def arm_in_prose(arm: str) -> str:
    """An arm's name as prose; an arm that is not in the table in its own words.

    >>> [arm_in_prose(arm) for arm in ("kd", "label_smoothing", "sskd_with_logits", "ls_teacher_t8", "my_arm")]
    ['KD', 'label smoothing', 'SSKD with logits', 'T = 8', 'my arm']
    """
    return ARMS[arm].prose if arm in ARMS else arm.replace("_", " ")
