"""The picture of the first page: bars made by seed, their coverage, and the releases with their real fingerprints."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

import seamless_assets as sa
from seamless_assets.testing import START, make_bars

NODE, INTERVAL, BARS = "ohlcv:binance:BTC/USDT:1h", 3_600, 36
ABSENT, MISSING = (13, 14), (33,)
"""Bars that nobody traded, and one that nobody can account for."""
RELEASES = (14, 26, 36)
"""How many of the bars each release holds."""
WIDTH, HEIGHT, LEFT, STEP = 640, 520, 34, 15.9
TOP, DEPTH = 92, 196
RISE, FALL, QUIET, TEXT = "#2dd4a7", "#ff8a5c", "#8fa3c7", "#f5f7fa"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "Inter, 'Segoe UI', system-ui, sans-serif"


def hero() -> str:
    """An SVG of a day and a half of hours, as the pipeline sees them."""
    bars = make_bars(START, START + BARS * INTERVAL, "1h", seed=11)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{SANS}">',
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="16" fill="#0a1224" fill-opacity=".72" stroke="#ffffff" stroke-opacity=".14"/>',
        text(LEFT, 40, NODE, 17, TEXT, font=MONO),
        text(LEFT, 64, "36 bars: 33 present, 2 absent with proof, 1 missing", 14, QUIET),
        *candles(bars),
        *strip(),
        *releases(bars),
        "</svg>\n",
    ]
    return "\n".join(parts)


def text(
    x: float, y: float, words: str, size: int, fill: str, font: str = SANS, anchor: str = "start"
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" font-family="{font}" text-anchor="{anchor}">{words}</text>'


def candles(bars: pa.Table) -> Iterator[str]:
    """A candle for each present bar; the others are a hatched place."""
    low, high = pc.min(bars["low"]).as_py(), pc.max(bars["high"]).as_py()

    def y(price: float) -> float:
        return TOP + DEPTH * (high - price) / (high - low)

    for number, bar in enumerate(bars.to_pylist()):
        x = LEFT + number * STEP
        if number in (*ABSENT, *MISSING):
            colour = FALL if number in MISSING else QUIET
            yield f'<rect x="{x:.1f}" y="{TOP}" width="10.4" height="{DEPTH}" rx="3" fill="{colour}" fill-opacity=".13" stroke="{colour}" stroke-opacity=".55" stroke-dasharray="2 4"/>'
            continue
        colour = RISE if bar["close"] >= bar["open"] else FALL
        top, bottom = y(max(bar["open"], bar["close"])), y(min(bar["open"], bar["close"]))
        yield f'<path d="M{x + 5.2:.1f} {y(bar["high"]):.1f}V{y(bar["low"]):.1f}" stroke="{colour}" stroke-width="1.8"/>'
        yield f'<rect x="{x:.1f}" y="{top:.1f}" width="10.4" height="{max(bottom - top, 2):.1f}" rx="2" fill="{colour}"/>'


def strip() -> Iterator[str]:
    """What is known of each bar, and the words of it."""
    place = TOP + DEPTH + 18
    for number in range(BARS):
        colour = FALL if number in MISSING else "#5c7099" if number in ABSENT else RISE
        yield f'<rect x="{LEFT + number * STEP:.1f}" y="{place}" width="13.6" height="9" rx="2" fill="{colour}"/>'
    for x, colour, words in (
        (LEFT, RISE, "present"),
        (LEFT + 110, "#5c7099", "absent: no_trades"),
        (LEFT + 290, FALL, "missing: asked for again"),
    ):
        yield f'<circle cx="{x + 5}" cy="{place + 30}" r="5" fill="{colour}"/>'
        yield text(x + 16, place + 35, words, 14, "#cfd9ec")


def releases(bars: pa.Table) -> Iterator[str]:
    """The release log: each record with the fingerprint of the bars that it puts in force."""
    yield text(LEFT, 392, "releases: each as_of reads the same bars for ever", 14, QUIET)
    kept = [number for number in range(BARS) if number not in (*ABSENT, *MISSING)]
    for place, count in enumerate(RELEASES):
        held = bars.take([number for number in kept if number < count])
        digest = sa.fingerprint(held, node_id=NODE, interval=INTERVAL).removeprefix("sha256:")
        x = LEFT + place * 194
        yield f'<rect x="{x}" y="408" width="184" height="82" rx="9" fill="#ffffff" fill-opacity=".06" stroke="{RISE}" stroke-opacity=".5"/>'
        yield text(x + 14, 434, f"seq {place + 1}", 15, TEXT, font=MONO)
        yield text(x + 170, 434, f"{len(held)} bars", 13, QUIET, anchor="end")
        yield text(x + 14, 456, f"sha256:{digest[:11]}…", 13, RISE, font=MONO)
        yield text(x + 14, 477, "holds the hash before" if place else "begins the chain", 12, QUIET)
        if place:
            yield f'<path d="M{x - 9} 449h8m-4 -4l4 4l-4 4" stroke="{RISE}" stroke-width="1.8" fill="none"/>'
