"""Exchanges over REST through ccxt: one client per exchange and event loop, watched and paced.

Every HTTP request of a client passes the gate (the rate budget) first, goes to `base_url` where one is
set, and leaves its real answer behind for `ccxt_answers` to judge.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ccxt.async_support as ccxt
import pyarrow as pa

from seamless_assets.adapters.ccxt_answers import Answer, answers, judge, typed
from seamless_assets.adapters.client_settings import ClientSettings, Gate
from seamless_assets.core.bars import BARS_SCHEMA
from seamless_assets.core.node import NodeId
from seamless_assets.core.plan import Page
from seamless_assets.core.segment import Segment
from seamless_assets.core.timeframe import Timeframe
from seamless_assets.errors import UnknownExchange, UnknownSymbol, UnsupportedTimeframe

DEFAULT_PAGE = 500
REQUEST_TIMEOUT_MS = 20_000
LISTING_FRAMES = ("1M", "1w", "1d")
OLDEST_MARKET = 1_230_940_800
"""2009-01-03, the first block; no crypto market is older."""


class CcxtSource:
    """Candles of any ccxt exchange; satisfies the flows' `CandleSource`."""

    def __init__(self, exchanges: Mapping[str, ClientSettings], gate: Gate) -> None:
        self._settings = exchanges
        self._gate = gate
        self._clients: dict[str, Any] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._page_sizes: dict[tuple[str, Timeframe], int] = {}
        self._listed: dict[NodeId, int | None] = {}

    async def check_node(self, node: NodeId) -> None:
        """Raise `UnknownExchange`, `UnknownSymbol` or `UnsupportedTimeframe` for a node nobody serves."""
        client = await self._ready_client(node.exchange)
        if node.symbol not in client.markets:
            near = get_close_matches(node.symbol, client.markets, n=3, cutoff=0.4)
            raise UnknownSymbol(
                f"{node.exchange} lists no {node.symbol}; nearest: {', '.join(near) or 'none'}",
                node_id=str(node),
                choices=tuple(near),
            )
        known = client.timeframes or {}
        if str(node.timeframe) not in known:
            raise UnsupportedTimeframe(
                f"{node.exchange} serves no {node.timeframe} candles; it has {', '.join(known)}",
                node_id=str(node),
                choices=tuple(known),
            )

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold."""
        learned = self._page_sizes.get((node.exchange, node.timeframe))
        return learned or _documented_page(self._client(node.exchange), node)

    def learn_page_size(self, node: NodeId, size: int) -> None:
        """Remember that the exchange cuts its pages at `size` bars."""
        self._page_sizes[node.exchange, node.timeframe] = size

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """One page of candles that open in `window`, `ts` in ms; rows outside are refused.

        Raises `ExchangeUnavailable`, `RateLimited`, `ExchangeRefused`.
        """
        client = await self._ready_client(node.exchange)
        limit = min(self.page_size(node), node.timeframe.count(*window) + 1)
        what = f"{node} [{window.start}, {window.end})"
        async with self._slots[node.exchange], self._heard(what) as heard:
            rows = await client.fetch_ohlcv(
                node.symbol,
                str(node.timeframe),
                since=window.start * 1000,
                limit=limit,
                params={"until": window.end * 1000 - 1},
            )
            judge(heard, what)
        low, high = window.start * 1000, window.end * 1000
        inside = [row[:6] for row in rows if row[0] is not None and low <= int(row[0]) < high]
        columns = list(zip(*inside, strict=True)) or [()] * len(BARS_SCHEMA)
        candles = pa.table(
            [pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA
        )
        return Page(window, candles, served=len(rows))

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock in epoch seconds; ours where it has none to ask."""
        client = await self._ready_client(exchange)
        if not client.has.get("fetchTime"):
            return time.time()
        async with self._heard(f"{exchange} clock") as heard:
            told = await client.fetch_time()
            judge(heard, f"{exchange} clock")
        return float(told) / 1000

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar ever, searched once by a coarse timeframe; None where it cannot be told."""
        if node not in self._listed:
            self._listed[node] = await self._search_listing(node)
        return self._listed[node]

    async def close(self) -> None:
        """Close every client's connections."""
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(client.close() for client in clients.values()))

    async def _search_listing(self, node: NodeId) -> int | None:
        client = await self._ready_client(node.exchange)
        coarse = next((frame for frame in LISTING_FRAMES if frame in client.timeframes), None)
        if coarse is None:
            return None
        coarse_node = NodeId(node.exchange, node.symbol, Timeframe(coarse))
        now = int(await self.exchange_now(node.exchange))
        first = await self._first_open(coarse_node, Segment(OLDEST_MARKET, now))
        if first is None or str(node.timeframe) == coarse:
            return first
        fine = await self._first_open(node, Segment(first, coarse_node.timeframe.shift(first, 1)))
        return node.timeframe.floor(first) if fine is None else fine

    async def _first_open(self, node: NodeId, window: Segment) -> int | None:
        """First open in `window`, if the answer holds the window's beginning for certain."""
        page = await self.fetch_candles(node, window)
        wanted = node.timeframe.count(*window)
        opens = page.opens(node.timeframe)
        if len(opens) == 0:
            return None
        reaches_end = node.timeframe.shift(int(opens[-1]), 2) >= window.end
        is_newest_only = reaches_end and wanted > len(opens) and page.served >= self.page_size(node)
        return None if is_newest_only else int(opens[0])

    def _client(self, exchange: str) -> Any:
        client = self._clients.get(exchange)
        if client is None:
            client = self._clients[exchange] = self._new_client(exchange)
            self._slots[exchange] = asyncio.Semaphore(self._settings[exchange].concurrency)
        return client

    def _new_client(self, exchange: str) -> Any:
        kind = getattr(ccxt, exchange, None) if exchange in ccxt.exchanges else None
        settings = self._settings.get(exchange)
        if kind is None or settings is None:
            near = get_close_matches(exchange, ccxt.exchanges, n=3)
            reason = "is not in the settings" if kind else "is not a ccxt exchange"
            raise UnknownExchange(f"{exchange} {reason}; nearest: {', '.join(near)}", choices=tuple(near))
        watched = type(f"Watched{kind.__name__}", (_Watched, kind), {})
        client = watched({"enableRateLimit": True, "timeout": REQUEST_TIMEOUT_MS, **settings.options})
        if not client.has.get("fetchOHLCV"):
            raise UnknownExchange(f"{exchange} serves no candles through ccxt", choices=())
        if settings.sandbox:
            client.set_sandbox_mode(True)
        client.watch(self._gate, settings)
        return client

    async def _ready_client(self, exchange: str) -> Any:
        client = self._client(exchange)
        if not client.markets:
            async with self._heard(f"{exchange} markets") as heard:
                await client.load_markets()
                judge(heard, f"{exchange} markets")
        return client

    @asynccontextmanager
    async def _heard(self, what: str) -> AsyncIterator[list[Answer]]:
        heard: list[Answer] = []
        token = answers.set(heard)
        try:
            yield heard
        except ccxt.BaseError as error:
            raise typed(error, heard, what) from error
        finally:
            answers.reset(token)


