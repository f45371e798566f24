"""Measures of what a trained network has learnt, one file per measure."""

from __future__ import annotations
