"""Where a series begins and ends on an exchange, found in a few requests by ever finer bars."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise

import numpy as np

from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, InvalidTimeframe, MisalignedTimeframe

_COARSEST = ("1M", "1w", "1d", "6h", "4h", "1h")
_STEPS = ("1d", "1h", "1m")
HEEDED_BARS = 5
Ask = Callable[[NodeId, Segment], Awaitable[Page]]


def known_frames(names: Iterable[str]) -> list[Timeframe]:
    """The timeframes among a venue's names for them; some venues name others."""
    frames = []
    for name in names:
        with suppress(InvalidTimeframe):
            frames.append(Timeframe(name))
    return frames


@cache
def ascending_frames(names: tuple[str, ...]) -> tuple[Timeframe, ...]:
    """The same in their order; asked for with every page."""
    return tuple(sorted(known_frames(names)))


def ladder(node: NodeId, served: Iterable[str]) -> list[NodeId]:
    """The symbol's series from a coarse one down to `node`; a bar of each fits a page of the next."""
    names = {str(frame) for frame in known_frames(served)}
    coarser = [Timeframe(name) for name in _COARSEST if name in names]
    coarser = [frame for frame in coarser if frame > node.timeframe][:1]
    steps = [Timeframe(name) for name in _STEPS if name in names]
    coarser += [frame for frame in steps if coarser and coarser[0] > frame > node.timeframe]
    return [*(NodeId(node.exchange, node.symbol, frame) for frame in coarser), node]


async def first_open(ask: Ask, series: Sequence[NodeId], size: int, now: int) -> int | None:
    """Open of the first bar of the last of `series`; None where there is none.

    `size` is a page of the coarsest. Pages are asked from the first one on, as a market that was listed
    again after years has empty pages between others.
    """
    for page in _coarse_pages(series[0], size, now):
        opens = await opens_of(ask, series[0], page)
        if len(opens):
            return await first_within(ask, series, int(opens[0]))
    return None


async def first_within(ask: Ask, series: Sequence[NodeId], first: int) -> int:
    """Open of the first bar of the last of `series` that shares time with the first bar of the first of them.

    It may begin before that one, as weeks do with months. Where finer bars are no longer kept, the coarse
    one says when.
    """
    for coarse, fine in pairwise(series):
        start = fine.timeframe.floor(first)
        opens = await kept_opens(ask, fine, Segment(start, coarse.timeframe.shift(first, 1)))
        first = int(opens[0]) if len(opens) else start
    return first


async def oldest_allowed(ask: Ask, node: NodeId, refused: int, now: int) -> int | None:
    """Open of the oldest bar that is not refused for its age, `refused` being one that is.

    It is a few bars later than the true one, which moves on while it is used. Raises `ExchangeRefused`
    where the newest bars are refused too.
    """
    grid = node.timeframe.grid
    low, high = grid.index(refused), grid.index(now) - HEEDED_BARS
    await ask(node, Segment(grid.open(high), grid.open(high + HEEDED_BARS)))
    while high - low > 1:
        middle = (low + high) // 2
        try:
            await ask(node, Segment(grid.open(middle), grid.open(middle + HEEDED_BARS)))
        except ExchangeRefused:
            low = middle
        else:
            high = middle
    return grid.open(high + HEEDED_BARS)


async def last_close(ask: Ask, series: Sequence[NodeId], size: int, now: int) -> int | None:
    """Close of the last bar of the last of `series`; None where there is none."""
    last = None
    for page in reversed(_coarse_pages(series[0], size, now)):
        opens = await opens_of(ask, series[0], page)
        if len(opens):
            last = int(opens[-1])
            break
    for coarse, fine in pairwise(series):
        if last is None:
            return None
        end = coarse.timeframe.shift(last, 1)
        opens = await opens_of(ask, fine, Segment(fine.timeframe.floor(last), end))
        last = int(opens[-1]) if len(opens) else fine.timeframe.floor(end - 1)
    return None if last is None else series[-1].timeframe.shift(last, 1)


def _coarse_pages(node: NodeId, size: int, now: int) -> list[Segment]:
    frame = node.timeframe
    first, last = frame.grid.index(OLDEST_MARKET), frame.grid.index(now) + 1
    starts = range(first, last, size)
    return [Segment(frame.grid.open(at), frame.grid.open(min(at + size, last))) for at in starts]


def page_before(node: NodeId, at: int, size: int) -> Segment:
    """The page that ends at an open."""
    return Segment(node.timeframe.shift(at, -size), at)


async def opens_of(ask: Ask, node: NodeId, window: Segment) -> np.ndarray:
    """Opens of the bars of one page."""
    return (await ask(node, window)).opens(node.timeframe)


async def kept_opens(ask: Ask, node: NodeId, window: Segment) -> np.ndarray:
    """The same; none where the exchange refuses bars that old."""
    try:
        return await opens_of(ask, node, window)
    except MisalignedTimeframe:
        raise
    except ExchangeRefused:
        return np.array([], dtype=np.int64)
