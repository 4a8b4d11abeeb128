"""Whether the rows that an exchange sent open where our bars do.

A row a little after an open is a slip, and one anywhere inside a bar may be told by its first trade; both
are floored. Rows that are off by much, and all by the same, are bars of another grid: each of them holds
trades of two of our bars, and shows nothing of either.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from seamless_assets.core.calendar.timeframe import WEEK, Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.errors import MisalignedTimeframe

LONGEST_SLIP_S = 60
SLIPS_PER_BAR = 20
DAY = 86_400
MINUTE_MS = 60_000


class Strays(NamedTuple):
    """Rows of another grid: their opens in ms, and how far after (before, if negative) ours, in seconds.

    `is_grid`: most rows are of it, so that it is the exchange's own.
    """

    opens: np.ndarray
    offset: float
    is_grid: bool


def floored(seconds: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    """Opens of the bars that hold the times (int64 epoch seconds, shape `(rows,)`)."""
    if timeframe.seconds is None:
        return np.array([timeframe.floor(int(ts)) for ts in seconds], dtype=np.int64)
    anchor = timeframe.floor(0)
    opens: np.ndarray = (seconds - anchor) // timeframe.seconds * timeframe.seconds + anchor
    return opens


def slip_ms(timeframe: Timeframe) -> int:
    """How long after an open a row may be told and be taken for one that is told at it."""
    return min(LONGEST_SLIP_S * 1000, timeframe.approximate_seconds * 1000 // SLIPS_PER_BAR)


def strays(sent: np.ndarray, timeframe: Timeframe) -> Strays | None:
    """The rows of another grid among those `sent` (sorted unique opens in ms); None where there are none.

    They are off by the same as the row before or after; a single row says nothing of its grid and is one
    of them. Where they are few among aligned ones, so are rows just before an open, which may be meant.
    """
    opens = floored(sent // 1000, timeframe)
    lag = sent - opens * 1000
    is_off = lag > slip_ms(timeframe)
    if not is_off.any():
        return None
    lead = np.array([timeframe.shift(int(ts), 1) for ts in opens]) * 1000 - sent
    alike = is_off[1:] & is_off[:-1] & ((lag[1:] == lag[:-1]) | (lead[1:] == lead[:-1]))
    is_shared = np.append(alike, False) | np.append(False, alike)
    counted = is_shared | (is_off & (lag % MINUTE_MS == 0))
    is_grid = len(sent) > 1 and bool(
        2 * np.count_nonzero(is_shared) >= len(sent) or 2 * np.count_nonzero(counted) > len(sent)
    )
    if is_grid:
        astray = counted
    elif len(sent) == 1:
        astray = is_off
    elif 2 * np.count_nonzero(is_off) < len(sent):
        astray = is_shared | (is_off & (lead <= slip_ms(timeframe)))
    else:
        astray = np.zeros(len(sent), dtype=bool)
    if not astray.any():
        return None
    told = -lead if timeframe.is_calendar else lag
    values, counts = np.unique(told[astray], return_counts=True)
    return Strays(sent[astray], float(values[counts.argmax()]) / 1000, is_grid)


def misaligned(node: NodeId, found: Strays, served: Iterable[Timeframe]) -> MisalignedTimeframe:
    """The error for a node whose exchange keeps another grid; `served` are the exchange's timeframes."""
    frame = node.timeframe
    finer = sorted((f for f in served if f < frame and _divides(f, found.offset)), reverse=True)
    way_out = f"declare {finer[0]} or finer instead" if finer else "declare a finer timeframe instead"
    return MisalignedTimeframe(
        f"{node.exchange} serves {frame} candles of {node.symbol} on another grid: its {frame} bars open "
        f"{_when(frame, found)}. Nothing of them is stored; {way_out}",
        node_id=str(node),
        offset=found.offset,
        choices=tuple(map(str, finer)),
    )


def _divides(finer: Timeframe, offset: float) -> bool:
    return finer.seconds is not None and offset % finer.seconds == 0


def _when(frame: Timeframe, found: Strays) -> str:
    example = datetime.fromtimestamp(int(found.opens[-1]) / 1000, UTC)
    clock = f"{example:%H:%M} UTC" if example.second == 0 else f"{example:%H:%M:%S} UTC"
    ours = datetime.fromtimestamp(frame.floor(int(found.opens[-1]) // 1000), UTC)
    if frame.seconds == DAY:
        return f"at {clock}, ours at 00:00 UTC"
    if frame.seconds == WEEK:
        return f"on {example:%A} at {clock}, ours on {ours:%A} at 00:00 UTC"
    distance = timedelta(seconds=abs(found.offset))
    side = "before" if found.offset < 0 else "after"
    return f"{distance} {side} ours, such as at {example:%Y-%m-%d} {clock}"
