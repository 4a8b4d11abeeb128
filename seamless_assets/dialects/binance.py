"""binance: spot and linear swaps. Ascending pages from startTime, endTime inclusive, caps 1000 and 1500."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from seamless_assets.core.wire.listing import Listing
from seamless_assets.dialects.base import (
    KEPT_ROWS,
    Handler,
    Query,
    Reason,
    Refusal,
    Route,
    always,
    by_name,
    listed,
    market_called,
    padded,
    page_size,
    rows_of,
    spot,
    swaps,
    timeframe_of,
    window,
)
from seamless_assets.dialects.limits import RateLimits
from seamless_assets.dialects.market_data import Market, MarketData
from seamless_assets.errors import NotServed

FRAMES = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
_NAMES = {frame: frame for frame in FRAMES}
_BAD_SYMBOL = Refusal(400, {"code": -1121, "msg": "Invalid symbol."}, is_unknown=True)
_BAD_INTERVAL = Refusal(400, {"code": -1120, "msg": "Invalid interval."}, is_unknown=True)
_NUMBER = ("^[0-9]{1,20}$", re.compile("[0-9]{1,20}"))
_LEGAL = {
    **dict.fromkeys(("startTime", "endTime", "limit"), _NUMBER),
    "symbol": (r"^[\w\-._&&[^a-z]]{1,50}$", re.compile(r"(?!.*[a-z])[\w.-]{1,50}")),
}
"""The characters that parameters may have, as the venue says it and as Python does."""
_COMMON = frozenset({"SPOT", "MARGIN", "LEVERAGED"})
"""Whose markets are listed where nobody's are asked for."""
Places = tuple[int, int]
"""Decimals of prices and of amounts."""
_ONE_OF_TWO = Refusal(400, {"code": -1128, "msg": "Combination of optional parameters invalid."})
_READ = {
    "klines": ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"),
    "aggTrades": ("symbol", "fromId", "startTime", "endTime", "limit"),
    "exchangeInfo": ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
}
"""The parameters of spot's endpoints; what contracts and clocks do not read is as if it were not there."""
_PLACES = 8
_GONE = {"status": "BREAK"}
_UTC = re.compile("[+-]?0{1,2}(:00)?")
_TOO_OLD = Refusal(400, {"code": -1102, "msg": "Candlestick too long ago."})


