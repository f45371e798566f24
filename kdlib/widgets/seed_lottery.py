"""The seed lottery: a verdict by 3, 5 or 8 replicates, drawn again and again, beside the verdict by all of them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import anywidget
import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdlib.claims.at_a_glance import VERDICT_LOOKS
from kdlib.claims.phrases import number
from kdlib.claims.rule import OUTCOMES, RULE, word_of
from kdlib.claims.terms import DIRECTIONS
from kdlib.errors import KdlibError, check_seed, choose, finite_number, positive_integer, shown
from kdlib.plotting.tables import with_minus
from kdlib.widgets.common import GROUP_HATCHES, check_place, content_key, new_figure, source
from kdlib.widgets.seed_draws import draw_replicates, mean_intervals, t_quantile, word_shares

SIZES = (3, 5, 8)
ALL = 0  # the size that stands for all replicates, however many a contrast has
MOST_REPLICATES = 200
MOST_DRAWS = 10_000
_SIZE_OF_NUMBERS = (1e-100, 1e100)  # squares of larger or smaller ones would leave the numbers that a computer has


@dataclass(frozen=True)
class Replicates:
    """A contrast measured in many replicates: per replicate the difference of two arms, with what is claimed of it.

    name, unit: as readers see them; unit is that of a difference. direction: "greater" if the claim puts the mean
    difference above 0, "less" or "smaller" if below. smallest_effect: the smallest difference that would matter, in
    `unit`, above 0. differences: (n,), one for each replicate, n from 3 to 200.

    Raises `KdlibError` for too few or too many differences, one that is not finite, and an unknown direction.

    >>> Replicates("accuracy, KD − scratch", "percentage points", "greater", 0.5, [1.0, 2.0, 0.5]).count
    3
    """

    name: str
    unit: str
    direction: str
    smallest_effect: float
    differences: Sequence[float]

    def __post_init__(self) -> None:
        for key in ("name", "unit"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key).strip():
                raise KdlibError(f"{key} of a contrast must be a text that readers see, not {getattr(self, key)!r}")
        choose(self.direction, (*DIRECTIONS, "smaller"), f"direction of '{self.name}'")
        what = f"smallest_effect of '{self.name}'"
        finite_number(self.smallest_effect, what, minimum=0, maximum=_SIZE_OF_NUMBERS[1], exclusive=True)
        try:
            values = np.asarray(self.differences, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise KdlibError(
                f"differences of '{self.name}' must be numbers, one per replicate, not {shown(self.differences)}"
            ) from error
        if values.ndim != 1 or not 3 <= len(values) <= MOST_REPLICATES:
            raise KdlibError(
                f"differences of '{self.name}' must be a flat list of 3 to {MOST_REPLICATES} numbers, one per "
                f"replicate, not of shape {values.shape}"
            )
        for place, value in enumerate(values.tolist()):
            if not math.isfinite(value):
                raise KdlibError(
                    f"'{self.name}' holds {value} at replicate {place + 1}; measure it again or leave it out"
                )
            if value and not _SIZE_OF_NUMBERS[0] <= abs(value) <= _SIZE_OF_NUMBERS[1]:
                raise KdlibError(f"'{self.name}' holds {value} at replicate {place + 1}; give it in another unit")

    @property
    def count(self) -> int:
        return len(self.differences)


class SeedLottery(anywidget.AnyWidget):
    """Draws of a few replicates and what they would have made one believe; made by `seed_lottery`.

    `contrast` (its place), `size` (3, 5, 8, or 0 for all) and `draws` (how many were made; the last is shown) follow
    the reader's choice and may be set or linked from Python.
    """

    _esm = source("seed_lottery", "js")
    _css = source("seed_lottery", "css")

    contrast = traitlets.Int(0).tag(sync=True)
    size = traitlets.Int(SIZES[0]).tag(sync=True)
    draws = traitlets.Int(1).tag(sync=True)

    seed = traitlets.Int(0).tag(sync=True)
    contrasts = traitlets.List(traitlets.Dict()).tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    most_draws = traitlets.Int(MOST_DRAWS).tag(sync=True)
    quantiles = traitlets.Dict().tag(sync=True)  # number of replicates, as text -> quantile of Student's t
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    word_colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rule = traitlets.List(traitlets.Unicode()).tag(sync=True)  # a text for each of the words
    static_key = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("contrast")
    def _check_contrast(self, proposal: dict) -> int:
        return check_place(proposal["value"], len(self.contrasts), "contrast")

    @traitlets.validate("size")
    def _check_size(self, proposal: dict) -> int:
        return int(choose(str(proposal["value"]), map(str, (*SIZES, ALL)), "size of a draw (0: all replicates)"))

    @traitlets.validate("draws")
    def _check_draws(self, proposal: dict) -> int:
        return positive_integer(proposal["value"], "draws", maximum=MOST_DRAWS)

    def __repr__(self) -> str:
        counts = ", ".join(str(len(entry["differences"])) for entry in self.contrasts)
        return f"SeedLottery({len(self.contrasts)} contrasts of {counts} replicates)"

    def drawn(self, draw: int | None = None) -> list[int]:
        """The replicates (from 0) of draw number `draw` (from 0; the last one made without it)."""
        count = len(self._entry["differences"])
        size = self.size if ALL < self.size < count else count
        return draw_replicates(self.seed, self.draws - 1 if draw is None else draw, count, size)

    def judge(self, replicates: Sequence[int] | None = None) -> tuple[str, float, float, float]:
        """(verdict, mean, low, high) by these replicates of the chosen contrast, by all of them without an argument."""
        differences = self._entry["differences"]
        values = differences if replicates is None else [differences[place] for place in replicates]
        mean, low, high = (float(bound[0]) for bound in mean_intervals(np.array([values])))
        effect = self._entry["smallest_effect"]
        word = word_of(values, (low, high), direction=self._entry["direction"], smallest_effect=effect)
        return word, mean, low, high

    def others(self) -> int:
        """How many of the draws made so far gave another verdict than all replicates."""
        truth = self.judge()[0]
        return sum(self.judge(self.drawn(draw))[0] != truth for draw in range(self.draws))

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        entry, places = self._entry, self.drawn()
        found, everything = self.judge(places), self.judge()
        shares = [
            f"of {row['size']} replicates {_percent(row['judged'] - row['counts'][OUTCOMES.index(everything[0])], row)}"
            for row in entry["shares"][:-1]
        ]
        telling = f"So many draws give another verdict than all: {', '.join(shares)}." if shares else ""
        return (
            f"{entry['name']}: a draw of {len(places)} of {len(entry['differences'])} replicates has a mean difference "
            f"of {_measured(found, entry['unit'])}: {found[0]}. All replicates have "
            f"{_measured(everything, entry['unit'])}: {everything[0]}. {telling}"
        ).rstrip()

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: replicates and both intervals, and how verdicts are shared out."""
        rows = self._entry["shares"]
        figure = new_figure(7.6, 3.0 + 0.42 * len(rows))
        upper, lower = figure.subplots(2, 1, gridspec_kw={"height_ratios": [2.2, 0.42 * len(rows)]})
        self._draw_replicates(upper)
        left = np.zeros(len(rows))
        for place, word in enumerate(OUTCOMES):
            parts = np.array([row["counts"][place] / row["judged"] for row in rows])
            lower.barh(
                range(len(rows)), parts, left=left, height=0.62, facecolor=VERDICT_LOOKS[word][0], edgecolor="#30363d",
                linewidth=0.6, hatch=GROUP_HATCHES[place], label=word,
            )  # fmt: skip
            left += parts
        lower.set_yticks(range(len(rows)), [f"draws of {row['size']}" for row in rows[:-1]] + ["all"], fontsize=9)
        lower.set_ylim(len(rows) - 0.5, -0.5)
        lower.set_xlim(0, 1)
        lower.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 % of the draws"], fontsize=8)
        lower.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(*lower.get_legend_handles_labels(), loc="outside lower center", ncols=len(OUTCOMES), fontsize=8)
        return figure

    @property
    def _entry(self) -> dict:
        return self.contrasts[self.contrast]

    def _beyond(self, found: tuple[str, float, float, float]) -> tuple[bool, bool]:
        """Whether an interval goes on below and above what the axis shows."""
        return found[2] < self._entry["domain"][0], found[3] > self._entry["domain"][1]

    def _draw_replicates(self, axis: Axes) -> None:
        entry, places = self._entry, self.drawn()
        values, effect = entry["differences"], entry["smallest_effect"]
        axis.axvspan(-effect, effect, color="0.92", zorder=0)
        axis.axvline(0, color="0.4", linewidth=1)
        for place, value in enumerate(values):
            ink = "#1b1f24" if place in places else "none"
            axis.plot(
                [value], [0], "o", markerfacecolor=ink, markeredgecolor="#4f5862", zorder=3 if place in places else 2
            )
        for row, found in ((1, self.judge(places)), (2, self.judge())):
            colour, marker = VERDICT_LOOKS[found[0]]
            axis.plot(np.clip(found[2:], *entry["domain"]), [row, row], color=colour, linewidth=2.5)
            for edge, beyond, arrow in zip(entry["domain"], self._beyond(found), "<>", strict=True):
                if beyond:
                    axis.plot([edge], [row], marker=arrow, color=colour, markersize=7, clip_on=False)
            axis.plot([found[1]], [row], marker=marker, color=colour, markersize=8)
        axis.set_yticks([0, 1, 2], ["replicates,\ndrawn ones dark", f"a draw of {len(places)}", "all"], fontsize=9)
        axis.set_ylim(2.6, -0.6)
        axis.set_xlim(*entry["domain"])
        axis.set_xticks(*zip(*entry["ticks"], strict=True), fontsize=8)
        axis.set_xlabel(f"difference in {entry['unit']}; grey: smaller than what would matter", fontsize=8)
        axis.set_title(textwrap.fill(entry["name"], 65), fontsize=10, fontweight="bold")
        axis.spines[["top", "right", "left"]].set_visible(False)


