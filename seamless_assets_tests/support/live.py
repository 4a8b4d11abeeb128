"""A market on virtual time, and those who follow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.live.events import Bar, Event, Filled, Gap, Revised
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import (
    START,
    InMemoryExchange,
    InMemoryHotStore,
    InMemoryLeaseStore,
    VirtualClock,
    in_memory_ports,
    random_walk,
)

HOUR = 3_600
NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
POLICY = Policy(retry_backoff_ms=100, max_attempts=2)


@dataclass
class LiveMarket:
    """An exchange whose clock begins at `now`; stores that all `process`es share."""

    nodes: Sequence[NodeId] = (NODE,)
    now: float = START + 6 * HOUR + 10
    skip: float = 0.0
    hot: InMemoryHotStore = field(default_factory=InMemoryHotStore)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.now)
        series = {
            node: random_walk(START, START + 24 * HOUR, node.timeframe.seconds or 60, self.skip, seed)
            for seed, node in enumerate(self.nodes)
        }
        self.exchange = InMemoryExchange(series=series, clock=self.clock, listed=START)
        self.leases = InMemoryLeaseStore(self.clock)

    def process(self, name: str = "one", **more: Any) -> Ports:
        """The ports of another process."""
        ports = in_memory_ports(
            self.exchange,
            policy=POLICY,
            hot=self.hot,
            leases=self.leases,
            worker=name,
            seed=len(name),
            **more,
        )
        return replace(ports, flights=SingleFlight(self.clock.now, 60.0))

    def truth(self, node: NodeId, since: float, until: float) -> dict[int, Any]:
        """The bars as the exchange has them now."""
        return {ts: row for ts, row in self.exchange.series[node].items() if since <= ts < until}

    def correct(self, node: NodeId, ts: int, volume: float) -> None:
        """Give a bar another volume."""
        self.exchange.series[node][ts] = (*self.exchange.series[node][ts][:4], volume)


def request(
    nodes: Iterable[NodeId], since: Any, until: float | None = None, max_lag: float = 120.0
) -> StreamRequest:
    """What a subscriber asks for."""
    return StreamRequest.parse(nodes, since, until, None, max_lag)


async def collect(ports: Ports, asked: StreamRequest) -> list[Event]:
    """All events up to the end of the stream."""
    return [event async for event in subscribe(ports, asked)]


def lasting(events: Iterable[Event]) -> list[Event]:
    """The events that a cursor counts."""
    return [event for event in events if isinstance(event, Bar | Filled | Revised | Gap)]


def shown(events: Iterable[Event], node: NodeId = NODE) -> Mapping[int, Any]:
    """The bars as whoever has read the events knows them; each must be told in its turn, and once."""
    bars: dict[int, Any] = {}
    last = -1
    for event in events:
        if event.node_id != str(node):
            continue
        if isinstance(event, Bar):
            assert event.ts > last, f"{event} is out of order"
            last = event.ts
        if isinstance(event, Bar | Filled):
            assert event.ts not in bars, f"{event} was told twice"
        if isinstance(event, Revised):
            assert bars[event.ts] == event.before != event.values, f"{event} corrects what was not told"
        if isinstance(event, Bar | Filled | Revised):
            bars[event.ts] = event.values
    return bars