def _limit_headers(used: int, _at: float, _left_s: float) -> dict[str, str]:
    return {"x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}


LIMITS = RateLimits(60, _limit_headers, {"exchangeInfo": 20, "time": 1, "klines": 2, "aggTrades": 4})
"""What requests weigh, and how every answer tells what its caller has used of the minute."""
_LIMIT_OF_SPOT, _LIMIT_OF_CONTRACTS = 6_000, 2_400
_REFUSALS: dict[Reason, tuple[int, int, str]] = {
    "unauthorized": (401, -2015, "Invalid API-key, IP, or permissions for action."),
    "too_many": (429, -1003, "Too many requests."),
    "try_later": (503, -1001, "Internal error; unable to process your request. Please try again."),
    "bad_request": (400, -1130, "Data sent for a parameter is not valid."),
    "given_twice": (400, -1101, "Duplicate values for parameter detected."),
    "not_served": (404, -1016, "This service is no longer available."),
}
_SIGNED_LISTS = ("capital/config/getall", "margin/allPairs", "margin/isolated/allPairs", "margin/allAssets")
"""What ccxt asks with keys before it asks for markets; an account without any of it answers so."""


def routes(data: MarketData) -> list[Route]:
    """Endpoints of spot (`/api/v3`), linear (`/fapi/v1`), empty markets of other kinds, and those for keys."""
    made = [
        *(Route("binance", f"/sapi/v1/{path}", always([])) for path in _SIGNED_LISTS),
        Route("binance", "/eapi/v1/exchangeInfo", always({"optionContracts": [], "optionSymbols": []})),
    ]
    for base, markets, cap in (
        ("/api/v3", spot(data), 1000),
        ("/fapi/v1", swaps(data), 1500),
        ("/dapi/v1", [], 1500),
    ):
        is_spot = base == "/api/v3"
        weight = _LIMIT_OF_SPOT if is_spot else _LIMIT_OF_CONTRACTS
        venue = _Venue(data, markets, cap, weight, is_spot=is_spot)
        named: dict[str, Handler] = {
            "exchangeInfo": venue.info,
            "time": venue.time,
            "ping": always({}),
            "klines": venue.klines,
            "aggTrades": venue.trades,
        }
        made += [
            Route(
                "binance", f"{base}/{name}", _reading(name, handler) if is_spot and name in _READ else handler
            )
            for name, handler in named.items()
        ]
    return made


def refusal(reason: Reason, detail: str) -> Refusal:
    """The venue's words for a reason, with a detail."""
    status, code, message = _REFUSALS[reason]
    return Refusal(status, {"code": code, "msg": f"{message} {detail}".rstrip()})


def written(value: float, places: int = _PLACES) -> str:
    """A price or an amount with the decimals that the venue writes: as many on spot, a market's own else."""
    return padded(value, places)


def places_of_market(market: Market, listing: Listing | None) -> Places:
    """The decimals of a market's prices and of its amounts: eight on spot, those of the list else."""
    if not market.is_swap:
        return _PLACES, _PLACES
    entry = {} if listing is None else listing.entry
    price, amount = entry.get("pricePrecision"), entry.get("quantityPrecision")
    if isinstance(price, int) and isinstance(amount, int):
        return price, amount
    return market.terms.price_places, market.terms.amount_places


def turnover(volume: float, close: float, places: Places) -> str:
    """What a candle's volume is worth, with the decimals that it has."""
    all_places = min(sum(places), _PLACES)
    return written(round(volume * close, all_places), all_places)


def market_name(market: Market) -> str:
    """The venue's name of a market."""
    return f"{market.base}{market.quote}"


class _Venue:
    def __init__(
        self, data: MarketData, markets: list[Market], cap: int, weight: int, *, is_spot: bool
    ) -> None:
        self._data, self._cap, self._weight, self._is_spot = data, cap, weight, is_spot
        self._markets = by_name(markets, market_name)

    async def info(self, query: Query) -> Any:
        known, now = await listed(self._data, self._markets), self._data.clock.now()
        listings = [one.told(_listing(one.name, one.market, now), _GONE) for one in known]
        return {
            "timezone": "UTC",
            "serverTime": int(now * 1000),
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self._weight,
                }
            ],
            "exchangeFilters": [],
            "symbols": _chosen(listings, query) if self._is_spot else listings,
        }

    async def time(self, query: Query) -> Any:
        return {"serverTime": int(self._data.clock.now() * 1000)}

    async def klines(self, query: Query) -> Any:
        _require(query, "symbol", "interval")
        market = await self._market(query)
        frame = timeframe_of(_NAMES, query.get("interval"), _BAD_INTERVAL)
        if self._is_spot and not _UTC.fullmatch(query.get("timeZone") or "0"):
            raise NotServed("candles are kept in UTC; leave timeZone out")
        limit = page_size(query, "limit", 500, self._cap)
        start, end = window(query, "startTime", "endTime", 1000)
        if start is None:
            found = await self._data.newest(market.symbol, frame, end, limit)
        elif self._data.is_too_old(market.symbol, frame, start):
            raise _TOO_OLD
        else:
            found = await self._data.first(market.symbol, frame, start, end, limit)
        trades = self._data.trades_in_candle
        places = places_of_market(market, (await self._data.listings_at_hand()).get(market.symbol))
        return [
            _row(ts, frame.shift(ts, 1), o, h, low, c, v, trades, places)
            for ts, o, h, low, c, v in rows_of(found)
        ]

    async def trades(self, query: Query) -> Any:
        _require(query, "symbol")
        market = await self._market(query)
        if query.get("fromId"):
            raise NotServed("trades are found by their time here, and not by fromId")
        start, end = window(query, "startTime", "endTime", 1000)
        finish = int(self._data.clock.now()) + 1 if end is None else end
        begin = finish - 3601 if start is None else start
        found = await self._data.trades(market.symbol, begin, finish, page_size(query, "limit", 500, 1000))
        return [
            {
                "a": int(at * 1000),
                "p": written(price),
                "q": written(amount),
                "f": n,
                "l": n,
                "T": int(at * 1000),
                "m": side == "sell",
                "M": True,
            }
            for n, (at, price, amount, side) in enumerate(found)
        ]

    async def _market(self, query: Query) -> Market:
        market = await market_called(self._data, self._markets, query.get("symbol", ""))
        if market is None or self._data.is_refused(market.symbol):
            raise _BAD_SYMBOL
        return market


