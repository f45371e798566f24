"""Pictures that stay alive in JupyterLab, VS Code, Colab and the static book: Python prepares every state, the
browser alone handles every interaction, so they need neither kernel nor network.

In a notebook cell: `display_widget(temperature_explorer(...))` shows a still picture at once and the widget in its
place as soon as it lives.
"""

from __future__ import annotations

from kdlib.widgets.common import display_widget, static_figure
from kdlib.widgets.dissection_explorer import DissectionExplorer, dissection_explorer
from kdlib.widgets.dynamics_player import DynamicsPlayer, dynamics_player
from kdlib.widgets.entropy_explorer import EntropyExplorer, entropy_explorer
from kdlib.widgets.five_band_viewer import FiveBandViewer, five_band_viewer
from kdlib.widgets.method_comparison import MethodComparison, method_comparison
from kdlib.widgets.seed_lottery import Replicates, SeedLottery, seed_lottery
from kdlib.widgets.similarity_explorer import SimilarityExplorer, similarity_explorer
from kdlib.widgets.temperature_explorer import TemperatureExplorer, temperature_explorer
from kdlib.widgets.units import UnitViews, unit_views
from kdlib.widgets.word_explorer import WordExplorer, word_explorer

__all__ = [
    "DissectionExplorer",
    "DynamicsPlayer",
    "EntropyExplorer",
    "FiveBandViewer",
    "MethodComparison",
    "Replicates",
    "SeedLottery",
    "SimilarityExplorer",
    "TemperatureExplorer",
    "UnitViews",
    "WordExplorer",
    "display_widget",
    "dissection_explorer",
    "dynamics_player",
    "entropy_explorer",
    "five_band_viewer",
    "method_comparison",
    "seed_lottery",
    "similarity_explorer",
    "static_figure",
    "temperature_explorer",
    "unit_views",
    "word_explorer",
]
