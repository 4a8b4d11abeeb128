"""Pictures for the UI, as Markdown with the PNG inside."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pyarrow as pa
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, RETENTION, Coverage

MAX_CANDLES = 120
COLORS = 32
TITLE_Y = 1.0
"""Where a title stands; to look for a place takes a fifth of the time of a picture."""
WIDTH_IN = 8.0
_CANDLE_EDGES = {"left": 0.09, "right": 0.98, "top": 0.92, "bottom": 0.11, "hspace": 0.08}
_STRIP_EDGES = {"left": 0.03, "right": 0.97, "top": 0.74, "bottom": 0.42}
UP, DOWN, ABSENT, UNPROVEN, LOST = "#1b9e77", "#d95f02", "#c9ced6", "#e6ab02", "#c2185b"
_COLORS = {MISSING: LOST, RETENTION: UNPROVEN, DECLARED: UNPROVEN}


def candles_picture(bars: pa.Table, title: str) -> str:
    """A candle chart with volume; many bars are drawn as fewer, wider candles."""
    # A fixed layout and lines for bodies: a picture takes a third of the time that others take.
    figure = Figure(figsize=(WIDTH_IN, 3.6), dpi=80)
    price, volume = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), gridspec_kw=_CANDLE_EDGES)
    price.set_title(title, fontsize=10, loc="left", y=TITLE_Y)
    if bars.num_rows:
        _draw_candles(price, volume, bars)
    for axis in (price, volume):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    volume.set_ylabel("volume", fontsize=8)
    return _markdown(figure, "candles")


def coverage_picture(coverage: Coverage, start: int, end: int) -> str:
    """A strip of the window: present, proven absent, out of retention or declared absent, missing."""
    figure = Figure(figsize=(WIDTH_IN, 0.9), dpi=80)
    axis = figure.subplots(gridspec_kw=_STRIP_EDGES)
    low, high = _days([start, end])
    axis.axvspan(low, high, color=UP, lw=0)
    for gap in coverage.gaps:
        axis.axvspan(*_days([gap.start, gap.end]), color=_COLORS.get(gap.reason, ABSENT), lw=0)
    axis.set_xlim(low, high)
    axis.set_yticks([])
    axis.tick_params(labelsize=8)
    _date_axis(axis)
    axis.set_title(coverage.counts, fontsize=9, loc="left", y=TITLE_Y)
    return _markdown(figure, "coverage")


def _draw_candles(price: Any, volume: Any, bars: pa.Table) -> None:
    every = max(1, -(-bars.num_rows // MAX_CANDLES))
    edges = np.arange(0, bars.num_rows, every)
    o, h, low, c, v = (bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    opens, closes = o[edges], c[np.append(edges[1:], bars.num_rows) - 1]
    highs, lows = np.maximum.reduceat(h, edges), np.minimum.reduceat(low, edges)
    x = _days(timestamps(bars)[edges])
    width = _body_width(x)
    colors = np.where(closes >= opens, UP, DOWN)
    price.vlines(x, lows, highs, color=colors, lw=0.8)
    # A candle that closes where it opened is a line, not nothing.
    flat = np.where(opens == closes, np.ptp(price.get_ylim()) / 400, 0)
    price.vlines(x, opens - flat, closes + flat, color=colors, lw=width)
    volume.vlines(x, 0, np.add.reduceat(v, edges), color=colors, lw=width)
    volume.set_ylim(bottom=0)
    _date_axis(volume)


def _body_width(x: np.ndarray) -> float:
    """Width of a candle's body in points, where the narrowest step between candles leaves some space."""
    if len(x) < 2:
        return 12.0
    step = float(np.min(np.diff(x)))
    share = step / (float(x[-1] - x[0]) * 1.1)
    return max(0.5, 0.7 * share * WIDTH_IN * 72 * (_CANDLE_EDGES["right"] - _CANDLE_EDGES["left"]))


def _date_axis(axis: Any) -> None:
    locator = mdates.AutoDateLocator(tz=UTC)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=UTC))


def _days(ts: Any) -> np.ndarray:
    days: np.ndarray = mdates.date2num([datetime.fromtimestamp(int(t), UTC) for t in ts])
    return days


def _markdown(figure: Figure, name: str) -> str:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    sink = io.BytesIO()
    # Every event holds its pictures, and few colours make them a third of the size.
    drawn.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        sink, "png", optimize=True
    )
    return f"![{name}](data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()})"