@lru_cache(KEPT_ROWS)
def _row(
    ts: int,
    end: int,
    o: float,
    h: float,
    low: float,
    c: float,
    v: float,
    trades: int,
    places: Places,
) -> tuple[int | str, ...]:
    price, amount = places
    return (
        ts * 1000,
        written(o, price),
        written(h, price),
        written(low, price),
        written(c, price),
        written(v, amount),
        end * 1000 - 1,
        turnover(v, c, places),
        trades,
        written(0.0, amount),
        turnover(0.0, c, places),
        "0",
    )


def _require(query: Query, *names: str) -> None:
    """Raise the venue's refusal where one of the parameters is not there, or any has other characters."""
    for name in names:
        if not query.get(name):
            said = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            raise Refusal(400, {"code": -1102, "msg": said})
    for name, (legal, pattern) in _LEGAL.items():
        if query.get(name) and not pattern.fullmatch(query[name]):
            said = f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
            raise Refusal(400, {"code": -1100, "msg": said})


def _reading(name: str, handler: Handler) -> Handler:
    """A handler of spot, which refuses parameters that it does not read."""
    read = _READ[name]

    async def answered(query: Query) -> Any:
        known = len(query.keys() & set(read))
        if known < len(query):
            said = (
                f"Not all sent parameters were read; read '{known}' parameter(s) but was sent '{len(query)}'."
            )
            raise Refusal(400, {"code": -1104, "msg": said})
        return await handler(query)

    return answered


def _chosen(listings: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    """Those of the listings that a query of spot asks for. Raises `Refusal`."""
    named = [name for name in ("symbol", "symbols") if query.get(name)]
    others = [name for name in ("permissions", "symbolStatus") if query.get(name)]
    if len(named) + bool(others) > 1:
        raise _ONE_OF_TWO
    if named:
        asked = [query["symbol"]] if named == ["symbol"] else _array(query, "symbols")
        known = {item["symbol"]: item for item in listings}
        if not known.keys() >= set(asked):
            raise _BAD_SYMBOL
        return [known[name] for name in dict.fromkeys(asked)]
    permissions = query.get("permissions", "")
    asked = _array(query, "permissions") if permissions.startswith("[") else [permissions]
    allowed = set(asked) if permissions else _COMMON
    status, is_short = query.get("symbolStatus"), query.get("showPermissionSets", "").lower() == "false"
    return [
        {name: value for name, value in item.items() if not is_short or name != "permissionSets"}
        for item in listings
        if not allowed.isdisjoint(_permissions(item)) and status in (None, "", item.get("status"))
    ]


def _permissions(item: Mapping[str, Any]) -> set[str]:
    """Who may trade a market of the list: newer ones tell it in sets of which one has to be had."""
    return {*item.get("permissions", ()), *(name for one in item.get("permissionSets", ()) for name in one)}


def _array(query: Query, name: str) -> list[str]:
    """A parameter that is a JSON array of texts."""
    try:
        values = json.loads(query[name])
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Refusal(400, {"code": -1100, "msg": f"Illegal characters found in parameter '{name}'."})
    return values


def _listing(name: str, market: Market, now: float) -> dict[str, Any]:
    terms = market.terms
    common = {
        "symbol": name,
        "pair": name,
        "status": "BREAK" if market.is_halted(now) else "TRADING",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "baseAssetPrecision": _PLACES,
        "quoteAssetPrecision": _PLACES,
        "orderTypes": ["LIMIT", "MARKET"],
    }
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": terms.tick, "maxPrice": "1000000", "tickSize": terms.tick},
        *(
            {"filterType": kind, "minQty": terms.least, "maxQty": terms.most, "stepSize": terms.lot}
            for kind in ("LOT_SIZE", "MARKET_LOT_SIZE")
        ),
    ]
    if not market.is_swap:
        worth = {"filterType": "NOTIONAL", "minNotional": terms.least_cost, "applyMinToMarket": True}
        return {
            **common,
            "quotePrecision": _PLACES,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [*filters, worth],
            "permissions": [],
            "permissionSets": [["SPOT"]],
        }
    return {
        **common,
        "contractType": "PERPETUAL",
        "marginAsset": market.quote,
        "underlyingType": "COIN",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": market.listed * 1000,
        "pricePrecision": terms.price_places,
        "quantityPrecision": terms.amount_places,
        "filters": [*filters, {"filterType": "MIN_NOTIONAL", "notional": terms.least_cost}],
    }
