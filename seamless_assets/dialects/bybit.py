"""bybit: newest first, both bounds inclusive, cap 1000, errors inside an answer of status 200."""

from __future__ import annotations

import time
from functools import lru_cache, partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import (
    KEPT_ROWS,
    Query,
    Reason,
    Refusal,
    Route,
    by_name,
    futures,
    listed,
    market_called,
    page_size,
    rows_of,
    spot,
    swaps,
    text,
    window,
)
from seamless_assets.dialects.limits import RateLimits
from seamless_assets.dialects.market_data import Market, MarketData

CAP = 1000
_GONE = {"status": "Closed"}
_LISTED = 500
"""Instruments in a page of contracts, where its size is not told."""
_CATEGORIES = ("spot", "linear", "inverse", "option")
_REFUSALS: dict[Reason, tuple[int, int, str]] = {
    "unauthorized": (401, 10003, "API key is invalid."),
    "too_many": (200, 10006, "Too many visits! Exceeded the API Rate Limit."),
    "try_later": (200, 10016, "Request timeout, please try again later"),
    "bad_request": (200, 10001, "params error:"),
    "given_twice": (200, 10001, "params error:"),
    "not_served": (404, 10001, "params error: not served:"),
}
_SIGNED: dict[str, Any] = {
    "asset/coin/query-info": {"rows": []},
    "user/query-api": {"readOnly": 1, "unified": 0, "uta": 1},
    "account/info": {"unifiedMarginStatus": 5},
}
"""The answers to what ccxt asks with keys: an account without coins, which may read."""
_REQUESTS, _WINDOW_S = 600, 5
"""How many requests of an address are taken in so many seconds."""


def _limit_headers(used: int, at: float, left_s: float) -> dict[str, str]:
    left = max(0, _REQUESTS - used)
    reset = at if left else at + left_s
    return {
        "x-bapi-limit": str(_REQUESTS),
        "x-bapi-limit-status": str(left),
        "x-bapi-limit-reset-timestamp": str(int(reset * 1000)),
    }


LIMITS = RateLimits(_WINDOW_S, _limit_headers)
"""What is left of the limit, and when it begins anew: now, while something is left."""
INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h",
    "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip


def routes(data: MarketData) -> list[Route]:
    """Endpoints below `/v5/market`, and what ccxt asks with keys."""
    venue = _Venue(data)
    named = {
        "time": venue.time,
        "instruments-info": venue.instruments,
        "kline": venue.candles,
        "recent-trade": venue.trades,
    }
    return [
        *(Route("bybit", f"/v5/market/{name}", handler) for name, handler in named.items()),
        *(Route("bybit", f"/v5/{name}", partial(venue.signed, result)) for name, result in _SIGNED.items()),
    ]


