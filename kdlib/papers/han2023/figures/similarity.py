"""Figures, tables and conclusions of the chapter on class similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlib.claims.phrases import interval_in_words
from kdlib.claims.verdicts import CONTRADICTED, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, Verdict
from kdlib.names import MODEL_COLOURS, MODEL_MARKERS, MODEL_NAMES
from kdlib.stats import Contrast

# Keys of `metrics.class_similarity.class_similarity`, the primary measure first, and their names for readers.
DEFINITIONS = {
    "sibling_mass_ratio": "R, siblings' share",
    "full_entropy": "H0, all classes",
    "partial_entropy": "H1, superclass, as it is",
    "conditional_entropy": "H2, superclass, renormalised",
    "sibling_preference_entropy": "H3, siblings, renormalised",
    "mean_output_partial_entropy": "H4, H1 of the mean output",
    "mean_output_conditional_entropy": "H4', H2 of the mean output",
    "superclass_rank_correlation": "ρ with the superclasses",
    "teacher_rank_correlation": "ρ with the teacher",
    "nontarget_divergence": "D from the teacher",
    "sibling_distance_ratio": "G, distance of siblings",
}
# Here a smaller value says that classes are more alike, or more like the teacher's.
SMALLER_IS_MORE = ("nontarget_divergence", "sibling_distance_ratio")


def means_table(found: Mapping[str, Sequence[Mapping[str, float]]], names: Mapping[str, str]) -> list[dict[str, str]]:
    """Rows of a table: a network each, the mean over seeds of each measure; a dash where it is not defined.

    found: network -> one dict of measures a seed. names: measure -> heading.

    >>> means_table({"kd": [{"full_entropy": 1.0}, {"full_entropy": 2.0}]}, {"full_entropy": "entropy"})
    [{'network': 'Distilled (KD)', 'entropy': '1.500'}]
    """
    rows = []
    for network, seeds in found.items():
        row = {"network": MODEL_NAMES.get(network, network)}
        for key, heading in names.items():
            mean = float(np.mean([measures[key] for measures in seeds]))
            row[heading] = f"{mean:.3f}" if np.isfinite(mean) else "–"
        rows.append(row)
    return rows


def follows_paper(definition: str, kd: Contrast, smoothing: Contrast) -> str:
    """Whether a definition orders the networks as the paper's entropy does: KD above scratch above label smoothing.

    kd, smoothing: the definition's contrasts of these arms with scratch, in the definition's own direction. "yes" and
    "no" are about means over seeds; "surely" is added where the intervals that decide it exclude zero.

    >>> from kdlib.stats import paired_contrast
    >>> up, down = paired_contrast([2, 2.1, 2], [1, 1, 1]), paired_contrast([1, 1, 1], [2, 2.1, 1.8])
    >>> follows_paper("full_entropy", up, down), follows_paper("full_entropy", up, up)
    ('yes, surely', 'no, surely')
    >>> follows_paper("nontarget_divergence", down, up)  # the smaller, the more like the teacher
    'yes, surely'
    """
    turn = -1 if definition in SMALLER_IS_MORE else 1
    # Turned so that the paper's order is positive in both.
    sides = [
        (turn * kd.mean_difference, kd.excludes_zero),
        (-turn * smoothing.mean_difference, smoothing.excludes_zero),
    ]
    if all(mean > 0 for mean, _ in sides):
        return "yes, surely" if all(sure for _, sure in sides) else "yes"
    return "no, surely" if any(sure and mean < 0 for mean, sure in sides) else "no"


def definitions_in_rows(contrasts: Mapping[str, Mapping[str, Contrast]], axis: Axes) -> Axes:
    """A row a definition: mean difference to scratch of each arm with the wider of both 95 % intervals at each end.

    contrasts: definition -> arm -> contrast with scratch. The definitions have units of their own, so each row is
    scaled to its own largest value; those where a smaller value says "more alike" are turned, so that right is always
    more similarity as the paper reads it.
    """
    for place, (definition, by_arm) in enumerate(contrasts.items()):
        turn = -1 if definition in SMALLER_IS_MORE else 1
        ends = [value for c in by_arm.values() for value in (*c.widest, c.mean_difference) if np.isfinite(value)]
        scale = turn * (max(map(abs, ends)) or 1.0)
        for step, (arm, contrast) in enumerate(by_arm.items()):
            y = place + 0.3 * (step - (len(by_arm) - 1) / 2)
            colour = MODEL_COLOURS.get(arm, "0.3")
            axis.plot([end / scale for end in contrast.widest], [y, y], color=colour, linewidth=2)
            mean, label = contrast.mean_difference / scale, MODEL_NAMES.get(arm, arm) if place == 0 else None
            axis.plot([mean], [y], MODEL_MARKERS.get(arm, "o"), color=colour, markersize=7, label=label)
    axis.axvline(0, color=MODEL_COLOURS["scratch"], linewidth=1.5, zorder=0)
    names = [DEFINITIONS[definition] for definition in contrasts]
    turned = [f"{n} (turned)" if d in SMALLER_IS_MORE else n for d, n in zip(contrasts, names, strict=True)]
    axis.set_yticks(range(len(contrasts)), turned, fontsize=9)
    axis.set_ylim(len(contrasts) - 0.5, -0.5)
    axis.set_xlim(-1.05, 1.05)
    axis.set_xlabel("minus scratch, each row in its own scale")
    axis.legend(fontsize=9, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return axis


def over_temperature(
    panels: Mapping[str, Mapping[int, Sequence[float]]], levels: Mapping[str, Mapping[str, float]]
) -> Figure:
    """A panel a measure against the temperature: every seed a grey line, their mean a thick one.

    panels: label of the vertical axis -> temperature -> one value a seed. levels: the same label -> network -> value of
    a dashed line, such as the mean of scratch.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.4), squeeze=False)
    for axis, (label, values) in zip(axes[0], panels.items(), strict=True):
        table, x = np.array(list(values.values())), list(values)
        axis.plot(x, table, color="0.75", linewidth=1)
        axis.plot(x, table.mean(1), color="0.25", linewidth=2, zorder=3)
        for temperature, mean in zip(x, table.mean(1), strict=True):
            colour = MODEL_COLOURS.get(f"ls_teacher_t{temperature}", "0.25")
            axis.plot([temperature], [mean], color=colour, marker="o", markersize=9, zorder=4)
        for network, level in levels.get(label, {}).items():
            name = MODEL_NAMES.get(network, network)
            axis.axhline(level, color=MODEL_COLOURS.get(network, "0.3"), linestyle="--", linewidth=1.4, label=name)
        axis.set(xscale="log", xlabel="temperature T", title=label)
        axis.set_xticks(x, [f"{t:g}" for t in x])
        axis.minorticks_off()
    handles, names = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    return figure


