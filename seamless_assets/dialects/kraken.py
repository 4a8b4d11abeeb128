"""kraken: 720 newest bars and no further back, flat bars of zero volume where nobody traded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import (
    KEPT_ROWS,
    Query,
    Reason,
    Refusal,
    Route,
    by_name,
    listed,
    number,
    padded,
    page_size,
    real,
    rows_of,
    spot,
)
from seamless_assets.dialects.market_data import Market, MarketData
from seamless_assets.errors import NotServed

RETENTION = 720
_PLACES = 8
"""Decimals of amounts."""
_GONE = {"status": "cancel_only"}
_DECIMALS = {"EUR": 4, "USD": 4, "ADA": 6}
"""Decimals of assets that have fewer than most."""
_REFUSALS: dict[Reason, str] = {
    "unauthorized": "EAPI:Invalid key",
    "too_many": "EGeneral:Too many requests",
    "try_later": "EService:Unavailable",
    "bad_request": "EGeneral:Invalid arguments",
    "given_twice": "EGeneral:Invalid arguments",
    "not_served": "EGeneral:Unknown method",
}
MINUTES = {
    "1": "1m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "240": "4h",
    "1440": "1d",
    "10080": "1w",
}
_OLD_CODES = {"BTC": "XBT", "DOGE": "XDG"}
"""What the venue has called coins since its beginning."""
_OLD_PREFIXES = {
    **dict.fromkeys(("XBT", "ETH", "LTC", "XRP", "XLM", "XMR", "ETC", "REP", "ZEC", "MLN", "XDG"), "X"),
    **dict.fromkeys(("USD", "EUR", "GBP", "CAD", "JPY", "AUD"), "Z"),
}
"""What stands before the oldest of its codes: XXBT, ZUSD."""


def routes(data: MarketData) -> list[Route]:
    """Endpoints below `/0/public`."""
    venue = _Venue(data)
    named = {
        "Assets": venue.assets,
        "AssetPairs": venue.pairs,
        "Time": venue.time,
        "SystemStatus": venue.status,
        "OHLC": venue.candles,
        "Trades": venue.trades,
    }
    return [Route("kraken", f"/0/public/{name}", handler) for name, handler in named.items()]


class _Venue:
    def __init__(self, data: MarketData) -> None:
        self._data = data
        self._markets = by_name(spot(data), lambda market: f"{market.base}{market.quote}")
        self._old_names = _old_names(self._markets)

    async def assets(self, query: Query) -> Any:
        known = await listed(self._data, self._markets)
        told = {name: told for one in known if one.listing for name, told in one.listing.assets.items()}
        made = {
            name
            for one in known
            if one.listing is None or not one.listing.assets
            for name in (one.market.base, one.market.quote)
        } - told.keys()
        all_assets = told | {name: _asset(name) for name in sorted(made)}
        old = {old: name for name in made for old in (_old_code(name), _old_asset(name))}
        shorter = {entry.get("altname", name): name for name, entry in told.items()}
        names = {**old, **shorter, **{name: name for name in all_assets}}
        asked = _listed(query, "asset") or list(all_assets)
        if not names.keys() >= set(asked):
            raise Refusal(200, _error("EQuery:Unknown asset"), is_unknown=True)
        return _ok({name if names[name] in made else names[name]: all_assets[names[name]] for name in asked})

    async def pairs(self, query: Query) -> Any:
        if query.get("info", "info") != "info":
            raise NotServed("of pairs their info is kept here, and no leverage, fees or margin")
        known = {one.market.symbol: one for one in await listed(self._data, self._markets)}
        pairs = [(one.market, one.name) for one in known.values()]
        if asked := _listed(query, "pair"):
            pairs = [await self._named(name) for name in asked]
        if any(market.symbol not in known for market, _ in pairs):
            raise _UNKNOWN
        return _ok({key: known[market.symbol].told(_pair(key, market), _GONE) for market, key in pairs})

    async def time(self, query: Query) -> Any:
        now = int(self._data.clock.now())
        return _ok(
            {"unixtime": now, "rfc1123": f"{datetime.fromtimestamp(now, UTC):%a, %d %b %y %H:%M:%S +0000}"}
        )

    async def status(self, query: Query) -> Any:
        now = datetime.fromtimestamp(int(self._data.clock.now()), UTC)
        return _ok({"status": "online", "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}"})

    async def candles(self, query: Query) -> Any:
        market, key = await self._market(query)
        frame = MINUTES.get(query.get("interval") or "1")
        if frame is None:
            raise Refusal(200, _error("EGeneral:Invalid arguments"), is_unknown=True)
        timeframe, now = Timeframe(frame), int(self._data.clock.now())
        start = max(timeframe.shift(now, 1 - RETENTION), timeframe.floor(market.listed))
        # It is exclusive.
        since = number(query, "since", 0)
        found, end = await self._data.candles(market.symbol, timeframe, start, None)
        rows = [row for row in _filled(found, timeframe, start, end) if row[0] > since]
        closed = [row[0] for row in rows if timeframe.shift(row[0], 1) <= now]
        trades, places = self._data.trades_in_candle, await self._places(market)
        return _ok(
            {
                key: [_row(*row, trades, places) for row in rows],
                # Whoever asks from there on has each candle as it closed, and misses none.
                "last": closed[-1] if closed else since,
            }
        )

    async def trades(self, query: Query) -> Any:
        market, key = await self._market(query)
        now = self._data.clock.now()
        since = real(query, "since", now - 3600)
        since = since / 1e9 if since > 1e12 else since
        count = page_size(query, "count", 1000, 1000)
        found = await self._data.trades(market.symbol, since, now, count)
        last, places = found[-1][0] if found else since, await self._places(market)
        rows = [
            [padded(price, places[0]), padded(amount, places[1]), at, side[0], "l", "", n]
            for n, (at, price, amount, side) in enumerate(found)
        ]
        return _ok({key: rows, "last": str(int(last * 1e9))})

    async def _market(self, query: Query) -> tuple[Market, str]:
        """The market that is asked for, and the name that it is answered under. Raises `Refusal`."""
        if not query.get("pair"):
            raise Refusal(200, _error("EGeneral:Invalid arguments"))
        if query.get("asset_class", "currency") != "currency":
            raise _UNKNOWN
        return await self._named(query["pair"])

    async def _named(self, asked: str) -> tuple[Market, str]:
        """A pair by one of its names, and the one that it is answered under. Raises `Refusal`.

        That is the list's own; where this has another one, the oldest for those that are old.
        """
        listings = await self._data.listings_at_hand()
        for market in self._markets.values():
            listing = listings.get(market.symbol)
            if listing is None:
                continue
            if asked in (listing.name, listing.entry.get("altname"), listing.entry.get("wsname")):
                return market, listing.name
        name, key = self._old_names.get(asked, (asked, asked))
        if name not in self._markets:
            raise _UNKNOWN
        return self._markets[name], key

    async def _places(self, market: Market) -> tuple[int, int]:
        """The decimals of a market's prices and of its amounts, as the list of pairs names them."""
        listing = (await self._data.listings_at_hand()).get(market.symbol)
        entry = {} if listing is None else listing.entry
        price, amount = entry.get("pair_decimals"), entry.get("lot_decimals")
        if isinstance(price, int) and isinstance(amount, int):
            return price, amount
        return market.terms.price_places, _PLACES