class _Venue:
    def __init__(self, data: MarketData) -> None:
        self._data = data
        self._markets = {
            "spot": by_name(spot(data), market_name),
            "linear": by_name([*swaps(data), *futures(data)], market_name),
        }

    async def signed(self, result: Any, query: Query) -> Any:
        return self._ok(result)

    async def time(self, query: Query) -> Any:
        now = self._data.clock.now()
        return self._ok({"timeSecond": str(int(now)), "timeNano": str(int(now * 1e9))})

    async def instruments(self, query: Query) -> Any:
        category, symbol = query.get("category", ""), query.get("symbol")
        if category not in _CATEGORIES:
            raise Refusal(200, self._error("Illegal category"))
        known, now = await listed(self._data, self._markets.get(category, {})), self._data.clock.now()
        if symbol and category != "spot" and symbol not in (one.name for one in known):
            raise self._unknown("params error: symbol invalid")
        described = [one.told(_instrument(one.name, one.market, now), _GONE) for one in known]
        wanted = {"symbol": symbol, "baseCoin": query.get("baseCoin"), "status": query.get("status")}
        asked = {key: value for key, value in wanted.items() if value}
        found = [item for item in described if asked.items() <= item.items()]
        # All of spot is one page.
        page, cursor = (found, "") if category == "spot" else self._page(found, query)
        return self._ok({"category": category, "list": page, "nextPageCursor": cursor})

    def _page(self, found: list[dict[str, Any]], query: Query) -> tuple[list[dict[str, Any]], str]:
        """A page of instruments, and where the next one begins."""
        after, size = query.get("cursor", ""), page_size(query, "limit", _LISTED, CAP)
        names = [item["symbol"] for item in found]
        if after and after not in names:
            raise Refusal(200, self._error("params error: cursor invalid"))
        begin = names.index(after) + 1 if after else 0
        end = begin + size
        return found[begin:end], names[end - 1] if end < len(found) else ""

    async def candles(self, query: Query) -> Any:
        market = await self._market(query, "linear")
        frame = INTERVALS.get(query.get("interval", ""))
        if market is None:
            raise self._unknown("params error: Symbol Invalid")
        if frame is None:
            raise self._unknown("params error: Invalid period!")
        timeframe = Timeframe(frame)
        limit = page_size(query, "limit", 200, CAP)
        start, end = window(query, "start", "end", 1000)
        if start is None:
            found = await self._data.newest(market.symbol, timeframe, end, limit)
        elif self._data.is_too_old(market.symbol, timeframe, start):
            raise Refusal(200, self._error("params error: too long ago"))
        else:
            # An end that is not given lies `limit` bars after the start.
            reach = timeframe.shift(start, limit) if end is None else end
            found = await self._data.last(market.symbol, timeframe, start, reach, limit)
        rows = [_row(*row) for row in rows_of(found[::-1])]
        category = query.get("category") or "linear"
        return self._ok({"category": category, "symbol": query["symbol"], "list": rows})

    async def trades(self, query: Query) -> Any:
        market = await self._market(query, "")
        if market is None:
            raise self._unknown("params error: Symbol Invalid")
        now = self._data.clock.now()
        newest = page_size(query, "limit", 60, 1000)
        found = (await self._data.trades(market.symbol, now - 3600, now, 1000))[-newest:]
        rows = [
            {
                "execId": str(n),
                "symbol": query["symbol"],
                "price": text(price),
                "size": text(amount),
                "side": side.capitalize(),
                "time": str(int(at * 1000)),
                "isBlockTrade": False,
            }
            for n, (at, price, amount, side) in enumerate(found[::-1])
        ]
        return self._ok({"category": query["category"], "list": rows})

    async def _market(self, query: Query, category: str) -> Market | None:
        """The market that is asked for, of `category` where none is told. Raises `Refusal` for an unknown one."""
        category = query.get("category") or category
        if category not in _CATEGORIES:
            raise Refusal(200, self._error("Illegal category"))
        markets = self._markets.get(category, {})
        market = await market_called(self._data, markets, query.get("symbol", ""))
        return None if market is None or self._data.is_refused(market.symbol) else market

    def _ok(self, result: Any) -> Any:
        return {
            "retCode": 0,
            "retMsg": "OK",
            "result": result,
            "retExtInfo": {},
            "time": int(self._data.clock.now() * 1000),
        }

    def _unknown(self, reason: str) -> Refusal:
        return Refusal(200, self._error(reason), is_unknown=True)

    def _error(self, reason: str) -> Any:
        return _failed(10001, reason, self._data.clock.now())


@lru_cache(KEPT_ROWS)
def _row(ts: int, o: float, h: float, low: float, c: float, v: float) -> tuple[str, ...]:
    return (str(ts * 1000), text(o), text(h), text(low), text(c), text(v), text(v * c))


def refusal(reason: Reason, detail: str) -> Refusal:
    """The venue's words for a reason, with a detail."""
    status, code, message = _REFUSALS[reason]
    return Refusal(status, _failed(code, f"{message} {detail}".rstrip(), time.time()))


def stamped(body: bytes, now: float) -> bytes:
    """The body of an answer as it is at another time: each ends with when it was given."""
    begin, name, _ = body.rpartition(b'"time":')
    return begin + name + b"%d}" % int(now * 1000)


def _failed(code: int, message: str, now: float) -> Any:
    return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": int(now * 1000)}


def market_name(market: Market) -> str:
    """The venue's name of a market: of contracts in USDC the quote is left out."""
    if market.quote == "USDC" and (market.is_swap or market.expiry):
        plain = market.base
    else:
        plain = f"{market.base}{market.quote}"
    if market.expiry:
        return f"{plain}-{market.expiry:%d%b%y}".upper()
    return f"{plain}PERP" if market.is_swap and plain == market.base else plain


def _instrument(name: str, market: Market, now: float) -> dict[str, Any]:
    terms = market.terms
    common = {
        "symbol": name,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "status": "Closed" if market.is_halted(now) else "Trading",
        "priceFilter": {"minPrice": terms.tick, "maxPrice": "1000000", "tickSize": terms.tick},
        "lotSizeFilter": {
            "basePrecision": terms.lot,
            "quotePrecision": "0.00000001",
            "minOrderQty": terms.least,
            "maxOrderQty": terms.most,
            "minOrderAmt": terms.least_cost,
            "maxOrderAmt": "1000000",
            "qtyStep": terms.lot,
            "minNotionalValue": terms.least_cost,
        },
    }
    expiry = market.expiry
    if not market.is_swap and expiry is None:
        return {**common, "marginTrading": "none"}
    return {
        **common,
        "contractType": "LinearFutures" if expiry else "LinearPerpetual",
        "settleCoin": market.quote,
        "launchTime": str(market.listed * 1000),
        "deliveryTime": f"{expiry.timestamp() * 1000:.0f}" if expiry else "0",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
    }
