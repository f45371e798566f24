"""Figures and words of the chapter on other data and other networks: a panel or a row for each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from kdlib.papers.han2023.figures.paired import difference_in_words, seeds_panel
from kdlib.plotting.titles import WIDTH, entitle, headline


def of_setting(values: Mapping[str, Sequence[float]], prefix: str, others: Sequence[str]) -> dict[str, Sequence[float]]:
    """The arms of one setting, without its prefix.

    prefix: of the setting's arms; empty for the one whose arms have none of `others`.

    >>> values = {"kd": [1.0], "deeper_kd": [2.0]}
    >>> of_setting(values, "", ["deeper_"]), of_setting(values, "deeper_", [])
    ({'kd': [1.0]}, {'kd': [2.0]})
    """
    return {
        name.removeprefix(prefix): seeds
        for name, seeds in values.items()
        if name.startswith(prefix) and (prefix or not name.startswith(tuple(others)))
    }


def draw_settings(
    values: Mapping[str, Sequence[float]],
    titles: Mapping[str, str],
    what: str,
    unit: str,
    references: Mapping[str, float],
) -> str:
    """A panel for each setting, one below the other, with every seed's value by arm in percent; their scales differ.

    values: prefix + arm -> one value a seed. titles: prefix -> the setting in words. references: prefix -> the
    teacher's value, a dashed line. Returns in words what was drawn.
    """
    figure, axes = plt.subplots(len(titles), 1, figsize=(WIDTH, 3.7 * len(titles)), squeeze=False)
    others = [prefix for prefix in titles if prefix]
    words = []
    for axis, (prefix, title) in zip(axes[:, 0], titles.items(), strict=True):
        own = of_setting(values, prefix, others)
        words.append(f"{title}: {seeds_panel(axis, own, what, unit, references[prefix])}")
        difference = difference_in_words(own, "kd", "scratch", what).split(": ", 1)[1]
        entitle(axis, title, f"KD minus scratch: {difference}")
    headline(figure, f"{what[0].upper()}{what[1:]} in {len(titles)} settings")
    return " ".join(words)


def floor_in_words(percent: Mapping[str, Sequence[float]], titles: Mapping[str, str], smallest: float) -> str:
    """In which settings the counts lie so near to zero that a difference that would matter hardly fits.

    percent: prefix + arm -> percent of units, one a seed. smallest: the difference that would matter, in points.

    >>> percent = {"kd": [1.0, 2.0], "scratch": [2.0, 1.0], "deeper_kd": [40.0, 41.0], "deeper_scratch": [50.0, 51.0]}
    >>> print(floor_in_words(percent, {"": "Photographs", "deeper_": "Drawn"}, 3.5))
    Photographs: every student has at most 2.0 % detectors, less than the 3.5 points that would matter: the measure \
is at its floor, and "no difference" is a fact about the measure. Drawn: students have 40.0 to 51.0 % detectors.
    """
    others = [prefix for prefix in titles if prefix]
    sentences = []
    for prefix, title in titles.items():
        every = [value for seeds in of_setting(percent, prefix, others).values() for value in seeds]
        name = title[0].upper() + title[1:]
        if max(every) < 2 * smallest:
            size = "less than" if max(every) < smallest else "hardly more than"
            sentences.append(
                f"{name}: every student has at most {max(every):.1f} % detectors, {size} the {smallest:g} points that "
                'would matter: the measure is at its floor, and "no difference" is a fact about the measure.'
            )
        else:
            sentences.append(f"{name}: students have {min(every):.1f} to {max(every):.1f} % detectors.")
    return " ".join(sentences)
