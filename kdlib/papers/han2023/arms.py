"""The arms of Han et al. 2023, each by the name that the cohort has it under.

==================================  ============================================================================
scratch, label_smoothing, kd        cross-entropy; the same with smoothed labels; distillation from the teacher
kd_t4                               kd at temperature 4, alpha 0.9
scratch_7, _10, _20, _28, kd_t4_7,  the same, trained for so many fourteenths of the usual length, each with the
_10                                 whole schedule, to match accuracies (C5)
self_kd                             kd from "self_teacher", a net of the student's own kind, trained from scratch
ls_teacher_t1, _t2, ... _t8         kd at these temperatures, alpha 0.9, from "ls_teacher", trained with smoothed
                                    labels
at, ft, crd, sskd                   feature methods; with the suffix _with_logits, the teacher's logits besides
kd_shuffled, kd_wrong_classes       kd with the teacher's wrong-class logits permuted per image, per class (C1, C2)
superclass_smoothing                labels smoothed over the siblings only, no teacher (C3)
antisibling_smoothing               labels smoothed over the other superclasses only, no teacher (C4)
deeper_scratch, deeper_kd           scratch and kd of a deeper student
==================================  ============================================================================

Whatever is made from kd is there at temperature 4, alpha 0.9, too: kd_t4_shuffled, self_kd_t4, at_with_logits_t4, ...
"""

from __future__ import annotations

from kdlib.papers.han2023.settings import LS_TEACHER_ALPHA
from kdlib.runs.arms import Arm, basic_arms

ARMS = ("scratch", "label_smoothing", "kd")
METHODS = {  # feature methods and their objectives; each has a second arm, `<method>_with_logits`
    "at": "attention_transfer",
    "ft": "factor_transfer",
    "crd": "contrastive",
    "sskd": "self_supervision",
}
TEACHER_TEMPERATURES = (1, 2, 3, 4, 8)  # of the students of a label-smoothed teacher
USUAL_LENGTH = 14
# Scratch, and KD at temperature 4, at several lengths of the whole schedule.
SCRATCH_SCHEDULES = ("scratch_7", "scratch_10", "scratch", "scratch_20", "scratch_28")
KD_SCHEDULES = ("kd_t4_7", "kd_t4_10", "kd_t4")
_USUAL = {"alpha": 0.9, "temperature": 4.0}
_SELF_TEACHER_SEED = 1_000  # a self-teacher must not start from its student's weights


def han2023_arms(temperature: float, alpha: float, smoothing: float) -> dict[str, Arm]:
    """All arms by name. alpha weights the soft term of KD and of the arms made from it."""
    arms = basic_arms(temperature, alpha, smoothing)
    kd, smoothed = dict(arms["kd"].options), dict(arms["label_smoothing"].options)
    arms |= {
        "ls_teacher": Arm("label_smoothing", smoothed, net="teacher", one_for_all=True),
        "self_teacher": Arm("cross_entropy", one_for_all=True, seed_offset=_SELF_TEACHER_SEED),
        "superclass_smoothing": Arm("superclass_smoothing", smoothed),
        "antisibling_smoothing": Arm("antisibling_smoothing", smoothed),
        "deeper_scratch": Arm("cross_entropy", net="deeper"),
        **{f"scratch_{n}": Arm("cross_entropy", length=n / USUAL_LENGTH) for n in (7, 10, 20, 28)},
        **{f"kd_t4_{n}": Arm("kd", _USUAL, teacher="teacher", length=n / USUAL_LENGTH) for n in (7, 10)},
        "kd_t4": Arm("kd", _USUAL, teacher="teacher"),
        "kd_shuffled": Arm("shuffled", kd, teacher="teacher"),
        "kd_t4_shuffled": Arm("shuffled", _USUAL, teacher="teacher"),
        "kd_wrong_classes": Arm("wrong_classes", kd, teacher="teacher"),
        "kd_t4_wrong_classes": Arm("wrong_classes", _USUAL, teacher="teacher"),
        "self_kd": Arm("kd", kd, teacher="self_teacher"),
        "self_kd_t4": Arm("kd", _USUAL, teacher="self_teacher"),
        "deeper_kd": Arm("kd", kd, teacher="teacher", net="deeper"),
        "deeper_kd_t4": Arm("kd", _USUAL, teacher="teacher", net="deeper"),
    }
    for t in TEACHER_TEMPERATURES:
        options = {"alpha": LS_TEACHER_ALPHA, "temperature": float(t)}
        arms[f"ls_teacher_t{t}"] = Arm("kd", options, teacher="ls_teacher", recipe="ls_teacher")
    for method, objective in METHODS.items():
        arms[method] = Arm(objective, teacher="teacher")
        # SSKD has a weight of its own for the logits of the images themselves, and temperatures of its own.
        with_logits = {"logits": 0.9} if method == "sskd" else kd
        arms[f"{method}_with_logits"] = Arm(objective, with_logits, teacher="teacher", recipe=method)
        if method != "sskd":
            arms[f"{method}_with_logits_t4"] = Arm(objective, _USUAL, teacher="teacher", recipe=method)
    return arms
