"""Exchanges over REST through ccxt: one client per exchange and event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import ccxt.async_support as ccxt
import numpy as np
import pyarrow as pa

from seamless_assets.adapters.ccxt.answers import UNREADABLE, Answer, answers, judge, typed, unreadable
from seamless_assets.adapters.ccxt.client import (
    add_gone,
    documented_page,
    dump_markets,
    new_client,
    restore_markets,
)
from seamless_assets.adapters.ccxt.clock import ExchangeClock, happened_within
from seamless_assets.adapters.ccxt.listing import (
    HEEDED_BARS,
    first_open,
    kept_opens,
    known_frames,
    ladder,
    last_close,
    oldest_allowed,
    opens_of,
    page_before,
)
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, Remembered
from seamless_assets.adapters.ccxt.settings import ClientSettings, Gate
from seamless_assets.adapters.ccxt.volume import volume_unit_of
from seamless_assets.core.bars.table import BARS_SCHEMA, empty_bars
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.plan import Page, page_of, witnesses_of
from seamless_assets.core.coverage.proof import Reach, Trades
from seamless_assets.core.node import NodeId
from seamless_assets.errors import (
    ExchangeRefused,
    ExchangeUnavailable,
    MisalignedTimeframe,
    SeamlessError,
    UnknownSymbol,
    UnsupportedTimeframe,
    mask_causes,
)

DAY_S = 86_400.0
MARKETS_AGE_S = DAY_S
FRESH_MARKETS_S = 5.0
PAGE_SIZE_AGE_S = 3_600.0
LISTED_AGE_S = 30 * DAY_S
TRADES_PAGE = 1_000
MANY_MARKETS = 10


class CcxtSource:
    """Candles of any ccxt exchange; satisfies the flows' `CandleSource`.

    `memory` keeps market lists, page sizes and listing dates for the next process.
    """

    def __init__(self, exchanges: Mapping[str, ClientSettings], gate: Gate, memory: ExchangeMemory) -> None:
        self._settings = exchanges
        self._gate, self._memory = gate, memory
        self._clients: dict[str, Any] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loaded_at: dict[str, float] = {}
        self._page_sizes: dict[tuple[str, Timeframe], Remembered] = {}
        self._reach: dict[NodeId, Reach] = {}
        self._searched: set[tuple[NodeId, str]] = set()
        self._ends: dict[NodeId, int | None] = {}
        self._misaligned: set[NodeId] = set()
        self._exchange_clocks: dict[str, ExchangeClock] = {}
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
        if node.symbol not in client.markets:
            await self._renew_markets(node.exchange, FRESH_MARKETS_S)
        if node.symbol not in client.markets:
            near = get_close_matches(node.symbol, client.markets, n=3, cutoff=0.4)
            raise UnknownSymbol(
                f"{node.exchange} lists no {node.symbol}; nearest: {', '.join(near) or 'none'}",
                node_id=str(node),
                choices=tuple(near),
            )
        if node not in self._reach:
            await self._recall(node)

    def documented_page(self, node: NodeId) -> int:
        """The most bars a page holds, as ccxt knows it."""
        return documented_page(self._client(node.exchange), node)

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold; what was learned is put to the test now and then."""
        learned = self._page_sizes.get((node.exchange, node.timeframe))
        is_fresh = learned is not None and happened_within(PAGE_SIZE_AGE_S, learned.seen_at, time.time())
        return learned.value if learned is not None and is_fresh else self.documented_page(node)

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Remember that the exchange cuts its pages at `size` bars."""
        self._page_sizes[node.exchange, node.timeframe] = Remembered(size, time.time())
        self._keep(self._memory.remember(self._place(node.exchange), str(node.timeframe), "page", size))

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """One page of candles that open in `window`, `ts` in ms; rows outside are refused.

        What lies before the first market, or before the oldest bar that is served, is not asked for.
        Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """
        oldest = self.reach(node).oldest
        asked = Segment(max(window.start, oldest or OLDEST_MARKET), window.end)
        if asked.start >= asked.end:
            return Page(window, empty_bars(), served=0)
        limit = min(self.page_size(node), node.timeframe.count(*asked) + 1)
        try:
            rows = await self._rows(node, asked.start, limit, until=asked.end)
        except ExchangeRefused:
            if oldest is not None and self.reach(node).oldest == oldest:
                self._forget_oldest(node)
            raise
        return self._page(node, window, rows)

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        """One page of trades from the beginning of `window` on; none where the exchange serves none."""
        client = await self._ready_client(node.exchange)
        if not client.has.get("fetchTrades"):
            return Trades(window, np.array([]))
        what = f"trades of {node} from {window.start}"
        async with self._slots[node.exchange], self._heard(node.exchange, what) as heard:
            trades = await client.fetch_trades(node.symbol, since=window.start * 1000, limit=TRADES_PAGE)
            judge(heard, what)
            times = sorted(trade["timestamp"] / 1000 for trade in trades)
        return Trades(window, np.array(times))

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock in epoch seconds; ours where it has none to ask.

        It is asked rarely while the two agree; one that is far off may stand still, and is asked each time.
        """
        client = await self._ready_client(exchange)
        if not client.has.get("fetchTime"):
            return time.time()
        if exchange not in self._exchange_clocks:
            self._exchange_clocks[exchange] = ExchangeClock(partial(self._ask_clock, exchange))
        return await self._exchange_clocks[exchange].now()

    async def _ask_clock(self, exchange: str) -> float:
        what = f"{exchange} clock"
        async with self._heard(exchange, what) as heard:
            told = await self._client(exchange).fetch_time()
            judge(heard, what)
            now = float(told) / 1000
        _refuse_nonsense(what, now)
        return now

    def reach(self, node: NodeId) -> Reach:
        """Where the series begins and ends, as far as that was found out already."""
        return self._reach.get(node, Reach())

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar ever, searched once by coarser bars; None where it cannot be told."""
        return await self._find(node, "listed", self._search_listing)

    async def oldest_served(self, node: NodeId) -> int | None:
        """Open of the oldest bar still served, where the exchange keeps less than everything."""
        return await self._find(node, "oldest", self._search_oldest)

    async def is_delisted(self, node: NodeId) -> bool:
        """Whether the symbol is no longer traded, as a market list says that was loaded just now."""
        client = await self._ready_client(node.exchange)
        await self._renew_markets(node.exchange, 0.0)
        market = client.markets.get(node.symbol)
        return market is not None and market.get("active") is False

    async def last_traded(self, node: NodeId) -> int | None:
        """Close of the last bar the exchange serves; None where it serves none."""
        async with self._locks.setdefault(f"{node} end", asyncio.Lock()):
            # A market list that comes meanwhile begins another table: what is found goes into the old one.
            ends = self._ends
            if node not in ends:
                ends[node] = await self._by_aligned(node, self._search_end)
            return ends[node]

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        """Coarser series that can witness for the node's own, the finest first."""
        frames = witnesses_of(node.timeframe, sorted(self._aligned(node)))
        return tuple(NodeId(node.exchange, node.symbol, frame) for frame in frames)

    def peers(self, node: NodeId) -> tuple[NodeId, ...]:
        """Other declared symbols of the exchange in the same timeframe."""
        symbols = self._settings[node.exchange].symbols
        return tuple(NodeId(node.exchange, s, node.timeframe) for s in symbols if s != node.symbol)

    def volume_unit(self, node: NodeId) -> VolumeUnit | None:
        """What the node's volume counts, as far as the markets say that are known by now."""
        client = self._clients.get(node.exchange)
        market = (client.markets or {}).get(node.symbol) if client is not None else None
        return volume_unit_of(node.exchange, market) if market else None

    async def close(self) -> None:
        """Close every client's connections."""
        clients, self._clients = self._clients, {}
        await asyncio.gather(*self._writes)
        await asyncio.gather(*(client.close() for client in clients.values()))
        await self._memory.close()

    async def _rows(self, node: NodeId, since: int, limit: int, until: int | None) -> list[Any]:
        """Candles as ccxt parsed them."""
        client = await self._ready_client(node.exchange)
        what = f"{node} from {since}" + (f" to {until}" if until else "")
        params = {"until": until * 1000 - 1} if until else {}
        async with self._slots[node.exchange], self._heard(node.exchange, what) as heard:
            rows: list[Any] = await client.fetch_ohlcv(
                node.symbol, str(node.timeframe), since=since * 1000, limit=limit, params=params
            )
            judge(heard, what)
        return rows

    def _page(self, node: NodeId, window: Segment, rows: list[Any]) -> Page:
        """The page of what was sent. Raises `MisalignedTimeframe`."""
        sent = _candles([row[:6] for row in rows if row[0] is not None])
        try:
            return page_of(node, window, sent, self._aligned(node))
        except MisalignedTimeframe:
            self._misaligned.add(node)
            raise

    async def _witness(self, node: NodeId, window: Segment) -> Page:
        """One page of candles, all of them on our grid. Raises `MisalignedTimeframe`."""
        page = await self.fetch_candles(node, window)
        if page.astray:
            self._misaligned.add(node)
            raise MisalignedTimeframe(f"bars of {node} open off the grid", node_id=str(node))
        return page

    def _aligned(self, node: NodeId) -> list[Timeframe]:
        """Timeframes that the exchange serves of the symbol, but for those found on another grid."""
        served = known_frames(self._client(node.exchange).timeframes or {})
        return [f for f in served if NodeId(node.exchange, node.symbol, f) not in self._misaligned]

    async def _find(
        self, node: NodeId, name: str, search: Callable[[NodeId], Awaitable[int | None]]
    ) -> int | None:
        """One side of the node's reach, searched by one task at a time and then remembered."""
        async with self._locks.setdefault(f"{node} {name}", asyncio.Lock()):
            known: int | None = getattr(self.reach(node), name)
            if known is None and (node, name) not in self._searched:
                known = await self._by_aligned(node, search)
                self._searched.add((node, name))
            if known is not None:
                self._reach[node] = replace(self.reach(node), **{name: known})
        return known

    def _forget_oldest(self, node: NodeId) -> None:
        """What was the oldest bar served is refused by now: search again when it is asked for."""
        self._reach[node] = replace(self.reach(node), oldest=None)
        self._searched.discard((node, "oldest"))

    async def _by_aligned(
        self, node: NodeId, search: Callable[[NodeId], Awaitable[int | None]]
    ) -> int | None:
        """What the search finds, begun anew where a series it goes by turns out to be on another grid."""
        while True:
            known = len(self._misaligned)
            try:
                return await search(node)
            except MisalignedTimeframe:
                if node in self._misaligned or len(self._misaligned) == known:
                    raise

    async def _search_listing(self, node: NodeId) -> int | None:
        await self._ready_client(node.exchange)
        series = ladder(node, map(str, self._aligned(node)))
        now = int(await self.exchange_now(node.exchange))
        found = await first_open(self._witness, series, self.page_size(series[0]), now)
        if found is None:
            return None
        for witness in (node, *self.coarser(node)):
            is_new = witness is node or witness not in series
            before = page_before(witness, witness.timeframe.floor(found), self.page_size(witness))
            if is_new and len(await kept_opens(self._witness, witness, before)):
                return None
        await self._memory.remember(self._place(node.exchange), str(node), "listed", found)
        return found

    async def _search_end(self, node: NodeId) -> int | None:
        await self._ready_client(node.exchange)
        series = ladder(node, map(str, self._aligned(node)))
        now = int(await self.exchange_now(node.exchange))
        found = await last_close(self._witness, series, self.page_size(series[0]), now)
        if found is None:
            return None
        after = Segment(found, node.timeframe.shift(found, self.page_size(node)))
        return None if len(await opens_of(self._witness, node, after)) else found

    async def _search_oldest(self, node: NodeId) -> int | None:
        listed = await self.first_listed(node)
        size = self.page_size(node)
        try:
            rows = await self._rows(node, listed or OLDEST_MARKET, size, until=None)
        except ExchangeRefused:
            now = int(await self.exchange_now(node.exchange))
            return await oldest_allowed(self.fetch_candles, node, listed or OLDEST_MARKET, now)
        ever = Segment(0, int(await self.exchange_now(node.exchange)) + 1)
        opens = [int(ts) for ts in self._page(node, ever, rows).opens(node.timeframe)]
        if not opens or listed is None or opens[0] <= listed:
            return None
        # An exchange that ignores `since` shows its newest page whatever is asked, and proves nothing.
        oldest, middle = opens[0], opens[len(opens) // 2]
        asked = Segment(middle, node.timeframe.shift(middle, HEEDED_BARS))
        heeds_since = len(await opens_of(self._witness, node, asked)) > 0
        before = page_before(node, oldest, size)
        return oldest if heeds_since and not len(await opens_of(self._witness, node, before)) else None

    def _client(self, exchange: str) -> Any:
        client = self._clients.get(exchange)
        if client is None:
            settings = self._settings.get(exchange)
            client = self._clients[exchange] = new_client(exchange, settings, self._gate)
            self._slots[exchange] = asyncio.Semaphore(self._settings[exchange].concurrency)
        return client

    async def _ready_client(self, exchange: str) -> Any:
        client = self._client(exchange)
        if not client.markets:
            async with self._locks.setdefault(exchange, asyncio.Lock()):
                if not client.markets:
                    await self._load_markets(exchange, client)
        return client

    async def _load_markets(self, exchange: str, client: Any) -> None:
        for frame in client.timeframes or {}:
            known = (await self._memory.recall(self._place(exchange), frame)).get("page")
            if known:
                self._page_sizes[exchange, Timeframe(frame)] = known
        stored = await self._memory.load_markets(self._place(exchange))
        if stored is None:
            await self._ask_markets(exchange, client)
            return
        restore_markets(client, stored.body)
        self._loaded_at[exchange] = stored.loaded_at
        if not happened_within(MARKETS_AGE_S, stored.loaded_at, time.time()):
            # An old list serves as well while there is no new one to be had.
            with suppress(ExchangeUnavailable):
                await self._ask_markets(exchange, client)

    async def _renew_markets(self, exchange: str, max_age: float) -> None:
        """Ask for the market list again, where it is more than `max_age` seconds older than this call."""
        client, began = self._client(exchange), time.time()
        async with self._locks.setdefault(exchange, asyncio.Lock()):
            age = max_age + time.time() - began
            if not happened_within(age, self._loaded_at.get(exchange, 0.0), time.time()):
                await self._ask_markets(exchange, client)

    async def _ask_markets(self, exchange: str, client: Any) -> None:
        before = dict(client.markets or {})
        what = f"{exchange} markets"
        try:
            async with self._heard(exchange, what) as heard:
                await client.load_markets(reload=True)
                for answer in heard:
                    judge([answer], what)
            _refuse_remnant(what, len(before), len(client.markets))
        except BaseException:
            if before:
                client.set_markets(list(before.values()))
            else:
                client.markets = None
            raise
        add_gone(client, [market for symbol, market in before.items() if symbol not in client.markets])
        self._loaded_at[exchange] = time.time()
        # A symbol that was no longer traded may be traded again.
        self._ends = {node: end for node, end in self._ends.items() if node.exchange != exchange}
        await self._memory.store_markets(self._place(exchange), dump_markets(client))

    async def _recall(self, node: NodeId) -> None:
        known = (await self._memory.recall(self._place(node.exchange), str(node))).get("listed")
        if known and happened_within(LISTED_AGE_S, known.seen_at, time.time()):
            # What was found out meanwhile goes before what is remembered.
            reach = self.reach(node)
            self._reach[node] = replace(reach, listed=known.value if reach.listed is None else reach.listed)

    def _place(self, exchange: str) -> str:
        settings = self._settings[exchange]
        return f"{exchange}@{settings.place}{'#sandbox' if settings.sandbox else ''}"

    def _keep(self, write: Awaitable[None]) -> None:
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    @asynccontextmanager
    async def _heard(self, exchange: str, what: str) -> AsyncIterator[list[Answer]]:
        heard: list[Answer] = []
        token = answers.set(heard)
        try:
            yield heard
        except ccxt.BaseError as error:
            told = typed(error, heard, what, self._settings[exchange].secrets)
            mask_causes(error, self._settings[exchange].secrets)
            raise told from error
        except UNREADABLE as error:
            if not heard or isinstance(error, SeamlessError):
                raise
            raise unreadable(error, heard, what) from error
        finally:
            answers.reset(token)


def _candles(rows: list[Any]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(BARS_SCHEMA)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)


def _refuse_nonsense(what: str, now: float) -> None:
    """A clock before the first market is none."""
    if not now >= OLDEST_MARKET:
        raise ExchangeUnavailable(f"{what}: it says {now:.0f} s since 1970; not believed")


def _refuse_remnant(what: str, before: int, after: int) -> None:
    """A list that lost most of its markets at once is a fault of the answer, not a day of delistings."""
    if after == 0 or (before >= MANY_MARKETS and 2 * after < before):
        raise ExchangeUnavailable(f"{what}: the list holds {after} markets, {before} before; not believed")
