"""ccxt clients that are paced, redirected and listened to.

Every HTTP request of a client passes the gate (the rate budget) first, goes to `base_url` where one is
set, and leaves its real answer behind for `answers` to judge.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp_socks
import ccxt.async_support as ccxt

from seamless_assets.adapters.ccxt.answers import UNREADABLE, Answer, answers, current_call, typed
from seamless_assets.adapters.ccxt.limits import candle_unit, tokens
from seamless_assets.adapters.ccxt.memory import MarketList
from seamless_assets.adapters.ccxt.public import raw_answers
from seamless_assets.adapters.ccxt.settings import ClientSettings, Gate
from seamless_assets.aio.shield import shielded
from seamless_assets.core.addresses import authorization_of, without_user
from seamless_assets.core.coverage.plan import SMALLEST_PAGE
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S
from seamless_assets.core.wire.upstream import UpstreamAnswer
from seamless_assets.errors import RateLimited, UnknownExchange

DEFAULT_PAGE = 500
REQUEST_TIMEOUT_MS = 20_000
OF_PUBLIC_ASSETS = frozenset({"kraken"})
"""Exchanges that tell anybody of their assets; what others tell with keys is of an account."""
KEYS = ("apiKey", "secret", "password", "uid")
DEFAULT_COOL_DOWN_S = 1.0
LONGEST_QUEUE_S = 300.0
PROXY_ERRORS = (aiohttp_socks.ProxyError, aiohttp_socks.ProxyConnectionError, aiohttp_socks.ProxyTimeoutError)


def new_client(
    exchange: str,
    settings: ClientSettings | None,
    gate: Gate,
    kinds: ModuleType = ccxt,
    mixins: tuple[type, ...] = (),
) -> Any:
    """A client of `exchange`, nothing asked yet. Raises `UnknownExchange`.

    `kinds` is the module of ccxt that has its class, `mixins` go before that.
    """
    kind = getattr(kinds, exchange, None) if exchange in ccxt.exchanges else None
    if kind is None or settings is None:
        near = get_close_matches(exchange, ccxt.exchanges, n=3)
        reason = "is not in the settings" if kind else "is not a ccxt exchange"
        raise UnknownExchange(f"{exchange} {reason}; nearest: {', '.join(near)}", choices=tuple(near))
    watched = type(f"Watched{kind.__name__}", (*mixins, _Watched, kind), {})
    client = watched({"timeout": REQUEST_TIMEOUT_MS, **settings.options, "enableRateLimit": True})
    if not client.has.get("fetchOHLCV"):
        raise UnknownExchange(f"{exchange} serves no candles through ccxt", choices=())
    if settings.sandbox:
        client.set_sandbox_mode(True)
    client.attach(gate, settings)
    return client


def documented_page(client: Any, node: NodeId) -> int:
    """The most candles a page holds, as ccxt knows it of the exchange."""
    market = "swap" if ":" in node.symbol else "spot"
    features = (client.features or {}).get(market) or {}
    linear = features.get("linear") if market == "swap" else features
    limit = ((linear or {}).get("fetchOHLCV") or {}).get("limit")
    return max(SMALLEST_PAGE, int(limit)) if limit else DEFAULT_PAGE


def dump_markets(client: Any) -> MarketList:
    """A client's market list, with the markets that are gone from it."""
    helpers = {
        name: client.options[name]
        for name in client.options.get("marketHelperProps") or ()
        if name in client.options
    }
    listed = [market for symbol, market in client.markets.items() if symbol not in client.gone]
    assets = client.currencies if client.id in OF_PUBLIC_ASSETS else None
    return MarketList(listed, list(client.gone.values()), helpers, assets or {})


def restore_markets(client: Any, listed: MarketList) -> bool:
    """Give a client the market list of `dump_markets`; False where ccxt can make nothing of it."""
    try:
        client.options.update(listed.helpers)
        client.set_markets(listed.markets, listed.assets or None)
        add_gone(client, listed.gone)
    except UNREADABLE:
        client.markets, client.markets_by_id, client.gone = None, None, {}
        return False
    return True


def add_gone(client: Any, gone: Iterable[Any]) -> None:
    """Let a client know markets that the exchange no longer lists, as inactive ones."""
    client.gone = {market["symbol"]: {**market, "active": False} for market in gone}
    for symbol, market in client.gone.items():
        client.markets[symbol] = market
        client.markets_by_id.setdefault(market["id"], []).append(market)


