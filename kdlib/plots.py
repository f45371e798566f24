"""One look for every figure: the same colour for the same model everywhere, told apart by colour-blind readers."""

from __future__ import annotations

# Okabe and Ito's palette.
MODEL_COLOURS = {
    "teacher": "#000000",
    "scratch": "#E69F00",
    "label_smoothing": "#CC79A7",
    "kd": "#0072B2",
    "truth": "#009E73",
}