def _percent(part: int, row: dict) -> str:
    """A share of the judged draws in whole percent; what is not quite none or all says so.

    >>> [_percent(part, {"judged": 1000}) for part in (0, 1, 415, 999, 1000)]
    ['0 %', '<1 %', '42 %', '>99 %', '100 %']
    """
    percent = 100 * part / row["judged"]
    if 0 < percent < 0.5 or 99.5 <= percent < 100:
        return "<1 %" if percent < 1 else ">99 %"
    return f"{math.floor(percent + 0.5)} %"


def _measured(found: tuple[str, float, float, float], unit: str) -> str:
    return f"{number(found[1])} {unit} (95 % interval {number(found[2])} to {number(found[3])})"


def _contrast_entry(contrast: Replicates) -> dict[str, object]:
    """What the browser needs of one contrast: numbers, axis, and the shares of verdicts for each size of draw."""
    values = np.asarray(contrast.differences, dtype=np.float64)
    direction = "greater" if contrast.direction == "greater" else "less"
    effect = float(contrast.smallest_effect)
    ends = [*values.tolist(), -effect, effect]
    margin = (max(ends) - min(ends)) / 4  # beyond it an interval is cut off: three replicates may give a very long one
    low, high = min(ends) - margin, max(ends) + margin
    ticks = [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    return {
        "name": contrast.name,
        "unit": contrast.unit,
        "direction": direction,
        "smallest_effect": effect,
        "smallest_text": number(effect, sign=False),
        "differences": values.tolist(),
        "domain": [low, high],
        "ticks": [[tick, with_minus(f"{tick if abs(tick) > margin / 1e6 else 0:.6g}")] for tick in ticks],
        "shares": [
            word_shares(values, size, direction=direction, smallest_effect=effect)
            for size in (*(size for size in SIZES if size < len(values)), len(values))
        ],
    }


def seed_lottery(contrasts: Sequence[Replicates], *, size: int = 3, seed: int = 0) -> SeedLottery:
    """A widget that draws a few of many replicates and judges a claim by them, over and over.

    contrasts: one or several; their numbers of replicates may differ. size: how many are drawn at first, 3, 5, 8, or
    0 for all. seed: of the draws; the same seed gives every reader the same ones.

    The verdict is that of `kdlib.claims.rule.word_of` with the 95 % Student t interval of the drawn replicates.

    Raises `KdlibError` for no contrast, two of one name, a size that is not offered, and a seed that is none.

    >>> lottery = seed_lottery([Replicates("accuracy, KD − scratch", "points", "greater", 0.5,
    ...                                    [0.9, 1.4, -0.3, 2.0, 0.8, 1.1, 0.2, 1.6])])
    >>> lottery, lottery.drawn(), lottery.judge(lottery.drawn())[0], lottery.judge()[0]
    (SeedLottery(1 contrasts of 8 replicates), [1, 2, 3], 'inconclusive', 'supported')
    """
    contrasts = list(contrasts)
    if not contrasts:
        raise KdlibError("there is no contrast to draw from; give at least one, made by Replicates(...)")
    names = [contrast.name for contrast in contrasts]
    for name in names:
        if names.count(name) > 1:
            raise KdlibError(f"two contrasts are called {shown(name)}; give each a name of its own")
    counts = {*SIZES, *(contrast.count for contrast in contrasts)}
    state = {
        "contrasts": [_contrast_entry(contrast) for contrast in contrasts],
        "seed": check_seed(seed),
        "sizes": [*SIZES, ALL],
        "quantiles": {str(count): t_quantile(count) for count in sorted(counts)},
        "words": list(OUTCOMES),
        "word_colours": [VERDICT_LOOKS[word][0] for word in OUTCOMES],
        "rule": [RULE[word] for word in OUTCOMES],
    }
    widget = SeedLottery(**state, size=size)
    widget.static_key = content_key("seed lottery", *state.values(), size)
    return widget