def decision(headline: Verdict, shuffled: Verdict, oracle: Verdict, matched: Contrast) -> list[str]:
    """What the controls say about the paper's explanation, in sentences that follow from the verdicts alone.

    headline: KD has more detectors than scratch. shuffled: KD has more than its teacher shuffled (C1). oracle: sibling
    smoothing without a teacher has more than scratch (C3). matched: detectors of KD minus those of a student from
    scratch of about equal accuracy (C5).
    """
    told = {
        SUPPORTED: "**The headline** holds here: KD gives more detectors than training from scratch",
        CONTRADICTED: "**The headline** is reversed here: KD gives fewer detectors than training from scratch",
        NOT_SUPPORTED: "**The headline** does not hold here: KD makes no difference to scratch that would matter",
        INCONCLUSIVE: "**The headline** is open here: these seeds can't tell KD from scratch",
    }
    sentences = [f"{told[headline.word]}, {interval_in_words(headline.contrast)} points."]
    gained = headline.word == SUPPORTED
    as_high = (
        "the shuffled teacher's students have as many detectors as KD's, or more. That **contradicts the explanation** "
        + ("while matching the headline" if gained else "and does not match the headline either")
        + ("" if gained else "; but where KD has not gained, there is little that shuffling could take away")
    )
    told = {
        SUPPORTED: "shuffling the likeness away costs detectors, as the explanation predicts",
        CONTRADICTED: as_high,
        NOT_SUPPORTED: as_high,
        INCONCLUSIVE: "whether shuffling the likeness away costs detectors, these seeds can't tell",
    }
    sentences.append(f"**C1**: {told[shuffled.word]} (KD minus shuffled: {interval_in_words(shuffled.contrast)}).")
    against = "likeness without a teacher brings no more detectors than scratch, which the explanation does not predict"
    told = {
        SUPPORTED: "likeness without any teacher gives more detectors than scratch, as the explanation predicts",
        CONTRADICTED: against,
        NOT_SUPPORTED: against,
        INCONCLUSIVE: "whether likeness without a teacher is enough, these seeds can't tell",
    }
    sentences.append(f"**C3**: {told[oracle.word]} (minus scratch: {interval_in_words(oracle.contrast)}).")
    if matched.excludes_zero:
        more = "more" if matched.mean_difference > 0 else "fewer"
        words = f"at about equal accuracy KD has {more} detectors than scratch, so accuracy alone is not the difference"
    else:
        words = "at about equal accuracy KD can't be told from scratch, so accuracy alone may be all there is"
    sentences.append(f"**C5**: {words} ({interval_in_words(matched)}).")
    words_of_both = {shuffled.word, oracle.word}
    if words_of_both == {SUPPORTED}:
        conclusion = "both controls of the explanation speak for class similarity"
    elif SUPPORTED in words_of_both and words_of_both & {CONTRADICTED, NOT_SUPPORTED}:
        conclusion = "the two controls of the explanation disagree"
    elif words_of_both & {CONTRADICTED, NOT_SUPPORTED}:
        conclusion = "the controls speak against class similarity as the cause"
    elif SUPPORTED in words_of_both:
        conclusion = "one control speaks for class similarity, the other is open"
    else:
        conclusion = "the explanation is neither confirmed nor refuted by these seeds"
    sentences.append(f"**Taken together**, {conclusion}.")
    return sentences
