"""coinbase: newest first, both bounds inclusive, at most 350 candles in a window."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from seamless_assets.dialects.base import (
    KEPT_ROWS,
    Entry,
    Handler,
    Query,
    Reason,
    Refusal,
    Route,
    always,
    by_name,
    listed,
    market_called,
    number,
    page_size,
    rows_of,
    spot,
    text,
    timeframe_of,
)
from seamless_assets.dialects.limits import RateLimits
from seamless_assets.dialects.market_data import Market, MarketData

CAP = 350
_GRANULARITY = {
    "ONE_MINUTE": "1m", "FIVE_MINUTE": "5m", "FIFTEEN_MINUTE": "15m", "THIRTY_MINUTE": "30m", "ONE_HOUR": "1h",
    "TWO_HOUR": "2h", "FOUR_HOUR": "4h", "SIX_HOUR": "6h", "ONE_DAY": "1d",
}  # fmt: skip
_UNKNOWN = Refusal(
    404,
    {
        "error": "NOT_FOUND",
        "error_details": "valid product_id is required",
        "message": "valid product_id is required",
    },
    is_unknown=True,
)
_REFUSALS: dict[Reason, tuple[int, str]] = {
    "unauthorized": (401, "unauthorized"),
    "too_many": (429, "rate_limit_exceeded"),
    "bad_request": (400, "INVALID_ARGUMENT"),
    "given_twice": (400, "INVALID_ARGUMENT"),
    "not_served": (404, "NOT_FOUND"),
}
_A_SECOND = 10
"""Requests of an address that are taken in a second."""


def _limit_headers(used: int, _at: float, _left_s: float) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(_A_SECOND),
        "x-ratelimit-remaining": str(max(0, _A_SECOND - used)),
        "x-ratelimit-reset": "1",
    }


LIMITS = RateLimits(1, _limit_headers)
"""What is left of a second, and in how many a new one begins."""
LISTS = frozenset({"product_ids"})
"""Parameters that are given once for each of their values."""
_PRODUCTS = ("/api/v3/brokerage/market/products", "/api/v3/brokerage/products")
"""For everybody, and for those with keys."""
_GONE = {"trading_disabled": True}
_FEES = {
    "total_volume": "0",
    "total_fees": "0",
    "fee_tier": {"pricing_tier": "", "taker_fee_rate": "0.012", "maker_fee_rate": "0.006"},
}


def refusal(reason: Reason, detail: str) -> Refusal:
    """The venue's words for a reason, with a detail."""
    if reason == "try_later":
        # It comes from before the venue's own servers, which would name an error.
        return Refusal(503, {"message": f"Service unavailable, please try again later. {detail}".rstrip()})
    status, error = _REFUSALS[reason]
    return Refusal(status, {"error": error, "error_details": detail, "message": detail})


def _invalid(detail: str) -> Refusal:
    return refusal("bad_request", detail)


def routes(data: MarketData) -> list[Route]:
    """Endpoints of Advanced Trade and the currency lists of v2."""
    venue = _Venue(data)
    named: dict[str, Handler] = {
        "/v2/time": venue.old_time,
        "/api/v3/brokerage/time": venue.time,
        "/v2/currencies": venue.fiat,
        "/v2/currencies/crypto": venue.crypto,
        "/v2/exchange-rates": venue.rates,
        "/api/v3/brokerage/transaction_summary": always(_FEES),
    }
    for products in _PRODUCTS:
        named[products] = venue.products
        named[f"{products}/{{product}}"] = venue.product
        named[f"{products}/{{product}}/candles"] = venue.candles
        named[f"{products}/{{product}}/ticker"] = venue.trades
    return [Route("coinbase", path, handler) for path, handler in named.items()]


