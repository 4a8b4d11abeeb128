"""Pictures for the UI, as Markdown with the PNG inside."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.coverage.coverage import MISSING, Coverage

MOST_CANDLES = 120
UP, DOWN, ABSENT, LOST = "#1b9e77", "#d95f02", "#c9ced6", "#c2185b"


def candles_picture(bars: pa.Table, title: str) -> str:
    """A candle chart with volume; many bars are drawn as fewer, wider candles."""
    figure = Figure(figsize=(8, 3.6), dpi=80, layout="constrained")
    price, volume = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    price.set_title(title, fontsize=10, loc="left")
    if bars.num_rows:
        _draw_candles(price, volume, bars)
    for axis in (price, volume):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    volume.set_ylabel("volume", fontsize=8)
    return _markdown(figure, "candles")


def coverage_picture(coverage: Coverage, start: int, end: int) -> str:
    """A strip of the window: present, proven absent, missing."""
    figure = Figure(figsize=(8, 0.9), dpi=80, layout="constrained")
    axis = figure.subplots()
    low, high = _days([start, end])
    axis.axvspan(low, high, color=UP, lw=0)
    for gap in coverage.gaps:
        axis.axvspan(*_days([gap.start, gap.end]), color=LOST if gap.reason == MISSING else ABSENT, lw=0)
    axis.set_xlim(low, high)
    axis.set_yticks([])
    axis.tick_params(labelsize=8)
    _date_axis(axis)
    axis.set_title(
        f"{coverage.present} present, {coverage.absent} absent with proof, {coverage.missing} missing",
        fontsize=9,
        loc="left",
    )
    return _markdown(figure, "coverage")


def _draw_candles(price: Any, volume: Any, bars: pa.Table) -> None:
    every = max(1, -(-bars.num_rows // MOST_CANDLES))
    edges = np.arange(0, bars.num_rows, every)
    o, h, low, c, v = (bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    opens, closes = o[edges], c[np.append(edges[1:], bars.num_rows) - 1]
    highs, lows = np.maximum.reduceat(h, edges), np.minimum.reduceat(low, edges)
    x = _days(timestamps(bars)[edges])
    width = float(np.min(np.diff(x))) * 0.7 if len(x) > 1 else 0.01
    colors = np.where(closes >= opens, UP, DOWN)
    price.vlines(x, lows, highs, color=colors, lw=0.8)
    price.bar(x, closes - opens, width, bottom=opens, color=colors)
    volume.bar(x, np.add.reduceat(v, edges), width, color=colors)
    _date_axis(volume)


def _date_axis(axis: Any) -> None:
    locator = mdates.AutoDateLocator(tz=UTC)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=UTC))


def _days(ts: Any) -> np.ndarray:
    days: np.ndarray = mdates.date2num([datetime.fromtimestamp(int(t), UTC) for t in ts])
    return days


def _markdown(figure: Figure, name: str) -> str:
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    return f"![{name}](data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()})"
