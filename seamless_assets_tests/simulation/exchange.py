"""The exchange of a run: seeded bars with holes, page caps, revisions, refusals, and a count of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.plan import Page
from seamless_assets.core.coverage.proof import Reach, Trades
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import ExchangeUnavailable, RateLimited
from seamless_assets.flows.sharing.budget import RateGate
from seamless_assets.testing.twins import candles
from seamless_assets_tests.simulation.fate import Wire
from seamless_assets_tests.simulation.loop import SimLoop

Row = tuple[float, ...]
BELIEVED_PAGE = 30
SMALLEST_PAGE = 10
KEY = "rl:simulated"
BUDGET = Budget(tokens_per_interval=20, interval_ms=5_000, burst=6)
LONGEST_SILENCE = 4
"""Bars; with one on each side it fits into the smallest page, so that every hole can be proven."""
FORMING = 0.125
"""Share of its volume that a bar has while it forms."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the gate let go: when (true time), from whom, for what."""

    at: float
    worker: str
    node: NodeId
    window: Segment


@dataclass(frozen=True, slots=True)
class CoolDown:
    """A time in which all workers had been told to ask nothing."""

    told: float
    until: float


class Exchange:
    """What really happened on the market, and who asked for it. `bars` hold every value a bar ever had."""

    def __init__(self, loop: SimLoop, rng: Random, nodes: Sequence[NodeId], span: Segment) -> None:
        self.loop = loop
        self.span = span
        self.bars = {
            node: _market(Random(f"{rng.random()}"), span, node.timeframe.seconds or 60) for node in nodes
        }
        self.listed = {node: min(bars) for node, bars in self.bars.items()}
        self.page = rng.randint(SMALLEST_PAGE, BELIEVED_PAGE)
        self.requests: list[Request] = []
        self.cool_downs: list[CoolDown] = []
        self.corrected: set[NodeId] = set()
        self.is_revising = True
        self.refusing = 0.0
        self._rng = rng

    def values(self, node: NodeId, ts: int) -> list[Row]:
        """Every value that the closed bar ever had; none where there was no trade."""
        return self.bars[node].get(ts, [])

    def revise(self) -> None:
        """Change the newest closed bars of one node, as long as it revises at all."""
        if not self.is_revising:
            return
        node = self._rng.choice(list(self.bars))
        now = self.loop.time()
        closed = [ts for ts in self.bars[node] if now - 600 <= ts < now - 60]
        for ts in closed[-2:]:
            o, h, low, c, v = self.bars[node][ts][-1]
            self.bars[node][ts].append((o, h, low, c, v + 1.0))
            self.corrected.add(node)

    def serve(self, node: NodeId, window: Segment) -> Page:
        """Answer one request. Raises `RateLimited` and `ExchangeUnavailable`."""
        now = self.loop.time()
        luck = self._rng.random()
        if luck < self.refusing:
            raise ExchangeUnavailable(f"503 for {node}", status=503)
        if luck < 1.5 * self.refusing:
            raise RateLimited("429", status=429, retry_after=self._rng.choice([None, 5.0, 20.0]))
        opened = [ts for ts in self.bars[node] if window.start <= ts < window.end and ts <= now]
        sent = opened[: self.page]
        return Page(window, candles([(ts, *self._shown(node, ts, now)) for ts in sent]), served=len(sent))

    def _shown(self, node: NodeId, ts: int, now: float) -> Row:
        row = self.bars[node][ts][-1]
        return (*row[:4], row[4] * FORMING) if node.timeframe.shift(ts, 1) > now else row


class Source:
    """The exchange as one worker reaches it; satisfies the flows' `CandleSource`."""

    def __init__(self, exchange: Exchange, wire: Wire, gate: RateGate) -> None:
        self._exchange = exchange
        self._wire = wire
        self._gate = gate
        self._believed = BELIEVED_PAGE
        self._reach: dict[NodeId, Reach] = {}

    async def check_node(self, node: NodeId) -> None:
        await self._wire.look("check_node", lambda: None)

    def documented_page(self, node: NodeId) -> int:
        return BELIEVED_PAGE

    def page_size(self, node: NodeId) -> int:
        return self._believed

    def learn_page_size(self, node: NodeId, size: int) -> None:
        self._believed = size

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        await self._gate.acquire(KEY, BUDGET, 1.0)
        now, worker = self._exchange.loop.time, self._wire.worker.name
        self._exchange.requests.append(Request(now(), worker, node, window))
        try:
            return await self._wire("fetch_candles", lambda: self._exchange.serve(node, window))
        except RateLimited as error:
            if pause := error.facts.get("retry_after"):
                until = now() + pause
                await self._gate.cool_down(KEY, BUDGET, pause)
                self._exchange.cool_downs.append(CoolDown(now(), until))
            raise

    async def exchange_now(self, exchange: str) -> float:
        return await self._wire.look("exchange_now", self._exchange.loop.time)

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        return await self._wire.look("fetch_trades", lambda: Trades(window, np.array([])))

    def reach(self, node: NodeId) -> Reach:
        return self._reach.get(node, Reach())

    async def first_listed(self, node: NodeId) -> int | None:
        listed = await self._wire.look("first_listed", lambda: self._exchange.listed[node])
        self._reach[node] = Reach(listed=listed)
        return listed

    async def oldest_served(self, node: NodeId) -> int | None:
        return await self._wire.look("oldest_served", lambda: None)

    async def is_delisted(self, node: NodeId) -> bool:
        return await self._wire.look("is_delisted", lambda: False)

    async def last_traded(self, node: NodeId) -> int | None:
        return await self._wire.look("last_traded", lambda: None)

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        return ()

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        return ()

    def volume_unit(self, node: NodeId) -> None:
        return None


def _market(rng: Random, span: Segment, step: int) -> dict[int, list[Row]]:
    """Bars by open, ascending, each with its first value; some are left out."""
    sparse = rng.choice([0.0, 0.1, 0.4])
    first = span.start + rng.choice([0, 0, 0, 25]) * step
    bars: dict[int, list[Row]] = {}
    for ts in range(first, span.end, step):
        is_edge = ts == first or ts == span.end - step
        if rng.random() >= sparse or is_edge or ts - max(bars) > LONGEST_SILENCE * step:
            price = 100.0 + rng.randint(-50, 50)
            bars[ts] = [(price, price + 2, price - 2, price + 1, float(rng.randint(1, 9)))]
    return bars