class _Venue:
    def __init__(self, data: MarketData) -> None:
        self._data = data
        self._markets = by_name(spot(data), market_name)

    async def time(self, query: Query) -> Any:
        now = self._data.clock.now()
        return {
            "iso": _iso(now),
            "epochSeconds": str(int(now)),
            "epochMillis": str(int(now * 1000)),
        }

    async def old_time(self, query: Query) -> Any:
        now = int(self._data.clock.now())
        return {"data": {"iso": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}", "epoch": now}}

    async def fiat(self, query: Query) -> Any:
        return {"data": [{"id": name, "name": name, "min_size": "0.01"} for name in ("EUR", "USD")]}

    async def crypto(self, query: Query) -> Any:
        names = sorted(
            {name for market in self._markets.values() for name in (market.base, market.quote)}
            - {"EUR", "USD"}
        )
        return {
            "data": [
                {"code": name, "name": name, "exponent": 8, "type": "crypto", "asset_id": name}
                for name in names
            ]
        }

    async def rates(self, query: Query) -> Any:
        return {"data": {"currency": "USD", "rates": {"USD": "1.0"}}}

    async def products(self, query: Query) -> Any:
        if query.get("product_type", "SPOT").upper() not in ("SPOT", "", "UNKNOWN_PRODUCT_TYPE"):
            return {"products": [], "num_products": 0}
        known = await listed(self._data, self._markets)
        if asked := query.get("product_ids"):
            # One parameter for each, or all of them in one.
            names = asked.split(",")
            known = [one for one in known if one.name in names]
        begin = max(0, number(query, "offset", 0))
        # Without a limit, or one of 0, all of them.
        size = number(query, "limit", 0) or len(known)
        if size < 0:
            raise _invalid("limit must not be negative")
        page = [_told(one) for one in known[begin : begin + size]]
        return {"products": page, "num_products": len(page)}

    async def product(self, query: Query) -> Any:
        for one in await listed(self._data, self._markets):
            if one.name == query["product"]:
                return _told(one)
        raise _UNKNOWN

    async def candles(self, query: Query) -> Any:
        market = await self._market(query)
        frame = timeframe_of(_GRANULARITY, query.get("granularity"), _invalid("unsupported granularity"))
        start = number(query, "start", 0)
        end = number(query, "end", 0) if query.get("end") else int(self._data.clock.now())
        if frame.count(start, end) > CAP:
            raise _invalid(f"number of candles requested should be less than {CAP}")
        found, _ = await self._data.candles(market.symbol, frame, start, end + 1)
        found = found[-page_size(query, "limit", CAP, CAP) :]
        return {"candles": [_candle(*row) for row in rows_of(found[::-1])]}

    async def trades(self, query: Query) -> Any:
        market, now = await self._market(query), self._data.clock.now()
        start, end = number(query, "start", int(now) - 3600), number(query, "end", int(now))
        found = await self._data.trades(market.symbol, start, end, page_size(query, "limit", 100, 1000))
        return {
            "trades": [
                {
                    "trade_id": str(int(at * 1000) * 1000 + n),
                    "product_id": query["product"],
                    "price": text(price),
                    "size": text(amount),
                    "time": _iso(at),
                    "side": side.upper(),
                }
                for n, (at, price, amount, side) in reversed([*enumerate(found)])
            ],
            "best_bid": "",
            "best_ask": "",
        }

    async def _market(self, query: Query) -> Market:
        market = await market_called(self._data, self._markets, query["product"])
        if market is None:
            raise _UNKNOWN
        return market


@lru_cache(KEPT_ROWS)
def _candle(ts: int, o: float, h: float, low: float, c: float, v: float) -> dict[str, str]:
    return {
        "start": str(ts),
        "low": text(low),
        "high": text(h),
        "open": text(o),
        "close": text(c),
        "volume": text(v),
    }


def market_name(market: Market) -> str:
    """The venue's name of a market."""
    return f"{market.base}-{market.quote}"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _told(one: Entry) -> dict[str, Any]:
    """A product as the list says it."""
    return one.told(_product(one.name, one.market), _GONE)


def _product(name: str, market: Market) -> dict[str, Any]:
    terms = market.terms
    return {
        "product_id": name,
        "price": "" if market.price is None else text(market.price),
        "base_increment": terms.lot,
        "quote_increment": terms.tick,
        "price_increment": terms.tick,
        "base_min_size": terms.least,
        "base_max_size": terms.most,
        "quote_min_size": terms.least_cost,
        "quote_max_size": "50000000",
        "base_currency_id": market.base,
        "quote_currency_id": market.quote,
        "base_name": market.base,
        "quote_name": market.quote,
        "status": "online",
        "trading_disabled": False,
        "is_disabled": False,
        "product_type": "SPOT",
    }