class _Watched:
    """Mixed into a ccxt client: paces, redirects and records its HTTP requests."""

    def watch(self, gate: Gate, settings: ClientSettings) -> None:
        self._gate, self._budget_settings = gate, settings
        self._base = urlsplit(settings.base_url.rstrip("/")) if settings.base_url else None

    async def throttle(self, cost: float | None = None) -> None:
        await self._gate.acquire(
            self._budget_settings.budget_key, self._budget_settings.budget, max(1.0, float(cost or 1.0))
        )

    async def fetch(self, url: str, *args: Any, **kwargs: Any) -> Any:
        return await super().fetch(self._redirected(url), *args, **kwargs)  # type: ignore[misc]

    def on_rest_response(self, code: int, reason: str, url: str, method: str, *rest: Any) -> Any:
        headers, body = rest[0], rest[1]
        heard = answers.get()
        if heard is not None:
            heard.append(Answer(url, code, dict(headers), _is_json(body)))
        return super().on_rest_response(code, reason, url, method, *rest)  # type: ignore[misc]

    def _redirected(self, url: str) -> str:
        if self._base is None:
            return url
        asked = urlsplit(url)
        path = f"{self._base.path}{asked.path}"
        return urlunsplit((self._base.scheme, self._base.netloc, path, asked.query, asked.fragment))


def _documented_page(client: Any, node: NodeId) -> int:
    market = "swap" if ":" in node.symbol else "spot"
    features = (client.features or {}).get(market) or {}
    linear = features.get("linear") if market == "swap" else features
    limit = ((linear or {}).get("fetchOHLCV") or {}).get("limit")
    return int(limit) if limit else DEFAULT_PAGE


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
