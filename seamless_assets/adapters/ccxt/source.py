"""Exchanges over REST through ccxt: one client per exchange and event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np

from seamless_assets.adapters.ccxt.answers import calling, judge, read_rows, read_trades
from seamless_assets.adapters.ccxt.aside_import import AsideImport
from seamless_assets.adapters.ccxt.client import documented_page, dump_markets, new_client
from seamless_assets.adapters.ccxt.clock import ExchangeClock, happened_within
from seamless_assets.adapters.ccxt.documented.trades import trades_request
from seamless_assets.adapters.ccxt.documented.volume import volume_unit_of
from seamless_assets.adapters.ccxt.listing import ascending_frames, known_frames
from seamless_assets.adapters.ccxt.markets.listings import Listings
from seamless_assets.adapters.ccxt.markets.lists import Markets
from seamless_assets.adapters.ccxt.markets.types import FETCHING, MarketTypes
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList, Remembered
from seamless_assets.adapters.ccxt.public import Endpoint, asked_raw, endpoint_of, public_endpoints
from seamless_assets.adapters.ccxt.reach import SeriesReach
from seamless_assets.adapters.ccxt.settings import ClientSettings, Gate
from seamless_assets.aio.collector import steps_unlooked
from seamless_assets.aio.priority import Slots
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.instant import OLDEST_MARKET, seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page, page_of
from seamless_assets.core.coverage.plan import SMALLEST_PAGE
from seamless_assets.core.coverage.proof import Reach
from seamless_assets.core.coverage.witnesses import Trades, coarser_frames, finer_frames
from seamless_assets.core.node import NodeId
from seamless_assets.core.wire.listing import Listing
from seamless_assets.core.wire.upstream import UpstreamAnswer
from seamless_assets.errors import (
    ExchangeRefused,
    ExchangeUnavailable,
    MisalignedTimeframe,
    UnknownSymbol,
    UnsupportedTimeframe,
)

FRESH_MARKETS_S = 5.0
LISTINGS_AGE_S = 3_600.0
PAGE_SIZE_AGE_S = 3_600.0
NEWEST_CLOCK = 4_000_000_000
"""2096; a clock that is later is none."""


class CcxtSource:
    """Candles of any ccxt exchange; satisfies the flows' `CandleSource`.

    `memory` keeps market lists, page sizes and listing dates for the next process.
    """

    def __init__(self, exchanges: Mapping[str, ClientSettings], gate: Gate, memory: ExchangeMemory) -> None:
        self._settings = exchanges
        self._gate, self._memory = gate, memory
        self._clients: dict[str, Any] = {}
        self._slots: dict[str, Slots] = {}
        self._markets: dict[str, Markets] = {}
        self._listings: dict[str, Listings] = {}
        self._clocks: dict[str, ExchangeClock] = {}
        self._page_sizes: dict[tuple[str, Timeframe], Remembered] = {}
        self._endpoints: dict[str, list[Endpoint]] = {}
        self._reach = SeriesReach(self, memory)
        # Arrow imports it when it first converts values of Python; the exchange answers meanwhile.
        self._pandas = AsideImport("pandas")
        self._writes: set[asyncio.Task[None]] = set()

    async def check_node(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol` or `UnsupportedTimeframe` for a node nobody serves."""
        client = await self._ready_client(node.exchange)
        known = client.timeframes or {}
        if str(node.timeframe) not in known:
            raise UnsupportedTimeframe(
                f"{node.exchange} serves no {node.timeframe} candles; it has {', '.join(known)}",
                node_id=str(node),
                choices=tuple(known),
            )
        await self._check_symbol(node, client)
        await self._reach.recall(node)

    async def check_trades(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol`, or `ExchangeRefused` where no trades are served."""
        client = await self._ready_client(node.exchange)
        if not client.has.get("fetchTrades"):
            raise ExchangeRefused(
                f"{node.exchange} serves no trades through ccxt, so that {node} cannot be made of them; take "
                "`trades` off it, or resample finer bars",
                node_id=str(node),
            )
        await self._check_symbol(node, client)

    async def list_symbols(self, exchange: str) -> list[str]:
        """The symbols that the exchange lists and trades, ascending; asked for anew.

        Raises `ExchangeError`.
        """
        await self._ready_client(exchange)
        if not await self._widen_markets(exchange):
            await self._renew_markets(exchange, 0.0)
        client = self._client(exchange)
        listed = (market for symbol, market in client.markets.items() if symbol not in client.gone)
        return sorted(market["symbol"] for market in listed if market.get("active") is not False)

    async def market_list(self, exchange: str, at: float | None = None) -> dict[str, Listing] | None:
        """What the list of markets says of declared symbols, asked for anew where it is not of this hour.

        With epoch seconds `at`, what was known then, asking nobody; None where nothing is known. Raises
        `ExchangeError`.
        """
        if at is not None:
            self._client(exchange)
            return await self._listings[exchange].known_at(at)
        await self._ready_client(exchange)
        await self._renew_markets(exchange, LISTINGS_AGE_S)
        return self._listings[exchange].now()

    def documented_page(self, node: NodeId) -> int:
        """The most bars a page holds, as ccxt knows it."""
        return documented_page(self._client(node.exchange), node)

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold; what was learned is put to the test now and then.

        A timeframe of which nothing was learned is believed to be cut like the others of the exchange.
        """
        learned = {
            frame: known.value
            for (exchange, frame), known in self._page_sizes.items()
            if exchange == node.exchange and happened_within(PAGE_SIZE_AGE_S, known.seen_at, time.time())
        }
        size = learned.get(node.timeframe, min(learned.values(), default=0))
        most = self.documented_page(node)
        return size if SMALLEST_PAGE <= size <= most else most

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Remember that the exchange cuts its pages at `size` bars."""
        self._page_sizes[node.exchange, node.timeframe] = Remembered(size, time.time())
        self._keep(self._memory.remember(self.place(node.exchange), str(node.timeframe), "page", size))

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """One page of candles that open in `window`, `ts` in ms; rows outside are refused.

        What lies before the first market, or before the oldest bar that is served, is not asked for.
        Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """
        oldest = self._reach.known(node).oldest
        asked = Segment(min(max(window.start, oldest or OLDEST_MARKET), window.end), window.end)
        if asked.is_empty:
            return Page(window, empty_bars(), served=0)
        limit = min(self.page_size(node), node.timeframe.count(*asked) + 1)
        try:
            return await self._page(node, window, asked.start, limit, until=asked.end)
        except MisalignedTimeframe:
            raise
        except ExchangeRefused:
            if oldest is not None and self._reach.known(node).oldest == oldest:
                # What was the oldest bar served is refused by now.
                await self._reach.forget(node, "oldest")
            raise

    async def newest_page(self, node: NodeId, since: int) -> Page:
        """The page that the exchange gives from an open on, where no end is given."""
        ever = Segment(0, int(await self.exchange_now(node.exchange)) + 1)
        return await self._page(node, ever, since, self.page_size(node), until=None)

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        """One page of trades from the beginning of `window` on; none where the exchange serves none."""
        client = await self._ready_client(node.exchange)
        if not client.has.get("fetchTrades"):
            return Trades(window, np.array([]))
        what = f"trades of {node} from {seconds_text(window.start)}"
        request = trades_request(node.exchange, window)
        async with self._slots[node.exchange].held(), self._calling(node.exchange, what) as heard:
            trades = await client.fetch_trades(
                node.symbol,
                since=window.start * 1000,
                limit=request.limit,
                params=dict(request.params),
            )
            judge(heard, what)
            return read_trades(trades, window, request.is_bounded)

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock in epoch seconds; ours where it has none to ask.

        It is asked rarely while the two agree; one that is far off may stand still, and is asked each time.
        """
        client = await self._ready_client(exchange)
        if not client.has.get("fetchTime"):
            return time.time()
        if exchange not in self._clocks:
            self._clocks[exchange] = ExchangeClock(partial(self._ask_clock, exchange))
        return await self._clocks[exchange].now()

    def clock_skew(self, exchange: str) -> float:
        """How far its clock is ahead of ours by the last answer, in seconds; 0 where it was not asked."""
        clock = self._clocks.get(exchange)
        return 0.0 if clock is None else clock.skew

    async def reach(self, node: NodeId, window: Segment) -> Reach:
        """Where the series begins and ends, as far as that was found out and matters for `window`."""
        return await self._reach.of(node, window)

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar ever, searched once by coarser bars; None where it cannot be found."""
        await self._ready_client(node.exchange)
        return await self._reach.first_listed(node)

    async def forget_listing(self, node: NodeId) -> None:
        """Search the first bar anew when it is asked for: there is one before it."""
        await self._reach.forget(node, "listed")

    async def oldest_served(self, node: NodeId) -> int | None:
        """Open of the oldest bar still served, where the exchange keeps less than everything."""
        await self._ready_client(node.exchange)
        return await self._reach.oldest_served(node)

    async def is_delisted(self, node: NodeId) -> bool:
        """Whether the symbol is no longer traded, as a market list says that was loaded just now."""
        client = await self._ready_client(node.exchange)
        await self._renew_markets(node.exchange, 0.0)
        market = client.markets.get(node.symbol)
        return market is not None and market.get("active") is False

    async def last_traded(self, node: NodeId) -> int | None:
        """Close of the last bar the exchange serves; None where it serves none."""
        await self._ready_client(node.exchange)
        return await self._reach.last_traded(node)

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        """Coarser series that can witness for the node's own, the finest first."""
        return self._series(node, coarser_frames(node.timeframe, self._reach.usable_frames(node)))

    def finer(self, node: NodeId) -> tuple[NodeId, ...]:
        """Finer series that its bars are made of, the longest first."""
        return self._series(node, finer_frames(node.timeframe, self._reach.usable_frames(node)))

    def frames(self, node: NodeId) -> list[Timeframe]:
        """Timeframes that the exchange says it serves of the symbol, ascending."""
        return list(ascending_frames(tuple(self._client(node.exchange).timeframes or ())))

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Other declared symbols of the exchange in the same timeframe."""
        symbols = self._settings[node.exchange].symbols
        return tuple(NodeId(node.exchange, s, node.timeframe) for s in symbols if s != node.symbol)

    async def markets(self, exchange: str) -> MarketList:
        """The exchange's markets, for another client of it. Raises `ExchangeError`."""
        return dump_markets(await self._ready_client(exchange))

    def volume_unit(self, node: NodeId) -> VolumeUnit | None:
        """What the node's volume counts, as far as the markets say that are known by now."""
        client = self._clients.get(node.exchange)
        market = (client.markets or {}).get(node.symbol) if client is not None else None
        return volume_unit_of(node.exchange, market) if market else None

    async def ask_public(self, exchange: str, path: str, query: str) -> UpstreamAnswer:
        """What the exchange answers to a GET that needs no key, whatever that is.

        Within the rate budget. Raises `ExchangeRefused` where it is none that ccxt knows to be for anybody,
        and `ExchangeUnavailable` where there is no answer.
        """
        client = await self._ready_client(exchange)
        if exchange not in self._endpoints:
            self._endpoints[exchange] = public_endpoints(client)
        endpoint = endpoint_of(self._endpoints[exchange], path)
        if endpoint is None:
            reason = f"{exchange} has no {path[:100]} that is known to be for anybody"
            raise ExchangeRefused(reason, status=None)
        async with self._slots[exchange].held(), self._calling(exchange, f"{exchange} {path}"):
            await client.throttle(endpoint.cost(client, query))
            return await asked_raw(client, endpoint.url(path, query))

    async def requests_made(self, exchange: str) -> int:
        """HTTP requests that were sent to the exchange by this process."""
        client = self._clients.get(exchange)
        return 0 if client is None else int(client.requests_made)

    def place(self, exchange: str) -> str:
        """Where what is learned of an exchange is remembered: an exchange at one address."""
        return self._settings[exchange].memory_place(exchange)

    async def close(self) -> None:
        """Close every client's connections."""
        clients, self._clients = self._clients, {}
        try:
            await asyncio.gather(*self._writes)
        finally:
            await asyncio.gather(*(client.close() for client in clients.values()))
            await self._memory.close()

    async def _check_symbol(self, node: NodeId, client: Any) -> None:
        """Raise `UnknownSymbol` where the exchange lists none such."""
        if node.symbol not in client.markets:
            await self._renew_markets(node.exchange, FRESH_MARKETS_S)
        if node.symbol not in client.markets:
            await self._widen_markets(node.exchange)
        if node.symbol not in client.markets:
            near = get_close_matches(node.symbol, client.markets, n=3, cutoff=0.4)
            raise UnknownSymbol(
                f"{node.exchange} lists no {node.symbol}; nearest: {', '.join(near) or 'none'}",
                node_id=str(node),
                choices=tuple(near),
            )

    async def _page(self, node: NodeId, window: Segment, since: int, limit: int, until: int | None) -> Page:
        """One page as it was sent, its rows in `window`. Raises `ExchangeError`."""
        client = await self._ready_client(node.exchange)
        # A page is thousands of lists for a moment.
        return await steps_unlooked(self._asked_page(client, node, window, since, limit, until))

    async def _asked_page(
        self, client: Any, node: NodeId, window: Segment, since: int, limit: int, until: int | None
    ) -> Page:
        what = f"{node} from {seconds_text(since)}" + (f" to {seconds_text(until)}" if until else "")
        params = {"until": until * 1000 - 1} if until else {}
        async with self._calling(node.exchange, what) as heard:
            async with self._slots[node.exchange].held():
                rows = await client.fetch_ohlcv(
                    node.symbol, str(node.timeframe), since=since * 1000, limit=limit, params=params
                )
                judge(heard, what)
            await self._pandas.ended()
            sent, unreadable = read_rows(rows, what)
        try:
            return page_of(node, window, sent, self._reach.usable_frames(node), unreadable)
        except MisalignedTimeframe:
            self._reach.leave_out(node)
            raise

    async def _ask_clock(self, exchange: str) -> float:
        what = f"{exchange} clock"
        async with self._calling(exchange, what) as heard:
            server_ms = await self._client(exchange).fetch_time()
            judge(heard, what)
            now = float(server_ms) / 1000
        if not OLDEST_MARKET <= now <= NEWEST_CLOCK:
            raise ExchangeUnavailable(f"{what}: it says {now:.0f} s since 1970; not believed", status=None)
        return now

    def _series(self, node: NodeId, frames: list[Timeframe]) -> tuple[NodeId, ...]:
        return tuple(NodeId(node.exchange, node.symbol, frame) for frame in frames)

    def _client(self, exchange: str) -> Any:
        client = self._clients.get(exchange)
        if client is None:
            settings = self._settings.get(exchange)
            client = self._clients[exchange] = new_client(exchange, settings, self._gate)
            known = self._settings[exchange]
            reserved = math.ceil(known.concurrency * known.budget.reserved_share)
            self._slots[exchange] = Slots(known.concurrency, reserved)
            is_chosen = FETCHING in (known.options.get("options") or {})
            types = MarketTypes(client, known.symbols, is_chosen=is_chosen)
            place = self.place(exchange)
            listings = self._listings[exchange] = Listings(client, self._memory, place, known.symbols)
            self._markets[exchange] = Markets(client, self._memory, place, known.secrets, types, listings)
        return client

    async def _ready_client(self, exchange: str) -> Any:
        client = self._client(exchange)
        if not client.markets:
            await self._recall_page_sizes(exchange, client)
            await self._markets[exchange].load()
        return client

    async def _recall_page_sizes(self, exchange: str, client: Any) -> None:
        for frame in known_frames(client.timeframes or {}):
            known = (await self._memory.recall(self.place(exchange), str(frame))).get("page")
            if known:
                self._page_sizes.setdefault((exchange, frame), known)

    async def _renew_markets(self, exchange: str, max_age: float) -> None:
        """Ask for the market list again, where it is more than `max_age` seconds older than this call."""
        if await self._markets[exchange].renew(max_age):
            self._reach.markets_changed(exchange)

    async def _widen_markets(self, exchange: str) -> bool:
        """Ask for the markets of all types; False where no type was left out so far."""
        is_wider = await self._markets[exchange].widen()
        if is_wider:
            self._reach.markets_changed(exchange)
        return is_wider

    def _calling(self, exchange: str, what: str) -> Any:
        return calling(what, self._settings[exchange].secrets)

    def _keep(self, write: Awaitable[None]) -> None:
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
