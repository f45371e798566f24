"""Training and measures behind the knowledge-distillation and interpretability companion."""

from __future__ import annotations

__version__ = "0.1.0"
