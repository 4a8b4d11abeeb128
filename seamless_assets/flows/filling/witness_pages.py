"""Pages that are asked for as witnesses: each once in a call, and cut at the same places for all its chunks.

A page of hours spans weeks of minutes, so the chunks of a call share what few of them are needed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page, closed_part, known_opens
from seamless_assets.core.coverage.plan import SMALLEST_PAGE
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.node import NodeId
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import ask_or_none

T = TypeVar("T")
MOST_SHOWN = 96
"""Pieces of a call whose pages are kept for their neighbours: more than are filled at once."""
MAX_STEPS = 100
"""Pages on each side of a pause, before it is given up to find where it ends."""
FEWEST_LEFT_OUT = 3


class _Steps(NamedTuple):
    """Which way pages of `size` bars are asked for beyond one, and how many at most."""

    beyond: int
    step: int
    size: int
    most: int


@dataclass
class _Shown:
    """The pages that a piece of a call asked for of its own series, and whether it has asked for all."""

    pages: Sequence[Page]
    is_there: asyncio.Event = field(default_factory=asyncio.Event)


class WitnessPages:
    """What was asked for as a witness in one call to the flows; `closed` is the end of closed time.

    Pages are cut from `begin` on, where the call's own window begins, so that the fewest span it.
    """

    def __init__(self, ports: Ports, closed: int, begin: int = 0) -> None:
        self.closed = closed
        self._ports, self._begin = ports, begin
        self._flights = SingleFlight(ports.clock.now, math.inf)
        self._answers: dict[tuple[Any, ...], Any] = {}
        self._sizes: dict[NodeId, int] = {}
        self._shown: dict[tuple[NodeId, Segment], _Shown] = {}

    @contextmanager
    def asking(self, node: NodeId, bounds: Segment, pages: Sequence[Page]) -> Iterator[None]:
        """While a piece asks for its own `pages`, a list that grows; neighbours may wait for it."""
        shown = self._shown.get((node, bounds))
        if shown is None or shown.pages is not pages:
            # Whoever lost the lease of a piece asks anew.
            self._shown[node, bounds] = shown = _Shown(pages)
        try:
            yield
        finally:
            shown.is_there.set()
            if len(self._shown) > MOST_SHOWN:
                del self._shown[next(iter(self._shown))]

    async def beside(self, node: NodeId, bounds: Segment, window: Segment) -> list[Page]:
        """What other pieces of the call than that of `bounds` were sent of a window, or are just being sent.

        It waits for no more than their pages, which wait for nobody.
        """
        others = [
            shown
            for (whose, held), shown in self._shown.items()
            if whose == node and held != bounds and not held.intersect(window).is_empty
        ]
        for shown in others:
            await shown.is_there.wait()
        return [page for shown in others for page in shown.pages]

    async def over(self, node: NodeId, parts: Sequence[Segment]) -> list[Page]:
        """The pages over `parts` of closed time that came, ascending.

        Where they are cut, shorter ones are asked for, of this series from now on.
        """
        # Others of the call, and the exchange's own answers, may change the size while pages are waited for.
        size, numbers = self._size(node), set[int]()
        for start, stop in parts:
            numbers.update(self._numbers(node, Segment(start, max(start, min(stop, self.closed))), size))
        asked = [await self._page(node, number, size) for number in sorted(numbers)]
        pages = [page for page in asked if page is not None]
        cut = [page.served for page in pages if any(_is_cut_before(page, node, part) for part in parts)]
        if not cut or max(cut) >= size:
            return pages
        self._sizes[node] = min(max(cut), self._size(node))
        return await self.over(node, parts)

    async def around(self, node: NodeId, hole: Segment, most_steps: int = MAX_STEPS) -> list[Page] | None:
        """Pages side by side from the nearest bar before `hole` to the nearest after it.

        None where one of them does not come, or where no bar is found so many pages to a side.
        """
        size = self._size(node)
        numbers = self._numbers(node, hole, size)
        inside = [await self._page(node, number, size) for number in numbers]
        earlier, later = Segment(0, hole.start), Segment(hole.end, max(hole.end, self.closed))
        before = await self._until_a_bar(node, inside, _Steps(numbers.start, -1, size, most_steps), earlier)
        after = await self._until_a_bar(node, inside, _Steps(numbers.stop - 1, 1, size, most_steps), later)
        pages = [*before[::-1], *inside, *after]
        found = [page for page in pages if page is not None and page.is_whole]
        return found if len(found) == len(pages) and self._brackets(node, found, hole) else None

    async def trades(self, node: NodeId, window: Segment) -> Trades | None:
        """The first trades of `window`; None where the exchange gives no answer."""
        return await self._once(
            (node, "trades", window), lambda: self._ports.source.fetch_trades(node, window)
        )

    async def _until_a_bar(
        self, node: NodeId, inside: Sequence[Page | None], steps: _Steps, side: Segment
    ) -> list[Page | None]:
        """Pages beyond one, one after the other, until there is a bar on that `side`."""
        asked: list[Page | None] = []
        newest: Sequence[Page | None] = inside
        number, size = steps.beyond, steps.size
        while len(asked) < steps.most and all(page is not None for page in newest):
            if any(_has_bar(page, node, side) for page in newest if page is not None):
                break
            number += steps.step
            window = self._window(node, number, size)
            if not window.start < self.closed or window.end <= 0:
                break
            newest = [await self._page(node, number, size)]
            asked += newest
        return asked

    def _brackets(self, node: NodeId, pages: Sequence[Page], hole: Segment) -> bool:
        opens = known_opens(pages, node.timeframe)
        return bool(len(opens)) and bool(opens[0] < hole.start and opens[-1] >= hole.end)

    def _size(self, node: NodeId) -> int:
        return self._sizes.get(node) or self._ports.source.page_size(node)

    def _numbers(self, node: NodeId, part: Segment, size: int) -> range:
        grid = node.timeframe.grid
        if part.is_empty:
            return range(0)
        first = grid.index(self._begin)
        return range((grid.index(part.start) - first) // size, (grid.index(part.end - 1) - first) // size + 1)

    def _window(self, node: NodeId, number: int, size: int) -> Segment:
        grid = node.timeframe.grid
        first = grid.index(self._begin) + number * size
        start, end = grid.open(first), grid.open(first + size)
        return Segment(start, max(start, min(end, node.timeframe.floor(self.closed))))

    async def _page(self, node: NodeId, number: int, size: int) -> Page | None:
        window = self._window(node, number, size)
        return Page(window, empty_bars(), served=0) if window.is_empty else await self._candles(node, window)

    async def _candles(self, node: NodeId, window: Segment) -> Page | None:
        async def ask() -> Page:
            page = await self._ports.source.fetch_candles(node, window)
            return closed_part(page, node.timeframe, node.timeframe.floor(self.closed))

        return await self._once((node, window), ask)

    async def _once(self, key: tuple[Any, ...], ask: Callable[[], Awaitable[T]]) -> T | None:
        """The answer of one question of this call; None where the exchange gives none."""

        async def keep() -> None:
            self._answers[key] = await ask_or_none(self._ports, ask)

        if key not in self._answers:
            await self._flights.do(key, keep)
        answer: T | None = self._answers[key]
        return answer


def _has_bar(page: Page, node: NodeId, side: Segment) -> bool:
    low, high = np.searchsorted(page.opens(node.timeframe), side)
    return bool(low < high)


def _is_cut_before(page: Page, node: NodeId, part: Segment) -> bool:
    """Whether a page that was asked for `part` leaves out so many bars at that end that it may be full."""
    shown, part = page.witnessed(node.timeframe), part.intersect(page.asked)
    if shown is None or part.is_empty or page.served < SMALLEST_PAGE:
        return False
    count = node.timeframe.count
    head, tail = count(page.asked.start, shown.start), count(shown.end, page.asked.end)
    many = max(FEWEST_LEFT_OUT, page.served // 10)
    return (part.start < shown.start and head >= many) or (part.end > shown.end and tail >= many)
