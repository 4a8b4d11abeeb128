"""Whether the rows that an exchange sent open where our bars do.

A row a little after an open is late by accident, and one anywhere inside a bar may be dated by its first
trade; both are floored. Rows that are off by much, and all by the same, are bars of another grid: each of
them holds trades of two of our bars, and shows nothing of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from seamless_assets.core.calendar.timeframe import WEEK, Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.errors import MisalignedTimeframe

LONGEST_TOLERANCE_S = 60
TOLERANCES_PER_BAR = 20
DAY = 86_400
MINUTE_MS = 60_000
MAX_EXAMPLES = 4


class OffGridRows(NamedTuple):
    """Rows of another grid: their times in ms, and how far each is after (before, if negative) ours, in ms.

    `is_grid`: most rows are of it, so that it is the exchange's own.
    """

    times: np.ndarray
    offsets: np.ndarray
    is_grid: bool


def floored(seconds: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    """Opens of the bars that hold the times (int64 epoch seconds, shape `(rows,)`)."""
    if timeframe.seconds is None:
        return np.array([timeframe.floor(int(ts)) for ts in seconds], dtype=np.int64)
    anchor = timeframe.floor(0)
    opens: np.ndarray = (seconds - anchor) // timeframe.seconds * timeframe.seconds + anchor
    return opens


def tolerance_ms(timeframe: Timeframe) -> int:
    """How long after an open a row may be dated and be taken for one dated at it."""
    return min(LONGEST_TOLERANCE_S * 1000, timeframe.approximate_seconds * 1000 // TOLERANCES_PER_BAR)


def off_grid_rows(times: np.ndarray, timeframe: Timeframe) -> OffGridRows | None:
    """The rows of another grid among those at `times` (sorted unique, ms); None where there are none.

    They are off by the same as the row before or after; a single row says nothing of its grid and is one
    of them. Where they are few among aligned ones, so are rows just before an open, which may be meant.
    """
    opens = floored(times // 1000, timeframe)
    lag = times - opens * 1000
    is_off = lag > tolerance_ms(timeframe)
    if not is_off.any():
        return None
    lead = np.array([timeframe.shift(int(ts), 1) for ts in opens]) * 1000 - times
    alike = is_off[1:] & is_off[:-1] & ((lag[1:] == lag[:-1]) | (lead[1:] == lead[:-1]))
    is_shared = np.append(alike, False) | np.append(False, alike)
    counted = is_shared | (is_off & (lag % MINUTE_MS == 0))
    is_grid = len(times) > 1 and bool(
        2 * np.count_nonzero(is_shared) >= len(times) or 2 * np.count_nonzero(counted) > len(times)
    )
    if is_grid:
        is_other = counted
    elif len(times) == 1:
        is_other = is_off
    elif 2 * np.count_nonzero(is_off) < len(times):
        is_other = is_shared | (is_off & (lead <= tolerance_ms(timeframe)))
    else:
        is_other = np.zeros(len(times), dtype=bool)
    if not is_other.any():
        return None
    return OffGridRows(times[is_other], (-lead if timeframe.is_calendar else lag)[is_other], is_grid)


def misaligned(node: NodeId, found: OffGridRows, served: Iterable[Timeframe]) -> MisalignedTimeframe:
    """The error for a node whose exchange keeps another grid; `served` are the exchange's timeframes.

    Bars may open at several hours, as days of a place with summer time do: `choices` are the finer
    timeframes whose bars begin and end with all of them.
    """
    frame = node.timeframe
    finer = sorted((f for f in served if f < frame and _divides(f, found.offsets)), reverse=True)
    way_out = f"declare {finer[0]} or finer instead" if finer else "declare a finer timeframe instead"
    values, counts = np.unique(found.offsets, return_counts=True)
    return MisalignedTimeframe(
        f"{node.exchange} serves {frame} candles of {node.symbol} on another grid: its {frame} bars open "
        f"{_when(frame, found)}. Nothing of them is stored; {way_out}",
        node_id=str(node),
        offset=float(values[counts.argmax()]) / 1000,
        choices=tuple(map(str, finer)),
    )


def _divides(finer: Timeframe, offsets: np.ndarray) -> bool:
    return finer.seconds is not None and bool((offsets % (finer.seconds * 1000) == 0).all())


def _when(frame: Timeframe, found: OffGridRows) -> str:
    """Where the bars open and where ours do: each place by its newest bar, the commonest place first."""
    values, counts = np.unique(found.offsets, return_counts=True)
    commonest = values[np.argsort(-counts, kind="stable")]
    examples = [int(found.times[found.offsets == offset][-1]) for offset in commonest]
    if frame.seconds == DAY:
        return f"at {_listed([_clock(at) for at in examples])}, ours at 00:00 UTC"
    if frame.seconds == WEEK:
        opens = _listed([f"{_moment(at):%A} at {_clock(at)}" for at in examples])
        return f"on {opens}, ours on Monday at 00:00 UTC"
    offset = int(commonest[0])
    distance, side = timedelta(milliseconds=abs(offset)), "before" if offset < 0 else "after"
    others = f" ({len(examples) - 1} other distances occur too)" if len(examples) > 1 else ""
    return f"{distance} {side} ours{others}, such as at {_moment(examples[0]):%Y-%m-%d} {_clock(examples[0])}"


def _listed(places: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(places))
    more = f" or {len(distinct) - MAX_EXAMPLES} other times" if len(distinct) > MAX_EXAMPLES else ""
    return " or ".join(distinct[:MAX_EXAMPLES]) + more


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(int(at) / 1000, UTC)


def _clock(at: int) -> str:
    moment = _moment(at)
    return f"{moment:%H:%M} UTC" if moment.second == 0 else f"{moment:%H:%M:%S} UTC"
