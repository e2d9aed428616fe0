"""The plot: each figure against its bar, and what schedules cost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.bars import Mark
from tests.bench.report import PAGE, Results
from tests.bench.schedules import Curve

PICTURE = PAGE.with_suffix(".png")

_PASSED, _MISSED, _INK = "#2a7f62", "#c8553d", "#333333"
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1}
_MOST = 2.0
"""Multiples of a bar: longer ones are cut off here."""


def draw(results: Results, path: Path = PICTURE) -> None:
    """Write the plot to *path*."""
    drawn = io.BytesIO()
    with mpl.rc_context({"font.size": 9, "axes.edgecolor": _INK}):
        figure = Figure(figsize=(9, 8.6), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=[1.7, 1])
        _bars(above, results.marks)
        _curves(below, results.curves)
        figure.savefig(drawn, dpi=90)
    # Few colours make a small file; it is kept in the repository.
    with PIL.Image.open(drawn) as picture:
        picture.quantize(48).save(path, optimize=True)


def _bars(axes: Axes, marks: Sequence[Mark]) -> None:
    """Draw each figure as a share of its bar."""
    shares = [max(0.0, mark.figure / mark.limit) for mark in marks]
    rows = range(len(marks))
    colours = [_PASSED if mark.passed else _MISSED for mark in marks]
    axes.barh(rows, [min(share, _MOST) for share in shares], color=colours)
    axes.axvline(1.0, color=_INK, linewidth=1, zorder=0.5)
    for row, mark, share in zip(rows, marks, shares, strict=True):
        label = f"{mark.figure:.3g} of {mark.limit:g} {mark.unit}".rstrip()
        inside = share > _MOST * 0.8
        axes.annotate(
            f"{label} >>" if share > _MOST else label,
            (min(share, _MOST), row),
            xytext=(-4 if inside else 4, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else _INK,
            fontsize=8,
            bbox=None if inside else _PAPER,
        )
    names = [f"{mark.scenario}: {mark.label}".replace("`", "") for mark in marks]
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlim(0, _MOST * 1.02)
    axes.set_xlabel("share of what the bar allows (left of the line: within it)")
    axes.set_title("Figures against their bars", loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _curves(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw latency over requests, for each schedule."""
    for curve in curves:
        asked = [point.requests for point in curve.points]
        late = [point.latency * 100 for point in curve.points]
        label = curve.name.replace("`", "")
        size = 4 if len(asked) > 1 else 9
        axes.plot(asked, late, marker="o", markersize=size, linewidth=1.3, label=label)
    axes.set_yscale("log")
    ticks = [2, 5, 10, 20, 50, 100]
    axes.set_yticks(ticks, [f"{tick} %" for tick in ticks])
    axes.set_ylim(2, 120)
    axes.minorticks_off()
    axes.set_xlabel("status requests for each task")
    axes.set_ylabel("mean latency, % of the mean task")
    axes.set_title("Schedules, one task at a time (simulated)", loc="left")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if curves:
        # The names of the bars above leave room on the left.
        axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(-0.12, 1))
