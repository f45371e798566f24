"""The arms of Han et al. 2023.

==============================  ================================================================================
scratch, label_smoothing, kd    cross-entropy; the same with smoothed labels; distillation from the teacher
kd_t4                           kd at temperature 4
self_kd                         kd from "self_teacher", a net of the student's own kind, trained from scratch
ls_teacher_t1, _t2, ... _t8     kd at these temperatures, alpha 0.9, from "ls_teacher", trained with smoothed labels
at, ft, crd, sskd               feature methods; with the suffix _with_logits, the teacher's logits besides
kd_shuffled, kd_wrong_classes   kd with the teacher's wrong-class logits permuted per image, per class (C1, C2)
superclass_smoothing            labels smoothed over the siblings only, no teacher (C3)
antisibling_smoothing           labels smoothed over the other superclasses only, no teacher (C4)
scratch_long                    scratch, twice as long, to find an epoch as accurate as another arm (C5)
==============================  ================================================================================
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
_SELF_TEACHER_SEED = 1_000  # a self-teacher must not start from its student's weights


def han2023_arms(temperature: float, alpha: float, smoothing: float) -> dict[str, Arm]:
    """All arms by name. alpha weights the soft term of KD and of the arms made from it."""
    arms = basic_arms(temperature, alpha, smoothing)
    kd, smoothed = dict(arms["kd"].options), dict(arms["label_smoothing"].options)
    arms |= {
        "ls_teacher": Arm("label_smoothing", smoothed, net="teacher", one_for_all=True),
        "self_teacher": Arm("cross_entropy", one_for_all=True, seed_offset=_SELF_TEACHER_SEED),
        "scratch_long": Arm("cross_entropy", longer=2),
        "superclass_smoothing": Arm("superclass_smoothing", smoothed),
        "antisibling_smoothing": Arm("antisibling_smoothing", smoothed),
        "kd_t4": Arm("kd", kd | {"temperature": 4.0}, teacher="teacher"),
        "kd_shuffled": Arm("shuffled", kd, teacher="teacher"),
        "kd_wrong_classes": Arm("wrong_classes", kd, teacher="teacher"),
        "self_kd": Arm("kd", kd, teacher="self_teacher"),
    }
    for t in TEACHER_TEMPERATURES:
        options = {"alpha": LS_TEACHER_ALPHA, "temperature": float(t)}
        arms[f"ls_teacher_t{t}"] = Arm("kd", options, teacher="ls_teacher", recipe="ls_teacher")
    for method, objective in METHODS.items():
        arms[method] = Arm(objective, teacher="teacher")
        # SSKD has a weight of its own for the logits of the images themselves.
        with_logits = {"logits": 0.9} if method == "sskd" else kd
        arms[f"{method}_with_logits"] = Arm(objective, with_logits, teacher="teacher", recipe=method)
    return arms
