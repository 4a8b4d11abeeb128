"""Pictures of rows: every ratio with its goal, and how time and memory grow with the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.line import Row

MET, MISSED, TOLD, GOAL = "#1b9e77", "#d95f02", "#7f8794", "#333333"
POINTS = "points"
"""The fact of a row that holds how it grew: size, seconds, MiB."""


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the pictures into a folder; the files that were made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    if compared := [row for row in rows if row.ratio]:
        made.append(_ratios(compared, folder / "bench-ratios.png"))
    if grown := [row for row in rows if row.facts.get(POINTS)]:
        made.append(_growth(grown, folder / "bench-growth.png"))
    return made


def _ratios(rows: Sequence[Row], path: Path) -> Path:
    """A dot for each line: left of 1 ours takes less; the mark is the goal."""
    figure = Figure(figsize=(9, 1 + 0.22 * len(rows)), dpi=110, layout="constrained")
    axis: Axes = figure.subplots()
    for height, row in enumerate(rows):
        colour = {True: MET, False: MISSED, None: TOLD}[row.is_met]
        if row.spread:
            axis.plot(row.spread, (height, height), color=colour, lw=3, alpha=0.35, solid_capstyle="round")
        axis.plot(row.ratio, height, "o", ms=5, color=colour)
        if row.line.goal is not None:
            axis.plot(row.line.goal, height, "|", ms=11, mew=2, color=GOAL)
    axis.axvline(1.0, color="#c9ced6", lw=1, zorder=0)
    axis.set_xscale("log")
    axis.set_yticks(range(len(rows)), [f"{row.line.name}  /  {row.line.peer}" for row in rows], fontsize=7)
    axis.invert_yaxis()
    axis.margins(y=0.01)
    axis.grid(axis="x", alpha=0.25)
    axis.set_xlabel("ours / peer, with quartiles; the mark is the goal, less is better", fontsize=8)
    return _saved(figure, path)


def _growth(rows: Sequence[Row], path: Path) -> Path:
    """Seconds and MiB over the size of the work, both logarithmic; the grey lines are linear."""
    figure = Figure(figsize=(10, 4.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, place, what in ((left, 1, "seconds"), (right, 2, "MiB")):
        for row in rows:
            points = [(point[0], point[place]) for point in row.facts[POINTS] if point[place]]
            if len(points) > 1:
                axis.plot(*zip(*points, strict=True), "o-", ms=3, lw=1.2, label=row.line.name)
        axis.set(xscale="log", yscale="log", xlabel="size of the work", ylabel=what)
        axis.grid(alpha=0.25)
        low, high = axis.get_xlim()
        bottom, top = axis.get_ylim()
        for start in (bottom, bottom * 100, bottom / 100):
            axis.plot((low, high), (start, start * high / low), color="#c9ced6", lw=0.8, zorder=0)
        axis.set(xlim=(low, high), ylim=(bottom, top))
    left.legend(fontsize=6, loc="upper left")
    return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure).print_png(str(path))
    return path
