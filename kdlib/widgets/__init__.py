"""Pictures that stay alive in JupyterLab, VS Code, Colab and the static book: Python prepares every state, the
browser alone handles every interaction, so they need neither kernel nor network.

In a notebook cell: `display_widget(temperature_explorer(...))` shows a still picture at once and the widget in its
place as soon as it lives.
"""

from __future__ import annotations

from kdlib.widgets.common import display_widget, static_figure
from kdlib.widgets.dissection_explorer import DissectionExplorer, UnitViews, dissection_explorer, unit_views
from kdlib.widgets.temperature_explorer import TemperatureExplorer, temperature_explorer

__all__ = [
    "DissectionExplorer",
    "TemperatureExplorer",
    "UnitViews",
    "display_widget",
    "dissection_explorer",
    "static_figure",
    "temperature_explorer",
    "unit_views",
]