@lru_cache(KEPT_ROWS)
def _row(
    ts: int, o: float, h: float, low: float, c: float, v: float, trades: int, places: tuple[int, int]
) -> tuple[int | str, ...]:
    # Where nobody traded nothing has a mean.
    prices = (padded(price, places[0]) for price in (o, h, low, c, c if v else 0.0))
    return (ts, *prices, padded(v, places[1]), trades if v else 0)


def refusal(reason: Reason, detail: str) -> Refusal:
    """The venue's words for a reason, with a detail where it has room for one."""
    return Refusal(200, {"error": [_REFUSALS[reason]], "result": {"detail": detail}})


def _filled(candles: np.ndarray, timeframe: Timeframe, start: int, end: int) -> list[tuple[Any, ...]]:
    found = {row[0]: row for row in rows_of(candles)}
    rows: list[tuple[Any, ...]] = []
    for ts in timeframe.opens(start, timeframe.ceil(end)):
        if ts in found:
            rows.append(found[ts])
        elif rows:
            close = rows[-1][4]
            rows.append((ts, close, close, close, close, 0.0))
    return rows


def _asset(name: str) -> dict[str, Any]:
    return {
        "aclass": "currency",
        "altname": name,
        "decimals": _DECIMALS.get(name, 10),
        "display_decimals": 5,
        "status": "enabled",
    }


def _pair(name: str, market: Market) -> dict[str, Any]:
    terms = market.terms
    return {
        "altname": name,
        "wsname": market.symbol,
        "aclass_base": "currency",
        "base": market.base,
        "aclass_quote": "currency",
        "quote": market.quote,
        "pair_decimals": terms.price_places,
        "lot_decimals": _PLACES,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, round(float(terms.taker) * 100, 6)]],
        "fees_maker": [[0, round(float(terms.maker) * 100, 6)]],
        "fee_volume_currency": "ZUSD",
        "ordermin": terms.least,
        "costmin": terms.least_cost,
        "tick_size": terms.tick,
        "status": "online",
    }


def _ok(result: Any) -> Any:
    return {"error": [], "result": result}


def _error(reason: str) -> Any:
    return {"error": [reason]}


_UNKNOWN = Refusal(200, _error("EQuery:Unknown asset pair"), is_unknown=True)


def _listed(query: Query, name: str) -> list[str]:
    """The values of a parameter that lists them with commas."""
    return [value for value in query.get(name, "").split(",") if value]


def _old_code(name: str) -> str:
    return _OLD_CODES.get(name, name)


def _old_asset(name: str) -> str:
    code = _old_code(name)
    return f"{_OLD_PREFIXES.get(code, '')}{code}"


def _old_names(markets: Mapping[str, Market]) -> dict[str, tuple[str, str]]:
    """What the venue calls markets otherwise: our name, and the one that answers have then."""
    found: dict[str, tuple[str, str]] = {}
    for name, market in markets.items():
        found |= {market.symbol: (name, name)}
        base, quote = _old_code(market.base), _old_code(market.quote)
        is_oldest = {base, quote} <= _OLD_PREFIXES.keys()
        key = f"{_old_asset(market.base)}{_old_asset(market.quote)}" if is_oldest else f"{base}{quote}"
        found |= dict.fromkeys((f"{base}{quote}", f"{base}/{quote}", key), (name, key))
    return found | {name: (name, name) for name in markets}
