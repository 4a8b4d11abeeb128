"""Pages of candles of declared nodes: filled on demand in the live world, released ones in a frozen one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.dialects.market_data import CANDLE
from seamless_assets.errors import ReadRefused
from seamless_assets.flows.live.served.page import WORLD, load_page
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.dialects.visit import Served, Visit

WAIT_MS, SHORTEST_WAIT_MS = 8_000, 250
"""How long the fills of a request are waited for: clients of exchanges give up after ten seconds. Each read
of what is stored has the latter at least."""
PAGE_BARS = 5_000
"""A gap of a page is filled before it is answered, if it is no longer than this: none is."""
NO_ROWS = np.empty(0, dtype=CANDLE)


@dataclass(frozen=True, slots=True)
class Page:
    """Candles of a window, and until when all of them are known."""

    rows: np.ndarray
    until: int


class Pages:
    """Reads windows of whole bars for requests in dialects."""

    def __init__(self, pipeline: Seamless) -> None:
        self._aio = pipeline.aio
        self._sla = _waiting(self._aio.read_settings.sla, WAIT_MS)

    async def load(self, visit: Visit, node: NodeId, window: Segment, *, is_newest: bool) -> Page:
        """The bars of `window`, which had closed by the visit's clock; `is_newest`: none go after them.

        Raises `ReadRefused` for a live page on HOLD, and `NothingReleased` where nothing was known.
        """
        if visit.as_of is not None:
            return await self._load_released(visit, node, window, visit.as_of)
        if window.is_empty:
            return Page(NO_ROWS, window.end)
        return await self._load_live(visit, node, window, is_newest=is_newest)

    async def newest_end(self, visit: Visit, node: NodeId, closed: int) -> int:
        """Where the newest candles end: by now, in a world of the past with the last that were released."""
        if visit.as_of is None:
            return closed
        return min(closed, (await self._aio.released_window(node, visit.as_of)).end)

    async def _load_live(self, visit: Visit, node: NodeId, window: Segment, *, is_newest: bool) -> Page:
        sla = self._sla
        if visit.reads:
            waited_ms = int((monotonic() - visit.read_since) * 1_000)
            sla = _waiting(sla, max(WAIT_MS - waited_ms, SHORTEST_WAIT_MS))
        else:
            visit.read_since = monotonic()
            visit.hot_mark = self._aio.ports.hot.change_mark()
        page = await self._aio.portal.do(
            lambda ports: load_page(ports, node, window, visit.now, sla, is_newest=is_newest)
        )
        verdict, reasons = page.judgement.verdict, page.judgement.reasons
        is_whole = verdict == "PASS" and page.judgement.until == window.end
        visit.reads.append(
            Served(node, page.as_of, page.dataset_fingerprint, verdict, page.source, page.seq, is_whole)
        )
        if verdict == "HOLD":
            raise ReadRefused(f"{node}: {'; '.join(reasons)}")
        return Page(_rows(page.bars), page.judgement.until)

    async def _load_released(self, visit: Visit, node: NodeId, window: Segment, as_of: str) -> Page:
        released = await self._aio.released_window(node, as_of)
        held = window.intersect(released)
        if held.is_empty:
            return Page(NO_ROWS, min(window.end, released.end))
        result = await self._aio.read(node, *held, context=ComputeContext(WORLD, "backtest", as_of))
        read = result.metadata
        visit.reads.append(Served(node, read.as_of, read.dataset_fingerprint, read.verdict, read.source))
        return Page(_rows(result.bars), held.end)


def _waiting(own: SLAPolicy, wait_ms: int) -> SLAPolicy:
    """The policy of pages that wait so long in all."""
    return replace(
        own,
        max_wait_storage_ms=wait_ms,
        max_wait_backfill_ms=wait_ms,
        max_wait_live_ms=wait_ms,
        total_deadline_ms=wait_ms,
        max_sync_gap_bars=max(own.max_sync_gap_bars, PAGE_BARS),
    )


def _rows(bars: pa.Table) -> np.ndarray:
    rows = np.empty(bars.num_rows, dtype=CANDLE)
    for name in CANDLE.names or ():
        rows[name] = bars.column(name).to_numpy()
    return rows
