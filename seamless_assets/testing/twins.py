"""In-memory twins of what flows touch, for tests of the flows alone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pyarrow as pa

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.plan import Page
from seamless_assets.core.coverage.proof import Reach, Trades
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import Event
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.quota import LeaseQuota

DAY = 86_400
START = 1_735_689_600
"""2025-01-01T00:00:00Z"""


@dataclass
class TwinClock:
    """Time that moves only when somebody waits; a wait without end moves nothing."""

    time: float = START + 10 * DAY

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if math.isinf(seconds):
            await asyncio.Event().wait()
        self.time += seconds


@dataclass
class HeardEvents:
    """An observer that remembers."""

    events: list[Event] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class TwinExchange:
    """An exchange that holds `bars`, pages at `page` rows, and fails as `fault` says.

    `series` are other bars by node: other symbols are peers, coarser ones witnesses.
    """

    bars: dict[int, tuple[float, ...]]
    clock: TwinClock
    page: int = 1000
    believed_page: int = 1000
    documented: int | None = None
    listed: int | None = None
    oldest: int | None = None
    delisted: int | None = None
    series: dict[NodeId, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    trades: list[float] = field(default_factory=list)
    newest_first: bool = False
    fault: Callable[[Segment, int], None] = lambda _window, _asked: None
    asked: list[Segment] = field(default_factory=list)
    asked_trades: list[Segment] = field(default_factory=list)
    known: Reach = Reach()

    async def check_node(self, node: NodeId) -> None:
        return None

    def documented_page(self, node: NodeId) -> int:
        return self.documented or self.page

    def page_size(self, node: NodeId) -> int:
        return self.believed_page

    def learn_page_size(self, node: NodeId, size: int) -> None:
        self.believed_page = size

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        self.asked.append(window)
        self.fault(window, len(self.asked))
        bars = self.series.get(node, self.bars)
        opens = sorted(ts for ts in bars if window.start <= ts < window.end)
        sent = opens[-self.page :] if self.newest_first else opens[: self.page]
        return Page(window, candles([(ts, *bars[ts]) for ts in sent]), served=len(sent))

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        self.asked_trades.append(window)
        inside = [at for at in sorted(self.trades) if window.start <= at][:1000]
        return Trades(window, np.array(inside))

    async def exchange_now(self, exchange: str) -> float:
        return self.clock.now()

    def reach(self, node: NodeId) -> Reach:
        return self.known

    async def first_listed(self, node: NodeId) -> int | None:
        self.known = replace(self.known, listed=self.listed)
        return self.listed

    async def oldest_served(self, node: NodeId) -> int | None:
        self.known = replace(self.known, oldest=self.oldest)
        return self.oldest

    async def is_delisted(self, node: NodeId) -> bool:
        return self.delisted is not None

    async def last_traded(self, node: NodeId) -> int | None:
        return self.delisted

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        return tuple(
            sorted((n for n in self.series if n.timeframe > node.timeframe), key=lambda n: n.timeframe)
        )

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        return tuple(n for n in self.series if n.symbol != node.symbol and n.timeframe == node.timeframe)


def candles(rows: Sequence[tuple[float, ...]]) -> pa.Table:
    """Rows `(ts in seconds, o, h, l, c, v)` as an exchange sends them, `ts` in ms."""
    columns = list(zip(*[(int(row[0]) * 1000, *row[1:]) for row in rows], strict=True)) or [()] * 6
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)


def walk(
    start: int, end: int, step: int = 60, skip: float = 0.0, seed: int = 7
) -> dict[int, tuple[float, ...]]:
    """Made-up bars by open; a share `skip` of them is left out."""
    rng = np.random.default_rng(seed)
    price = 100.0
    bars: dict[int, tuple[float, ...]] = {}
    for ts in range(start, end, step):
        close = price * (1 + rng.normal(0, 0.001))
        if rng.random() >= skip:
            bars[ts] = (
                price,
                max(price, close) * 1.0005,
                min(price, close) * 0.9995,
                close,
                rng.random() * 9,
            )
        price = close
    return bars


def ports(tmp_path: object, exchange: TwinExchange, policy: Policy | None = None) -> Ports:
    """Ports over real embedded stores and the given exchange; leases never run out, nor are they renewed."""
    policy = replace(policy or Policy(retry_backoff_ms=10), lease_ttl_ms=math.inf)
    return Ports(
        clock=exchange.clock,
        source=exchange,
        hot=SqliteHotStore(tmp_path / "hot.sqlite"),  # type: ignore[operator]
        artifacts=ArtifactStore(str(tmp_path / "artifacts")),  # type: ignore[operator]
        policy=policy,
        rng=Random(7),
        leases=MachineLeases(tmp_path / "leases.sqlite"),  # type: ignore[operator]
        observer=HeardEvents(),
        flights=SingleFlight(exchange.clock.now, policy.single_flight_ttl_ms / 1000),
        worker="tests:1:0",
        quota=LeaseQuota(),
    )