class _Watched:
    """Mixed into a ccxt client: paces, redirects and records its HTTP requests."""

    logger: logging.Logger
    ssl_context: ssl.SSLContext | bool | None

    def attach(self, gate: Gate, settings: ClientSettings) -> None:
        self.gone: dict[str, Any] = {}
        self.requests_made = 0
        self._banned, self._banned_until = asyncio.Event(), 0.0
        self._gate, self._budget_settings = gate, settings
        self._base = urlsplit(without_user(settings.base_url).rstrip("/")) if settings.base_url else None
        self.authorization = authorization_of(settings.base_url) if settings.base_url else None
        self._candle_unit = candle_unit(self.api)  # type: ignore[attr-defined]
        if settings.secrets:
            self.logger = _without_debug(self.logger)

    def open(self, lazy: bool = False) -> None:
        is_plain = self.verify is True and not self.options.get("include_OS_certificates")  # type: ignore[attr-defined]
        if self.ssl_context is None and is_plain:
            changed = os.stat(self.cafile).st_mtime_ns  # type: ignore[attr-defined]
            self.ssl_context = _trusting(self.cafile, changed)  # type: ignore[attr-defined]
        super().open(lazy)  # type: ignore[misc]

    @contextmanager
    def without_keys(self) -> Iterator[None]:
        """Ask as somebody who has no account."""
        kept = {name: getattr(self, name, None) for name in KEYS}
        try:
            for name in KEYS:
                setattr(self, name, "" if kept[name] is not None else None)
            yield
        finally:
            for name, value in kept.items():
                setattr(self, name, value)

    def calculate_rate_limiter_cost(
        self, api: Any, method: Any, path: str, params: Any, config: Any = None
    ) -> float:
        weight = super().calculate_rate_limiter_cost(api, method, path, params, config or {})  # type: ignore[misc]
        return tokens(weight, path, config or {}, self._candle_unit)

    async def throttle(self, cost: float = 1.0) -> None:
        if (call := current_call.get()) and (task := asyncio.current_task()):
            call.tasks.add(task)
        self._refuse_if_banned()
        settings = self._budget_settings
        admitted = asyncio.ensure_future(self._gate.acquire(settings.budget_key, settings.budget, cost))
        banned = asyncio.ensure_future(self._banned.wait())
        try:
            await asyncio.wait({admitted, banned}, return_when=asyncio.FIRST_COMPLETED)
            if admitted.done():
                admitted.result()
            else:
                self._refuse_if_banned()
        finally:
            banned.cancel()
            admitted.cancel()
            await asyncio.wait({admitted})

    def _refuse_if_banned(self) -> None:
        """Raise `RateLimited` while a ban lasts that is too long to be waited for in a queue."""
        left = self._banned_until - time.monotonic()
        if left > 0:
            raise RateLimited(
                f"{self.id} asks for {left:.0f} s without requests",  # type: ignore[attr-defined]
                status=None,
                retry_after=left,
            )
        self._banned.clear()

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        if self.authorization:
            headers = {**(headers or {}), "Authorization": self.authorization}
        self.requests_made += 1
        own: list[Answer] = []
        token = answers.set(own)
        try:
            return await super().fetch(self.redirected(url), method, headers, body)  # type: ignore[misc]
        except PROXY_ERRORS as error:
            # ccxt knows only aiohttp's own errors.
            raise ccxt.ExchangeNotAvailable(f"{self.id} by proxy: {url}") from error  # type: ignore[attr-defined]
        except ccxt.BaseError as error:
            error.answers, error.is_signed = own, self._is_signed(url, headers, body)
            typed_error = typed(error, own, url)
            if isinstance(typed_error, RateLimited):
                await self._pause(typed_error.retry_after or DEFAULT_COOL_DOWN_S)
            raise
        finally:
            answers.reset(token)
            if call := current_call.get():
                call.answers += own

    def _is_signed(self, *request: Any) -> bool:
        """Whether a request tells who we are."""
        key = getattr(self, "apiKey", None)
        return isinstance(key, str) and key != "" and key in repr(request)

    async def _pause(self, seconds: float) -> None:
        """Let no worker that shares the budget ask anything for so long."""
        settings, seconds = self._budget_settings, min(seconds, LONGEST_COOL_DOWN_S)
        if seconds > LONGEST_QUEUE_S:
            # One that comes late from a busy queue does not shorten another.
            self._banned_until = max(self._banned_until, time.monotonic() + seconds)
            self._banned.set()
        # Requests that were refused meanwhile end the call, and with it the one that heard of the ban.
        telling = asyncio.ensure_future(self._gate.cool_down(settings.budget_key, settings.budget, seconds))
        await shielded(telling)

    def on_rest_response(self, code: int, reason: str, url: str, method: str, *rest: Any) -> Any:
        if (raw := raw_answers.get()) is not None:
            headers = {name.lower(): value for name, value in rest[0].items()}
            raw.append(UpstreamAnswer(code, headers, str(rest[1])))
        heard = answers.get()
        if heard is not None:
            heard.append(Answer(url, code, dict(rest[0]), is_readable=False))
        return super().on_rest_response(code, reason, url, method, *rest)  # type: ignore[misc]

    def safe_number(self, dictionary: Any, key: Any, default_number: Any = None) -> Any:
        # Every cell of a page comes by here, and ccxt's own way takes a third of the time of a backfill.
        is_cell = type(dictionary) is list and type(key) is int and 0 <= key < len(dictionary)
        if is_cell and type(dictionary[key]) is str:
            try:
                return float(dictionary[key])
            except ValueError:
                return default_number
        return super().safe_number(dictionary, key, default_number)  # type: ignore[misc]

    def parse_json(self, http_response: str) -> Any:
        # ccxt's own way hears only objects and lists, and one exchange answers with a bare number.
        try:
            parsed = self.on_json_response(http_response)  # type: ignore[attr-defined]
        except ValueError:
            return None
        if heard := answers.get():
            heard[-1] = replace(heard[-1], is_readable=True)
        return parsed

    def redirected(self, url: str) -> str:
        """An address of HTTP or WebSocket, at `base_url` where one is set; its path is kept."""
        if self._base is None:
            return url
        asked = urlsplit(url)
        scheme = self._base.scheme
        if asked.scheme in ("ws", "wss"):
            scheme = "wss" if scheme == "https" else "ws"
        path = f"{self._base.path}{asked.path}"
        return urlunsplit((scheme, self._base.netloc, path, asked.query, asked.fragment))


@lru_cache(maxsize=4)
def _trusting(cafile: str, _changed: int) -> ssl.SSLContext:
    """One for all clients that trust a file as it is now: reading its hundred certificates takes long."""
    return ssl.create_default_context(cafile=cafile)


def _without_debug(logger: logging.Logger) -> logging.Logger:
    """A logger to the same places that drops debug records: ccxt writes the headers of requests there."""
    quiet = logging.Logger(logger.name, logging.INFO)
    quiet.parent = logger
    return quiet
