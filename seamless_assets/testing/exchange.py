"""An exchange in memory: bars by open, served in pages, as honest or as odd as a test wants it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Self

import numpy as np

from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.coverage.proof import Reach
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.live.feed.update import AtOnce, CandleUpdate, Streamed, never
from seamless_assets.core.node import NodeId
from seamless_assets.core.wire.listing import Listing
from seamless_assets.core.wire.upstream import UpstreamAnswer
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable, UnknownSymbol
from seamless_assets.flows.ports import Clock
from seamless_assets.testing.bars import START, Row, candles
from seamless_assets.testing.clock import ManualClock

Delivery = tuple[float, CandleUpdate]
"""An update, and how many seconds after it was sent it comes."""
MAX_TRADES = 1_000
FORMING = 0.125
"""Share of its volume that a bar has while it forms."""
SENT_AT = (0.02, 0.6)
LATENCY_S = 0.05
"""How long after its close a stream says that a bar has closed."""


@dataclass
class InMemoryExchange:
    """Satisfies the flows' `CandleSource`: serves `bars` for every node, in pages of at most `page` rows.

    `series` are other bars by node: other symbols are peers, coarser ones witnesses. What its clock has not
    come to is not served, and a bar that forms has but a share of its volume. It believes its pages to hold
    `believed_page` bars until it learns better, and documents `documented` (None: the truth). `listed`
    (`listings` by node), `oldest` and `delisted` are what a search for the series' ends finds; `volume` is
    what its volumes count, `trades` the times of trades (None: one in the middle of each bar with a volume),
    `tape` trades with their prices and amounts by node, in pages of at most `trades_page`. `arrange` puts the
    rows of a page into the order in which they are sent.
    `fault` is called with the window of each request and its number (from 1), and
    may raise what an exchange would; while it `is_away` every request raises `ExchangeUnavailable`. `asked`
    and `asked_trades` are the windows of all requests so far.
    """

    bars: dict[int, Row] = field(default_factory=dict)
    clock: Clock = field(default_factory=ManualClock)
    page: int = 1000
    believed_page: int = 1000
    documented: int | None = None
    listed: int | None = None
    listings: dict[NodeId, int] = field(default_factory=dict)
    oldest: int | None = None
    delisted: int | None = None
    series: dict[NodeId, dict[int, Row]] = field(default_factory=dict)
    trades: list[float] | None = None
    tape: dict[NodeId, list[tuple[float, float, float]]] = field(default_factory=dict)
    trades_page: int = MAX_TRADES
    newest_first: bool = False
    arrange: Callable[[list[Row]], list[Row]] = list
    is_away: bool = False
    fault: Callable[[Segment, int], None] = lambda _window, _asked: None
    asked: list[Segment] = field(default_factory=list)
    asked_trades: list[Segment] = field(default_factory=list)
    known: dict[NodeId, Reach] = field(default_factory=dict)
    volume: VolumeUnit | None = None
    _of_symbols: tuple[list[NodeId], dict[str, list[NodeId]]] = field(
        default=([], {}), init=False, repr=False, compare=False
    )
    """The nodes of `series` when they were last put in order, and those of each symbol, the finest first."""

    @classmethod
    def serving(cls, series: Mapping[str | NodeId, Mapping[int, Row]], now: float | None = None) -> Self:
        """An honest exchange of these series by node, its clock at `now` (None: an hour after the last bar).

        Each series is taken to begin with its first bar.
        """
        parsed = {NodeId.parse(node): dict(bars) for node, bars in series.items()}
        ends = [node.timeframe.shift(max(bars), 1) for node, bars in parsed.items() if bars]
        clock = ManualClock(max(ends, default=START) + 3_600 if now is None else now)
        begins = {node: min(bars) for node, bars in parsed.items() if bars}
        return cls(series=parsed, clock=clock, listings=begins)

    async def check_node(self, node: NodeId) -> None:
        """Raise `UnknownSymbol` for a node without bars."""
        self._bars(node)

    async def check_trades(self, node: NodeId) -> None:
        """Raise `UnknownSymbol` for a node without bars or a tape."""
        if node not in self.tape:
            self._bars(node)

    async def list_symbols(self, exchange: str) -> list[str]:
        """The symbols of its series."""
        await self._answer()
        return sorted({node.symbol for node in self.series if node.exchange == exchange})

    async def market_list(self, exchange: str, at: float | None = None) -> dict[str, Listing] | None:
        """None: it says nothing of its markets but their symbols."""
        return {}

    async def ask_public(self, exchange: str, path: str, query: str) -> UpstreamAnswer:
        """Raises `ExchangeRefused`: it speaks no HTTP."""
        await self._answer()
        raise ExchangeRefused("the exchange in memory answers no requests over HTTP", status=None)

    async def requests_made(self, exchange: str) -> int:
        """Pages that were asked for of all exchanges."""
        return len(self.asked) + len(self.asked_trades)

    def documented_page(self, node: NodeId) -> int:
        """The most bars a page holds as documented."""
        return self.documented or self.page

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold."""
        return self.believed_page

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Believe that pages are cut at `size` bars."""
        self.believed_page = size

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """The candles that open in `window`, as many as a page holds."""
        self.asked.append(window)
        number = len(self.asked)
        await self._answer()
        self.fault(window, number)
        bars, end = self._bars(node), min(window.end, int(self.clock.now()) + 1)
        opens = sorted(ts for ts in bars if window.start <= ts < end)
        sent = opens[-self.page :] if self.newest_first else opens[: self.page]
        rows = self.arrange([(ts, *self._shown(node, ts, bars[ts])) for ts in sent])
        return Page(window, candles(rows), served=len(rows))

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        """The first trades from the start of `window` on, as many as a page holds."""
        self.asked_trades.append(window)
        await self._answer()
        now = self.clock.now()
        if node in self.tape:
            sent = [one for one in self.tape[node] if window.start <= one[0] <= now][: self.trades_page]
            times, prices, amounts = np.array(sent).reshape(-1, 3).T
            return Trades(window, times, prices=prices, amounts=amounts)
        inside = [at for at in self._trades(node, window.start) if window.start <= at <= now]
        return Trades(window, np.array(inside[:MAX_TRADES]))

    def clock_skew(self, exchange: str) -> float:
        """None: whoever is tested has its clock."""
        return 0.0

    async def exchange_now(self, exchange: str) -> float:
        """Its clock."""
        await self._answer()
        return self.clock.now()

    async def reach(self, node: NodeId, window: Segment) -> Reach:
        """Where the series begins and ends, as far as that was searched for."""
        return self._known(node)

    async def forget_listing(self, node: NodeId) -> None:
        """Know where the node's series begins no more, until that is searched again."""
        self.known[node] = replace(self._known(node), listed=None)

    async def first_listed(self, node: NodeId) -> int | None:
        """The node's entry in `listings`, else `listed`; known from now on."""
        await self._answer()
        listed = self.listings.get(node, self.listed)
        self.known[node] = replace(self._known(node), listed=listed)
        return listed

    async def oldest_served(self, node: NodeId) -> int | None:
        """`oldest`, known from now on."""
        await self._answer()
        self.known[node] = replace(self._known(node), oldest=self.oldest)
        return self.oldest

    async def is_delisted(self, node: NodeId) -> bool:
        """Whether there is a `delisted`."""
        await self._answer()
        return self.delisted is not None

    async def last_traded(self, node: NodeId) -> int | None:
        """`delisted`."""
        await self._answer()
        return self.delisted

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        """The coarser of `series`, the finest first."""
        return tuple(n for n in self._of_symbol(node.symbol) if n.timeframe > node.timeframe)

    def finer(self, node: NodeId) -> tuple[NodeId, ...]:
        """The finer of `series`, the longest first."""
        finer = [n for n in self._of_symbol(node.symbol) if n.timeframe < node.timeframe]
        return tuple(reversed(finer))

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Other symbols among `series` in the same timeframe."""
        return tuple(n for n in self.series if n.symbol != node.symbol and n.timeframe == node.timeframe)

    def volume_unit(self, node: NodeId) -> VolumeUnit | None:
        """`volume`, for every node."""
        return self.volume

    def _of_symbol(self, symbol: str) -> list[NodeId]:
        """Nodes of a symbol, the finest first."""
        # Tests change `series` as they like: it is compared each time, which takes less than a search.
        if (known := list(self.series)) != self._of_symbols[0]:
            ordered: dict[str, list[NodeId]] = {}
            for node in sorted(known, key=lambda n: n.timeframe):
                ordered.setdefault(node.symbol, []).append(node)
            self._of_symbols = known, ordered
        return self._of_symbols[1].get(symbol, [])

    def _trades(self, node: NodeId, start: int) -> list[float]:
        if self.trades is not None:
            return sorted(self.trades)
        bars, frame = self._bars(node), node.timeframe
        traded = sorted(ts for ts, row in bars.items() if ts >= frame.floor(start) and row[4] > 0)
        return [(ts + frame.shift(ts, 1)) / 2 for ts in traded]

    def _known(self, node: NodeId) -> Reach:
        return self.known.get(node, Reach())

    def shown(self, node: NodeId, ts: int) -> Row:
        """A bar as the exchange tells of it now."""
        return self._shown(node, ts, self._bars(node)[ts])

    def opens(self, node: NodeId) -> list[int]:
        """Opens of all bars of a node, ascending, those of the future too."""
        return sorted(self._bars(node))

    def _shown(self, node: NodeId, ts: int, row: Row) -> Row:
        is_forming = node.timeframe.shift(ts, 1) > self.clock.now()
        return (*row[:4], row[4] * FORMING) if is_forming else row

    def _bars(self, node: NodeId) -> dict[int, Row]:
        if node not in self.series and not self.bars and self.series:
            known = tuple(str(other) for other in self.series)
            raise UnknownSymbol(
                f"{node} has no bars in the exchange in memory; add it to `series`, which holds {known}",
                symbol=node.symbol,
                choices=known,
            )
        return self.series.get(node, self.bars)

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise ExchangeUnavailable("the exchange in memory is away, because a test said so", status=None)


@dataclass
class InMemoryStream:
    """Satisfies the flows' `CandleStream`: sends the bars of an exchange in memory as they form and close.

    The first message of a connection is the newest bar as it stands. After it each bar is sent at `SENT_AT`
    of its length, and at its close, then marked as closed if `marks_closed`. `deliver` is called with each
    update and says which ones come in its place, and how late; what it raises ends the connection. `offers`
    is what `streamed` says. `connected` are the nodes of all connections so far, `open` those of the ones
    that are not closed.
    """

    exchange: InMemoryExchange
    marks_closed: bool = True
    offers: Streamed | None = "candles"
    deliver: Callable[[NodeId, CandleUpdate], Sequence[Delivery]] = lambda _node, update: [(0.0, update)]
    connected: list[NodeId] = field(default_factory=list)
    open: list[NodeId] = field(default_factory=list)
    _messages: int = 0

    async def streamed(self, exchange: str) -> Streamed | None:
        """`offers`, for every exchange."""
        return self.offers

    async def updates(self, node: NodeId, at_once: AtOnce = never) -> AsyncGenerator[CandleUpdate, None]:
        """What is sent of a node from now on, until closed, and `at_once` says no to."""
        self.connected.append(node)
        self.open.append(node)
        connection, clock = len(self.connected), self.exchange.clock
        coming: list[tuple[float, int, CandleUpdate]] = []
        numbers = count()
        try:
            for at, ts in self._sent(node, clock.now()):
                while coming and coming[0][0] <= at:
                    due, _, update = heapq.heappop(coming)
                    await self._until(due)
                    if not at_once(update):
                        yield update
                await self._until(at)
                self._messages += 1
                for late, update in self.deliver(node, self._update(node, ts, connection)):
                    heapq.heappush(coming, (at + late, next(numbers), update))
            await asyncio.Event().wait()
        finally:
            self.open.remove(node)

    def _sent(self, node: NodeId, now: float) -> Iterator[tuple[float, int]]:
        """When something is sent, and of which bar."""
        opens, frame = self.exchange.opens(node), node.timeframe
        newest = [ts for ts in opens if ts <= now][-1:]
        yield from ((now, ts) for ts in newest)
        for ts in opens:
            end = frame.shift(ts, 1)
            for at in (*(ts + share * (end - ts) for share in SENT_AT), end + LATENCY_S):
                if at > now:
                    yield at, ts

    def _update(self, node: NodeId, ts: int, connection: int) -> CandleUpdate:
        o, high, low, c, volume = self.exchange.shown(node, ts)
        is_over = node.timeframe.shift(ts, 1) <= self.exchange.clock.now()
        is_closed = is_over if self.marks_closed else None
        return CandleUpdate(ts, (o, high, low, c, volume), connection, self._messages, is_closed)

    async def _until(self, at: float) -> None:
        await self.exchange.clock.sleep(max(0.0, at - self.exchange.clock.now()))
