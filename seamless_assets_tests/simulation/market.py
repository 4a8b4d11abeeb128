"""The exchange of a run: seeded bars with holes, page caps, revisions, refusals, and a count of requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.coverage.proof import Reach
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import ExchangeUnavailable, RateLimited
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.testing import InMemoryExchange
from seamless_assets_tests.simulation.faults import Channel
from seamless_assets_tests.simulation.process import Machine
from seamless_assets_tests.simulation.scheduler import SeededLoop

Row = tuple[float, ...]
BELIEVED_PAGE = 30
SMALLEST_PAGE = 10
KEY = "rl:simulated"
BUDGET = Budget(tokens_per_interval=20, interval_ms=5_000, burst=6)
LONGEST_SILENCE = 4
"""Bars; with one on each side it fits into the smallest page, so that every hole can be proven."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the gate let go: when (true time), from whom, for what."""

    at: float
    process: str
    node: NodeId
    window: Segment


@dataclass(frozen=True, slots=True)
class CoolDown:
    """A time in which all processes had been asked to send nothing."""

    asked_at: float
    until: float


class Market:
    """What really happened, and who asked for it. `history` holds every value that a bar ever had.

    With `disorder` it draws from that in which order the rows of a page are sent.
    """

    def __init__(
        self,
        loop: SeededLoop,
        rng: Random,
        nodes: Sequence[NodeId],
        span: Segment,
        disorder: Random | None = None,
    ) -> None:
        self.loop = loop
        self.span = span
        self.history = {
            node: _history(Random(f"{rng.random()}"), span, node.timeframe.seconds or 60) for node in nodes
        }
        self.series = {
            node: {ts: rows[-1] for ts, rows in bars.items()} for node, bars in self.history.items()
        }
        self.listed = {node: min(bars) for node, bars in self.history.items()}
        self.page = rng.randint(SMALLEST_PAGE, BELIEVED_PAGE)
        self._disorder = disorder or Random(0)
        orders = [list, _newest_first, self._shuffled]
        self.arrange: Callable[[list[Row]], list[Row]] = disorder.choice(orders) if disorder else list
        self.requests: list[Request] = []
        self.cool_downs: list[CoolDown] = []
        self.corrected: set[NodeId] = set()
        self.unsound: set[tuple[NodeId, int]] = set()
        self.is_revising = True
        self.is_unsteady = True
        self.refusing = 0.0
        self._rng = rng

    def values(self, node: NodeId, ts: int) -> list[Row]:
        """Every value that the closed bar ever had; none where there was no trade."""
        return self.history[node].get(ts, [])

    def is_sound(self, node: NodeId, window: Segment) -> bool:
        """Whether every bar of `window` is one that can be."""
        return not any(of == node and window.start <= ts < window.end for of, ts in self.unsound)

    def correct(self, node: NodeId, ts: int) -> Row:
        """Give a bar another volume; the bar as it is now."""
        o, h, low, c, v = self.series[node][ts]
        self.series[node][ts] = (o, h, low, c, v + 1.0)
        self.history[node][ts].append(self.series[node][ts])
        self.corrected.add(node)
        return self.series[node][ts]

    def revise(self) -> None:
        """Correct the newest closed bars of one node, as long as it revises at all."""
        if not self.is_revising:
            return
        node = self._rng.choice(list(self.series))
        now = self.loop.time()
        for ts in [ts for ts in self.series[node] if now - 600 <= ts < now - 60][-2:]:
            self.correct(node, ts)

    def _shuffled(self, rows: list[Row]) -> list[Row]:
        """Rows in any order, one of them sent twice, as pages that overlap have it."""
        more = [*rows, *self._disorder.sample(rows, min(1, len(rows)))]
        return self._disorder.sample(more, len(more))

    def send_unsound(self, node: NodeId, ts: int) -> None:
        """From now on the exchange sends this bar with its high below its low."""
        o, h, low, c, v = self.series[node][ts]
        self.series[node][ts] = (o, low, h, c, v)
        self.unsound.add((node, ts))

    def refuse(self, window: Segment, asked: int) -> None:
        """Raise `RateLimited` or `ExchangeUnavailable` as often as it is `refusing`."""
        luck = self._rng.random()
        if luck < self.refusing:
            raise ExchangeUnavailable(f"503 for {window}", status=503)
        if luck < 1.5 * self.refusing:
            raise RateLimited("429", status=429, retry_after=self._rng.choice([None, 5.0, 20.0]))


