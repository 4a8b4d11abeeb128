"""The exchange's stream as one process gets it: steady, or with everything that streams are known to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, fields, replace
from random import Random

from seamless_assets.core.live.feed.update import AtOnce, CandleUpdate, Streamed, never
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable
from seamless_assets.testing import InMemoryExchange, InMemoryStream
from seamless_assets.testing.exchange import SENT_AT, Delivery
from seamless_assets_tests.simulation.market import Market
from seamless_assets_tests.simulation.process import Machine

LATEST_S = 0.4
"""How much later than another message one may come that was sent before it."""
AHEAD_OF_CLOSE_S = 1.0
"""A forming bar that is marked as closed is marked so at the latest this long before it closes."""


@dataclass(frozen=True, slots=True)
class StreamRates:
    """How likely each fault is.

    For each message: the connection `drop`s, or is `silent` from then on; the message comes `twice`, `late`,
    or `early`: marked as closed though it forms; an `old` bar is sent beside it, as it is by now. For each
    bar: it is `skipped`. For each connection: it is `refused`, or begins with a `stale` snapshot.
    """

    drop: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    early: float = 0.0
    old: float = 0.0
    skipped: float = 0.0
    silent: float = 0.0
    refused: float = 0.0
    stale: float = 0.0

    @classmethod
    def drawn(cls, rng: Random) -> StreamRates:
        """Faults of a few kinds, more or less likely."""
        kinds = rng.sample([field.name for field in fields(cls)], rng.randint(0, 6))
        # A connection begins seldom.
        likely = {kind: (0.3, 0.6) if kind in ("refused", "stale") else (0.05, 0.2, 0.5) for kind in kinds}
        return cls(**{kind: rng.choice(chances) for kind, chances in likely.items()})


class FaultyStream:
    """Satisfies the flows' `CandleStream`, over what really happened in a market.

    It is well from the moment at which the market's `is_unsteady` is no more.
    """

    def __init__(self, market: Market, rng: Random, rates: StreamRates, *, marks_closed: bool) -> None:
        self._market, self._rng, self._rates = market, rng, rates
        exchange = InMemoryExchange(series=market.series, clock=Machine(market.loop))
        self._stream = InMemoryStream(exchange, marks_closed, deliver=self._deliver)
        self._is_silent: dict[int, bool] = {}
        """Of each connection so far."""
        self._is_skipped: dict[tuple[int, int], bool] = {}

    async def streamed(self, exchange: str) -> Streamed | None:
        return await self._stream.streamed(exchange)

    def updates(self, node: NodeId, at_once: AtOnce = never) -> AsyncGenerator[CandleUpdate, None]:
        return self._stream.updates(node, at_once)

    @property
    def open(self) -> list[NodeId]:
        """Nodes of the connections that are open."""
        return self._stream.open

    def _strikes(self, chance: float) -> bool:
        return self._market.is_unsteady and self._rng.random() < chance

    def _deliver(self, node: NodeId, update: CandleUpdate) -> Sequence[Delivery]:
        rates, connection = self._rates, update.connection
        if connection not in self._is_silent:
            self._is_silent[connection] = False
            if self._strikes(rates.refused):
                raise ExchangeUnavailable("the connection was refused", status=None)
            if self._strikes(rates.stale):
                return [(0.0, self._stale(node, update))]
        if self._strikes(rates.drop):
            raise ExchangeUnavailable("the connection dropped", status=None)
        self._is_silent[connection] |= self._strikes(rates.silent / 2)
        if self._is_silent[connection] and self._market.is_unsteady:
            return []
        bar = (update.connection, update.ts)
        if self._is_skipped.setdefault(bar, self._strikes(rates.skipped)):
            return []
        if self._strikes(rates.early) and self._market.loop.time() < update.ts + 60 - AHEAD_OF_CLOSE_S:
            update = replace(update, is_closed=True)
        late = self._late(update) if self._strikes(rates.late) else 0.0
        sent = [(late, update)]
        if self._strikes(rates.twice):
            sent.append((self._rng.random() * LATEST_S, update))
        if self._strikes(rates.old):
            sent.append((0.0, self._old(node, update)))
        return sent

    def _late(self, update: CandleUpdate) -> float:
        """How late a message comes: the last one of a bar may come after the first one of the next."""
        left = update.ts + 60 * (1 + SENT_AT[0]) - self._market.loop.time()
        is_last = left < 60 * SENT_AT[0]
        return (left if is_last else 0.0) + self._rng.random() * LATEST_S

    def _old(self, node: NodeId, update: CandleUpdate) -> CandleUpdate:
        """An earlier bar as it is by now, marked as closed."""
        earlier = [ts for ts in sorted(self._market.series[node]) if ts < update.ts][-4:]
        if not earlier:
            return update
        ts = self._rng.choice(earlier)
        o, h, low, c, v = self._market.series[node][ts]
        return replace(update, ts=ts, values=(o, h, low, c, v), is_closed=True)

    def _stale(self, node: NodeId, update: CandleUpdate) -> CandleUpdate:
        """The newest bar that has closed as it was while it formed, marked as if that were its end."""
        closed = [ts for ts in sorted(self._market.series[node]) if ts + 60 <= self._market.loop.time()]
        o, h, low, c, v = self._market.series[node][closed[-1]]
        return replace(update, ts=closed[-1], values=(o, h, low, c, v / 8), is_closed=True)
