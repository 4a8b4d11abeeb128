"""Pictures for the UI, as Markdown with the PNG inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from seamless_assets.core.bars.table import COLUMNS, timestamps
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, RETENTION, Coverage
from seamless_assets.defs.nodes.ticks import number_ticks, time_ticks

MAX_CANDLES = 120
COLORS = 32
WIDTH, CANDLES_HEIGHT, STRIP_HEIGHT = 640, 288, 72
TICK, TEXT, TITLE = 4, 11, 13
WIDEST_BODY = 12
UP, DOWN, ABSENT, UNPROVEN, LOST = "#1b9e77", "#d95f02", "#c9ced6", "#e6ab02", "#c2185b"
INK, PAPER = "#000000", "#ffffff"
_COLORS = {MISSING: LOST, RETENTION: UNPROVEN, DECLARED: UNPROVEN}


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, in pixels from its upper left corner."""

    left: int
    top: int
    right: int
    bottom: int


PRICES, VOLUMES = Box(72, 24, 616, 190), Box(72, 200, 616, 254)
STRIP = Box(22, 20, 616, 42)


@dataclass(frozen=True, slots=True)
class Candles:
    """What is drawn of bars: at most `MAX_CANDLES`, each of one bar or of several, `step` seconds apart."""

    at: list[int]
    step: int
    opens: np.ndarray
    highs: np.ndarray
    lows: np.ndarray
    closes: np.ndarray
    volumes: np.ndarray


def candles_picture(bars: pa.Table, title: str) -> str:
    """A candle chart with volume; many bars are drawn as fewer, wider candles."""
    image, draw = _blank(CANDLES_HEIGHT)
    draw.text((PRICES.left, PRICES.top - 8), title, INK, _font(TITLE), "ls")
    draw.text((4, VOLUMES.top - 2), "volume", INK, _font(TEXT), "lm")
    if bars.num_rows:
        _draw_candles(draw, _candles_of(bars))
        first, last = (_minute(int(at)) for at in timestamps(bars)[[0, -1]])
        _foot(draw, VOLUMES, f"opens from {first} to {last} UTC")
    for box in (PRICES, VOLUMES):
        draw.line((box.left, box.top, box.left, box.bottom, box.right, box.bottom), INK)
    return _markdown(image, "candles")


def coverage_picture(coverage: Coverage, start: int, end: int) -> str:
    """A strip of the window: present, proven absent, out of retention or declared absent, missing."""
    image, draw = _blank(STRIP_HEIGHT)
    across = _scale(start, end, STRIP.left, STRIP.right)
    draw.rectangle((STRIP.left, STRIP.top, STRIP.right, STRIP.bottom), UP)
    for gap in coverage.gaps:
        color = _COLORS.get(gap.reason, ABSENT)
        draw.rectangle((across(gap.start), STRIP.top, across(gap.end), STRIP.bottom), color)
    draw.rectangle((STRIP.left, STRIP.top, STRIP.right, STRIP.bottom), outline=INK)
    draw.text((STRIP.left, STRIP.top - 6), coverage.counts, INK, _font(TITLE), "ls")
    _time_axis(draw, STRIP, start, end)
    _foot(draw, STRIP, f"{_minute(start)} to {_minute(end)} UTC")
    return _markdown(image, "coverage")


def _candles_of(bars: pa.Table) -> Candles:
    edges = np.arange(0, bars.num_rows, max(1, -(-bars.num_rows // MAX_CANDLES)))
    o, h, low, c, v = (bars[name].to_numpy() for name in COLUMNS[1:])
    at = timestamps(bars)[edges]
    return Candles(
        at.tolist(),
        int(np.diff(at).min()) if len(at) > 1 else 1,
        o[edges],
        np.maximum.reduceat(h, edges),
        np.minimum.reduceat(low, edges),
        c[np.append(edges[1:], bars.num_rows) - 1],
        np.add.reduceat(v, edges),
    )


def _draw_candles(draw: ImageDraw.ImageDraw, candles: Candles) -> None:
    start, end, step = candles.at[0], candles.at[-1] + candles.step, candles.step
    across = _scale(start, end, PRICES.left, PRICES.right)
    body = max(1, min(WIDEST_BODY, int(0.7 * (across(start + step) - across(start)))))
    bottom, top = float(candles.lows.min()), float(candles.highs.max())
    # Of prices that are all the same, the one that there is lies in the middle.
    space = (top - bottom) * 0.05 or abs(top) * 0.01 or 1.0
    price = _number_axis(draw, PRICES, bottom - space, top + space, 6)
    volume = _number_axis(draw, VOLUMES, 0.0, float(candles.volumes.max()) or 1.0, 3)
    lefts = [round((across(at) + across(at + step) - body) / 2) for at in candles.at]
    rows = zip(
        lefts,
        *(values.tolist() for values in (candles.opens, candles.highs, candles.lows, candles.closes)),
        candles.volumes.tolist(),
        strict=True,
    )
    for left, opened, high, low, closed, traded in rows:
        color, right, middle = UP if closed >= opened else DOWN, left + body - 1, left + body // 2
        draw.line((middle, price(high), middle, price(low)), color)
        draw.rectangle((left, price(max(opened, closed)), right, price(min(opened, closed))), color)
        draw.rectangle((left, volume(traded), right, VOLUMES.bottom), color)
    _time_axis(draw, VOLUMES, start, end)


def _scale(low: float, high: float, first: int, last: int) -> Callable[[float], int]:
    """The pixel of each value, where `low` lies at `first` and `high` at `last`."""
    per_unit = (last - first) / (high - low)
    return lambda value: round(first + (value - low) * per_unit)


def _number_axis(
    draw: ImageDraw.ImageDraw, box: Box, low: float, high: float, most: int
) -> Callable[[float], int]:
    """Draw the ticks at the left of a box; the height at which a number lies in it."""
    height = _scale(low, high, box.bottom, box.top)
    for value, text in number_ticks(low, high, most):
        draw.line((box.left - TICK, height(value), box.left, height(value)), INK)
        draw.text((box.left - TICK - 3, height(value)), text, INK, _font(TEXT), "rm")
    return height


def _time_axis(draw: ImageDraw.ImageDraw, box: Box, start: int, end: int) -> None:
    """Draw the ticks below a box."""
    across = _scale(start, end, box.left, box.right)
    for at, text in time_ticks(start, end):
        draw.line((across(at), box.bottom, across(at), box.bottom + TICK), INK)
        draw.text((across(at), box.bottom + TICK + 2), text, INK, _font(TEXT), "mt")


def _foot(draw: ImageDraw.ImageDraw, box: Box, text: str) -> None:
    draw.text((box.right, box.bottom + 28), text, INK, _font(TEXT), "rs")


def _minute(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def _blank(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (WIDTH, height), PAPER)
    return image, ImageDraw.Draw(image)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _markdown(image: Image.Image, name: str) -> str:
    sink = io.BytesIO()
    # Every event holds its pictures, and few colours make them a third of the size.
    image.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        sink, "png", optimize=True
    )
    return f"![{name}](data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()})"
