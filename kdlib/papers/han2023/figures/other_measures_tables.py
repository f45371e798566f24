"""Tables of the chapter on other measures, and the sentences before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdlib.claims.phrases import signed
from kdlib.metrics.diffroar import DiffRoar
from kdlib.metrics.five_band import BandSummary
from kdlib.names import MODEL_NAMES
from kdlib.papers.study import ImageStudy


def accuracy_table(
    studies: Mapping[str, ImageStudy], accuracies: Mapping[str, Mapping[str, Sequence[float]]]
) -> list[dict[str, str]]:
    """Rows of a table: test accuracy of the teacher and of each kind of student on each data set.

    accuracies: name of a study -> arm -> percent, one a seed.
    """
    rows = []
    for name, study in studies.items():
        row = {"data": study.data_name, "Teacher": f"{100 * study.accuracy('teacher'):.1f}"}
        for arm, values in accuracies[name].items():
            row[MODEL_NAMES[arm]] = f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"
        rows.append(row)
    return rows


def band_table(found: Mapping[str, Sequence[BandSummary]]) -> list[dict[str, str]]:
    """Rows of a table: the five-band scores of each map in percent, means over seeds.

    found: name of a map -> one summary a seed.
    """
    names = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "false_positive_rate": "FPR"}
    rows = []
    for name, by_seed in found.items():
        start = {title: np.mean([100 * each.start[key] for each in by_seed]) for key, title in names.items()}
        soft = {
            f"soft {names[key]}": np.mean([100 * each.soft[key] for each in by_seed])
            for key in ("accuracy", "false_positive_rate")
        }
        blank = {"blank FPR": np.mean([100 * float(each.blank["false_positive_rate"][0]) for each in by_seed])}
        cells = {title: "–" if np.isnan(value) else f"{value:.1f}" for title, value in (start | soft | blank).items()}
        rows.append({"map": name} | cells | {"pictures": f"{np.mean([each.images for each in by_seed]):.0f}"})
    return rows


def choices_table(
    choices: Mapping[str, Mapping[str, Sequence[Any]]], scores: Callable[[Any], Mapping[str, float]]
) -> list[dict[str, str]]:
    """Rows of a table: means over seeds of the scores of each arm under each choice, a dash where a seed has none.

    choices: name -> arm -> a summary a seed. scores: of a summary, by heading.
    """
    rows = []
    for choice, by_arm in choices.items():
        for arm, found in by_arm.items():
            by_seed = [scores(each) for each in found]
            means = {title: float(np.mean([each[title] for each in by_seed])) for title in by_seed[0]}
            cells = {title: f"{mean:.1f}" if np.isfinite(mean) else "–" for title, mean in means.items()}
            rows.append({"choice": choice, "network": MODEL_NAMES.get(arm, arm)} | cells)
    return rows


def gains_in_words(
    label: str, choices: Mapping[str, Mapping[str, Sequence[Any]]], score: Callable[[Any], float]
) -> str:
    """KD minus scratch of one score under each choice, means over seeds.

    choices: name -> arm -> a summary a seed.

    >>> gains_in_words("accuracy", {"as above": {"kd": [1, 2], "scratch": [3, 3]}}, float)
    'accuracy: −1.5 (as above)'
    """
    means = {
        choice: {arm: float(np.mean([score(each) for each in by_arm[arm]])) for arm in ("kd", "scratch")}
        for choice, by_arm in choices.items()
    }
    cells = [f"{signed(by_arm['kd'] - by_arm['scratch'], 1)} ({choice})" for choice, by_arm in means.items()]
    return f"{label}: {', '.join(cells)}"


def blind_in_words(found: Mapping[str, Sequence[BandSummary]], empty: str, networks: Sequence[str]) -> str:
    """How many networks have a higher pixel accuracy than a map that is zero everywhere.

    found: as `band_table` has it. empty: the name of that map. networks: the names to compare with it.
    """
    accuracy = {name: 100 * np.mean([each.start["accuracy"] for each in by_seed]) for name, by_seed in found.items()}
    better = [name for name in networks if accuracy[name] > accuracy[empty]]
    return (
        f"The empty map has a pixel accuracy of {accuracy[empty]:.1f} % and marks nothing. "
        f"Above it: {', '.join(better) or 'none'} (of {', '.join(networks)})."
    )


def leak_in_words(points: Mapping[str, Sequence[float]], untrained: float, whole: float, top: float) -> str:
    """Whether DiffROAR's zero holds, and whether the masks tell the class.

    points: DiffROAR of each kind of ranking, "random" among them, one a seed. untrained: that of an untrained network.
    whole: accuracy of students from scratch, who saw whole pictures, top: of networks that saw their top coordinates;
    in percent.
    """
    random, best = points["random"], max(float(np.mean(found)) for arm, found in points.items() if arm != "random")
    above = "more than any kind of student on average" if untrained > best else "no more than the best kind of student"
    leak = (
        "more than a part of the picture can say if the mask says nothing. The masks tell the class, and DiffROAR "
        "measures that too"
        if top > whole
        else "so there is no sign here that the masks tell the class"
    )
    return (
        f"Random rankings score {signed(float(np.mean(random)), 1)} points on average over a range of "
        f"{max(random) - min(random):.1f}: differences of that size are within what retraining alone does. A network "
        f"that has learned nothing scores {signed(untrained, 1)}, {above}. Students from scratch, who saw whole "
        f"pictures, reach {whole:.1f} %, networks that saw their top coordinates {top:.1f} %: {leak}."
    )


def roar_table(groups: Mapping[str, Sequence[DiffRoar]]) -> list[dict[str, str]]:
    """Rows of a table: DiffROAR of each kind of ranking in points, and the two accuracies it is made of."""
    rows = []
    for name, by_seed in groups.items():
        found = [100 * each.mean() for each in by_seed]
        span = f"{min(found):+.1f} to {max(found):+.1f}" if len(found) > 1 else "–"
        ends = {f"{end} (%)": 100 * np.mean([getattr(each, end) for each in by_seed]) for end in ("top", "bottom")}
        row = {"ranking by": name, "DiffROAR (points)": f"{np.mean(found):+.1f}", "seeds": span}
        rows.append(row | {end: f"{value:.1f}" for end, value in ends.items()})
    return rows
