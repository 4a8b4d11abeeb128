"""Where a series begins and ends on an exchange, found in a few requests by ever finer bars."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np

from seamless_assets.core.node import NodeId
from seamless_assets.core.plan import Page
from seamless_assets.core.segment import Segment
from seamless_assets.core.timeframe import Timeframe

OLDEST_MARKET = 1_230_940_800
"""2009-01-03, the first block; no crypto market is older."""
_COARSEST = ("1M", "1w", "1d", "6h", "4h", "1h")
_STEPS = ("1d", "1h", "1m")
Ask = Callable[[NodeId, Segment], Awaitable[Page]]


def ladder(node: NodeId, served: Iterable[str]) -> list[NodeId]:
    """The symbol's series from a coarse one down to `node`; a bar of each fits a page of the next."""
    names = set(served)
    coarser = [Timeframe(name) for name in _COARSEST if name in names]
    coarser = [frame for frame in coarser if frame > node.timeframe][:1]
    steps = [Timeframe(name) for name in _STEPS if name in names]
    coarser += [frame for frame in steps if coarser and coarser[0] > frame > node.timeframe]
    return [*(NodeId(node.exchange, node.symbol, frame) for frame in coarser), node]


async def first_open(ask: Ask, series: Sequence[NodeId], size: int, now: int) -> int | None:
    """Open of the first bar of the last of `series`; None where there is none.

    `size` is a page of the coarsest. Once listed, every page has bars, so the first is found by halving.
    Where finer bars are no longer kept, the coarse one says when.
    """
    pages = _coarse_pages(series[0], size, now)
    low, high, first = 0, len(pages), None
    while low < high:
        middle = (low + high) // 2
        opens = await _opens(ask, series[0], pages[middle])
        if len(opens):
            first, high = int(opens[0]), middle
        else:
            low = middle + 1
    for coarse, fine in pairwise(series):
        if first is None:
            return None
        opens = await _opens(ask, fine, Segment(first, coarse.timeframe.shift(first, 1)))
        first = int(opens[0]) if len(opens) else fine.timeframe.ceil(first)
    return first


async def last_close(ask: Ask, series: Sequence[NodeId], size: int, now: int) -> int | None:
    """Close of the last bar of the last of `series`; None where there is none."""
    last = None
    for page in reversed(_coarse_pages(series[0], size, now)):
        opens = await _opens(ask, series[0], page)
        if len(opens):
            last = int(opens[-1])
            break
    for coarse, fine in pairwise(series):
        if last is None:
            return None
        end = coarse.timeframe.shift(last, 1)
        opens = await _opens(ask, fine, Segment(fine.timeframe.ceil(last), end))
        last = int(opens[-1]) if len(opens) else fine.timeframe.shift(end, -1)
    return None if last is None else series[-1].timeframe.shift(last, 1)


def _coarse_pages(node: NodeId, size: int, now: int) -> list[Segment]:
    frame = node.timeframe
    first, last = frame.grid.index(OLDEST_MARKET), frame.grid.index(now) + 1
    starts = range(first, last, size)
    return [Segment(frame.grid.open(at), frame.grid.open(min(at + size, last))) for at in starts]


async def _opens(ask: Ask, node: NodeId, window: Segment) -> np.ndarray:
    return (await ask(node, window)).opens(node.timeframe)