class FaultyExchange:
    """Satisfies the flows' `CandleSource`: the market as one process reaches it, with a memory of its own."""

    def __init__(self, market: Market, channel: Channel, gate: RateGate) -> None:
        self._market = market
        self._channel = channel
        self._gate = gate
        self._reach: dict[NodeId, Reach] = {}
        self._exchange = InMemoryExchange(
            series=market.series,
            clock=Machine(market.loop),
            page=market.page,
            believed_page=BELIEVED_PAGE,
            documented=BELIEVED_PAGE,
            fault=market.refuse,
            arrange=market.arrange,
        )

    async def check_node(self, node: NodeId) -> None:
        await self._channel.ask("check_node", lambda: self._exchange.check_node(node))

    async def check_trades(self, node: NodeId) -> None:
        await self._channel.ask("check_trades", lambda: self._exchange.check_trades(node))

    def documented_page(self, node: NodeId) -> int:
        return self._exchange.documented_page(node)

    def page_size(self, node: NodeId) -> int:
        return self._exchange.page_size(node)

    def learn_page_size(self, node: NodeId, size: int) -> None:
        self._exchange.learn_page_size(node, size)

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        await self._gate.acquire(KEY, BUDGET, 1.0)
        now, process = self._market.loop.time, self._channel.process.name
        self._market.requests.append(Request(now(), process, node, window))
        try:
            return await self._channel.call(
                "fetch_candles", lambda: self._exchange.fetch_candles(node, window)
            )
        except RateLimited as error:
            if pause := error.facts.get("retry_after"):
                until = now() + pause
                await self._gate.cool_down(KEY, BUDGET, pause)
                self._market.cool_downs.append(CoolDown(now(), until))
            raise

    def clock_skew(self, exchange: str) -> float:
        return self._exchange.clock_skew(exchange)

    async def exchange_now(self, exchange: str) -> float:
        return await self._channel.ask("exchange_now", lambda: self._exchange.exchange_now(exchange))

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        return await self._channel.ask("fetch_trades", lambda: self._exchange.fetch_trades(node, window))

    async def reach(self, node: NodeId, window: Segment) -> Reach:
        return self._reach.get(node, Reach())

    async def forget_listing(self, node: NodeId) -> None:
        self._reach.pop(node, None)

    async def first_listed(self, node: NodeId) -> int | None:
        await self._channel.ask("first_listed", lambda: self._exchange.first_listed(node))
        self._reach[node] = Reach(listed=self._market.listed[node])
        return self._market.listed[node]

    async def oldest_served(self, node: NodeId) -> int | None:
        return await self._channel.ask("oldest_served", lambda: self._exchange.oldest_served(node))

    async def is_delisted(self, node: NodeId) -> bool:
        return await self._channel.ask("is_delisted", lambda: self._exchange.is_delisted(node))

    async def last_traded(self, node: NodeId) -> int | None:
        return await self._channel.ask("last_traded", lambda: self._exchange.last_traded(node))

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        return ()

    def finer(self, node: NodeId) -> tuple[NodeId, ...]:
        return ()

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        return ()

    def volume_unit(self, node: NodeId) -> VolumeUnit | None:
        return self._exchange.volume_unit(node)


def _newest_first(rows: list[Row]) -> list[Row]:
    return rows[::-1]


def _history(rng: Random, span: Segment, step: int) -> dict[int, list[Row]]:
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
