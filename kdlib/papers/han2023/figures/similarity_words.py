"""Definitions, tables and conclusions of the chapter on class similarity: words that follow from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kdlib.claims.claim import Claim
from kdlib.claims.phrases import with_interval
from kdlib.claims.rule import CONTRADICTED, INCONCLUSIVE, NO_TEST, NOT_SUPPORTED, SUPPORTED
from kdlib.claims.verdicts import Verdict
from kdlib.metrics.class_similarity import class_similarity
from kdlib.names import MODEL_NAMES
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
# Their symbols, for the headings of narrow tables.
SYMBOLS = {key: name.split(",")[0] for key, name in DEFINITIONS.items()} | {
    "superclass_rank_correlation": "ρ superclasses",
    "teacher_rank_correlation": "ρ teacher",
    "nontarget_divergence": "D",
    "sibling_distance_ratio": "G",
    "relative_spread": "spread",
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


def published_entropies(claims: Mapping[str, Claim]) -> list[dict[str, str]]:
    """Rows of a table: the entropies that the note reports, and how many equally likely classes have as much.

    claims: those of Han et al., of which 3a and 3b report them.
    """
    values = {
        item.what: float(str(item.value)) for short in ("3a", "3b") for item in claims[f"han2023.{short}"].reported
    }
    return [
        {
            "network": network,
            "entropy (note)": f"{entropy:.4f}",
            "as of equally likely classes": f"{np.exp(entropy):.1f}",
            "over scratch": f"{entropy / values['scratch']:.4f}",
        }
        for network, entropy in sorted(values.items(), key=lambda item: -item[1])
    ]


def teachable(name: str, ratio: float, chance: float) -> str:
    """Whether a teacher has likeness to pass on: its R on images not trained on should be three times chance.

    >>> teachable("The teacher", 0.6, 0.15)
    'The teacher has R = 60.0 % (chance: 15.0 %); the rule asks for 45.0 %, so it holds.'
    """
    wanted = f"{300 * chance:.1f} %"
    outcome = "holds" if ratio >= 3 * chance else "does **not** hold"
    if 3 * chance > 1:
        outcome = "can't hold"
    measured = f"{name} has R = {100 * ratio:.1f} % (chance: {100 * chance:.1f} %)"
    return f"{measured}; the rule asks for {wanted}, so it {outcome}."


def smoothing_geometry(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """What label smoothing does to the distances of classes here, beside what it is said to do."""
    spread, distance = (
        {arm: float(np.mean([measures[key] for measures in found[arm]])) for arm in ("scratch", "label_smoothing")}
        for key in ("relative_spread", "sibling_distance_ratio")
    )
    even = "nearer" if distance["label_smoothing"] > distance["scratch"] else "no nearer"
    tight = "tighter" if spread["label_smoothing"] < spread["scratch"] else "no tighter"
    return (
        "Label smoothing is said to set classes at equal distances (G towards 1) and to make each one tight. Here its "
        f"students have classes {even} to equal distances than scratch (G {distance['label_smoothing']:.2f}, scratch "
        f"{distance['scratch']:.2f}) and {tight} (spread {spread['label_smoothing']:.2f}, scratch "
        f"{spread['scratch']:.2f})."
    )


def agreement_in_words(agreement: Mapping[str, Mapping[str, str]]) -> str:
    """Under which definitions the means follow the paper's order, and whose answer depends on the temperature.

    agreement: name of a definition -> temperature -> `follows_paper`'s answer, or a dash.

    >>> agreement_in_words({"R": {"T = 1": "yes", "T = 2": "yes, surely"}, "H0": {"T = 1": "no", "T = 2": "yes"}})
    'At T = 1 the means follow the order of the paper under 1 of 2 definitions: R. The answer depends on T for: H0.'
    """
    yes = [name for name, answers in agreement.items() if answers["T = 1"].startswith("yes")]
    moving = [name for name, answers in agreement.items() if len({a[:2] for a in answers.values()} - {"–"}) > 1]
    return (
        f"At T = 1 the means follow the order of the paper under {len(yes)} of {len(agreement)} definitions: "
        f"{'; '.join(yes) or 'none'}. The answer depends on T for: {'; '.join(moving) or 'none'}."
    )


def course(values: Sequence[float]) -> str:
    """In words, from the first value to the last.

    >>> course([1.0, 3.0, 2.0]), course([2.0, 2.01])
    ('rises from 1.0 to 2.0', 'stays at 2.0')
    """
    first, last = f"{values[0]:.1f}", f"{values[-1]:.1f}"
    moved = "rises" if values[-1] > values[0] else "falls"
    return f"stays at {first}" if first == last else f"{moved} from {first} to {last}"


def robustness(
    contrasts: Mapping[tuple[str, str], Mapping[str, Contrast]],
) -> tuple[str, list[dict[str, str]]]:
    """A sentence, and rows of a table: contrasts as measured and under other choices.

    contrasts: pair of arms -> name of a choice -> its contrast, "as above" the first.
    """
    names = {pair: f"{MODEL_NAMES[pair[0]]} − {MODEL_NAMES[pair[1]]}" for pair in contrasts}
    changed = [
        names[pair]
        for pair, found in contrasts.items()
        if len({float(np.sign(contrast.mean_difference)) for contrast in found.values()}) > 1
    ]
    rows = [
        {"detectors (points)": names[pair]} | {choice: with_interval(contrast) for choice, contrast in found.items()}
        for pair, found in contrasts.items()
    ]
    kept = f"{len(names) - len(changed)} of {len(names)} mean differences keep their sign under every choice"
    return f"{kept}{'; not: ' if changed else ''}{', '.join(changed)}.", rows


def definitions_table(targets: Mapping[str, Tensor], labels: Tensor, groups: Sequence[int]) -> str:
    """Every definition on ideal targets, a line each, and whether "LS" has more or less of it than "teacher".

    targets: name -> (K, K) probabilities, whose rows belong to the labels.
    """

    def as_logits(p: Tensor) -> Tensor:
        return p.clamp(min=1e-9).log()

    found = {
        name: class_similarity(as_logits(p), labels, groups, as_logits(targets["teacher"]), features=p)
        for name, p in targets.items()
    }
    lines = [f"{'definition':29}" + "".join(f"{name:>9}" for name in targets) + "  LS : teacher"]
    for key, name in DEFINITIONS.items():
        gap = round(found["LS"][key] - found["teacher"][key], 9)
        order = "undefined" if np.isnan(gap) else "higher" if gap > 0 else "lower" if gap < 0 else "equal"
        values = [found[target][key] for target in targets]
        shown = "".join("        –" if np.isnan(value) else f"{value:9.3f}" for value in values)
        lines.append(f"{name:29}{shown}  {order}")
    return "\n".join(lines)


def scale_table(sizes: Sequence[int]) -> str:
    """Entropies of ideal smoothed labels for 1000 classes and superclasses of these sizes, two lines each."""
    lines = []
    for m in sizes:
        groups = [max(0, c - m + 1) for c in range(1000)]  # the first m classes are siblings, the others alone
        smoothed = 0.9 * torch.eye(1000, dtype=torch.float64)[:m] + 0.1 / 1000
        found = class_similarity(smoothed.log(), torch.arange(m), groups)
        entropies = [key for key in DEFINITIONS if SYMBOLS[key].startswith("H")]
        lines.append(f"m = {m:3}: " + ", ".join(f"{SYMBOLS[key]} {found[key]:.3f}" for key in entropies))
        lines.append(f"         hard labels: H4 = H4' = ln m = {np.log(m):.3f}, all else 0 (H3 undefined)")
    return "\n".join(lines)


def shown_in_words(shown: Mapping[int, tuple[float, float]], students: Sequence[float]) -> str:
    """What softening does to a teacher's likeness and to its students.

    shown: temperature -> R of the teacher's answers and the advantage of a sibling, in percent. students: R of the
    students in the order of the temperatures.
    """
    answers = [ratio for ratio, _ in shown.values()]
    most = max(shown, key=lambda t: shown[t][1])
    blurred = ": softening makes all wrong classes more equal, so as a *share*, likeness is not brought out but blurred"
    return (
        f"From the lowest $T$ to the highest, $R$ of the LS teacher's answers {course(answers)} %"
        f"{blurred if answers[-1] < answers[0] else ''}. What can grow is the probability of wrong classes as a whole: "
        f"the advantage of a sibling is largest at $T$ = {most} ({shown[most][1]:.2f} points). $R$ of the students "
        f"{course(students)} %."
    )


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


def listed_verdicts(named: Mapping[str, str], verdicts: Mapping[str, str]) -> str:
    """Judged claims in a sentence each; those that were not judged are left out.

    named: what a claim is about -> its short id. verdicts: short id -> the claim and its verdict in words.

    >>> listed_verdicts({"Temperature": "6a", "Likeness": "9e"}, {"6a": "detectors, T = 8 minus T = 1: supported"})
    'Temperature: detectors, T = 8 minus T = 1: supported.'
    """
    return " ".join(f"{name}: {verdicts[short]}." for name, short in named.items() if short in verdicts)


def decision(headline: Verdict, shuffled: Verdict, oracle: Verdict, matched: Contrast | None) -> list[str]:
    """What the controls say about the paper's explanation, in sentences that follow from the verdicts alone.

    headline: KD has more detectors than scratch. shuffled: KD has more than its teacher shuffled (C1). oracle: sibling
    smoothing without a teacher has more than scratch (C3). matched: detectors of KD minus those of a student from
    scratch of equal accuracy (C5); None where there is no match.
    """
    meaning = {
        SUPPORTED: "**The headline** holds here: KD gives more detectors than training from scratch",
        CONTRADICTED: "**The headline** is reversed here: KD gives fewer detectors than training from scratch",
        NOT_SUPPORTED: "**The headline** does not hold here: KD makes no difference to scratch that would matter",
        INCONCLUSIVE: "**The headline** is open here: these replicates can't tell KD from scratch",
        NO_TEST: "**The headline** is not tested here: a condition for a test does not hold",
    }
    sentences = [f"{meaning[headline.word]}, {with_interval(headline.contrast, 'points')}."]
    gained = headline.word == SUPPORTED
    as_high = (
        "the shuffled teacher's students have as many detectors as KD's, or more. That **contradicts the explanation** "
        + ("while matching the headline" if gained else "and does not match the headline either")
        + ("" if gained else "; but where KD has not gained, there is little that shuffling could take away")
    )
    meaning = {
        SUPPORTED: "shuffling the likeness away costs detectors, as the explanation predicts",
        CONTRADICTED: as_high,
        NOT_SUPPORTED: as_high,
        INCONCLUSIVE: "whether shuffling the likeness away costs detectors, these replicates can't tell",
        NO_TEST: "whether shuffling the likeness away costs detectors is not tested, as a condition does not hold",
    }
    sentences.append(f"**C1**: {meaning[shuffled.word]} (KD minus shuffled: {with_interval(shuffled.contrast)}).")
    against = "likeness without a teacher brings no more detectors than scratch, which the explanation does not predict"
    meaning = {
        SUPPORTED: "likeness without any teacher gives more detectors than scratch, as the explanation predicts",
        CONTRADICTED: against,
        NOT_SUPPORTED: against,
        INCONCLUSIVE: "whether likeness without a teacher is enough, these replicates can't tell",
        NO_TEST: "whether likeness without a teacher is enough is not tested, as a condition does not hold",
    }
    sentences.append(f"**C3**: {meaning[oracle.word]} (minus scratch: {with_interval(oracle.contrast)}).")
    if matched is None:
        words = "accuracies could not be matched, so accuracy alone may be all there is"
    elif matched.excludes_zero:
        more = "more" if matched.mean_difference > 0 else "fewer"
        words = f"at equal accuracy KD has {more} detectors than scratch, so accuracy alone is not the difference"
    else:
        words = "at equal accuracy KD can't be told from scratch, so accuracy alone may be all there is"
    sentences.append(f"**C5**: {words}{f' ({with_interval(matched)})' if matched else ''}.")
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
        conclusion = "the explanation is neither confirmed nor refuted by these replicates"
    sentences.append(f"**Taken together**, {conclusion}.")
    return sentences
