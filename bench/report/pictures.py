"""Pictures of rows: every ratio with its goal, and how time and memory grow with the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator
from PIL import Image

from bench.line import POINTS, Row
from bench.report.words import duration, number, ratio

MET, MISSED, TOLD, GOAL = "#1b9e77", "#c2410c", "#6b7280", "#16213a"
BAND, EDGE = "#f3f5f9", "#c9ced6"
SECONDS, MIB = "#0a7a5e", "#7c3aed"
RATIOS, GROWTH = "bench-ratios.png", "bench-growth.png"
WIDTH, DPI = 10.6, 180
"""Inches of both pictures: a point is as large as on the page at its full width."""
COLOURS = 64
"""So many of them are enough for flat drawings, which take a quarter of the bytes then."""
ACROSS = 4
"""Small pictures of growth in a row."""
TIMES = FuncFormatter(lambda value, _: f"{value:,g}x")


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the pictures into a folder; the files that were made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    if compared := [row for row in rows if row.ratio]:
        made.append(_ratios(compared, folder / RATIOS))
    if grown := [row for row in rows if row.facts.get(POINTS)]:
        made.append(_growth(grown, folder / GROWTH))
    return made


def _ratios(rows: Sequence[Row], path: Path) -> Path:
    """A dot for each line: left of 1 ours takes less; the mark is the goal. Subjects lie on bands."""
    figure = Figure(figsize=(WIDTH, 1.2 + 0.2 * len(rows)), dpi=DPI, layout="constrained")
    axis: Axes = figure.subplots()
    colours = [{True: MET, False: MISSED, None: TOLD}[row.is_met] for row in rows]
    for height, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        if row.spread:
            axis.plot(row.spread, (height, height), color=colour, lw=4, alpha=0.3, solid_capstyle="round")
        axis.plot(row.ratio, height, "o", ms=5.5, color=colour)
        if row.line.goal is not None:
            axis.plot(row.line.goal, height, "|", ms=11, mew=2, color=GOAL)
    start = 0
    for place, (_, found) in enumerate(groupby(rows, key=lambda row: row.line.subject)):
        end = start + len(list(found))
        if place % 2 == 0:
            axis.axhspan(start - 0.5, end - 0.5, color=BAND, lw=0, zorder=-2)
        start = end
    axis.axvline(1.0, color=GOAL, lw=0.8, zorder=-1)
    axis.set(xscale="log", ylim=(len(rows) - 0.5, -0.5))
    axis.set_yticks(range(len(rows)), [f"{row.line.name} / {row.line.peer}" for row in rows], fontsize=8)
    right = axis.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [ratio(row) for row in rows], fontsize=8)
    for labels in (axis.get_yticklabels(), right.get_yticklabels()):
        for label, colour, row in zip(labels, colours, rows, strict=True):
            label.set(color=colour if row.is_met is False else GOAL)
            label.set_fontweight("bold" if row.is_met is False else "normal")
    for side in (axis, right):
        side.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8, top=True, labeltop=True)
    axis.xaxis.set_major_formatter(TIMES)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[:].set_visible(False)
    right.spines[:].set_visible(False)
    axis.set_xlabel("ours / peer: left of 1x ours takes less", fontsize=9)
    signs = [
        *(Line2D([], [], marker="o", ls="", color=colour) for colour in (MET, MISSED, TOLD)),
        Line2D([], [], color=TOLD, lw=4, alpha=0.4),
        Line2D([], [], marker="|", ms=11, mew=2, ls="", color=GOAL),
    ]
    words = ["goal met", "goal missed", "no goal", "quartiles", "goal"]
    figure.legend(signs, words, loc="outside upper center", ncols=5, fontsize=9, frameon=False)
    return _saved(figure, path)


def _growth(rows: Sequence[Row], path: Path) -> Path:
    """A small picture for each line: how seconds and MiB grow as the work does, all to one scale."""
    down = math.ceil(len(rows) / ACROSS)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.75 * down), dpi=DPI, layout="constrained")
    grid = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    for axis, row in zip(axes, rows, strict=False):
        points = row.facts[POINTS]
        widest = points[-1][0] / points[0][0]
        axis.plot((1, widest), (1, widest), color=EDGE, lw=4, zorder=0)
        for place, colour, marker in ((1, SECONDS, "o"), (2, MIB, "s")):
            known = [(point[0] / points[0][0], point[place]) for point in points if point[place]]
            if len(known) > 1:
                sizes, values = zip(*known, strict=True)
                grown = [value / values[0] for value in values]
                axis.plot(sizes, grown, color=colour, marker=marker, ms=4, lw=1.6)
        axis.set_title(row.line.name, fontsize=8.5, loc="left", color=GOAL)
        ends = [_ends([point[1] for point in points], duration)]
        ends.append(_ends([point[2] for point in points], lambda peak: number(peak, "MiB")))
        for height, colour, told in zip((0.88, 0.76), (SECONDS, MIB), ends, strict=True):
            axis.text(0.04, height, told, color=colour, fontsize=7.5, transform=axis.transAxes)
    for axis in axes:
        axis.set(xscale="log", yscale="log")
        axis.xaxis.set_major_formatter(TIMES)
        axis.yaxis.set_major_formatter(TIMES)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_minor_locator(NullLocator())
        axis.tick_params(labelsize=7.5, color=EDGE)
        axis.spines[:].set_color(EDGE)
        axis.grid(alpha=0.3)
    for axis in axes[len(rows) :]:
        axis.set_axis_off()
    signs = [
        Line2D([], [], marker="o", color=SECONDS),
        Line2D([], [], marker="s", color=MIB),
        Line2D([], [], color=EDGE, lw=4),
    ]
    words = ["seconds", "peak of MiB", "as the work grows"]
    figure.legend(signs, words, loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    figure.supxlabel("size of the work beside the smallest", fontsize=9)
    return _saved(figure, path)


def _ends(values: Sequence[float | None], told: Callable[[float], str]) -> str:
    """What stands at the smallest size and at the largest."""
    if values[0] is None or values[-1] is None:
        return ""
    return f"{told(values[0])} → {told(values[-1])}"


def _saved(figure: Figure, path: Path) -> Path:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path
