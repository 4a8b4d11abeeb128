"""kraken: 720 newest bars and no further back, flat bars of zero volume where nobody traded."""

from __future__ import annotations

from typing import Any

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import (
    Query,
    Reason,
    Refusal,
    Route,
    by_name,
    listed,
    number,
    page_size,
    real,
    rows_of,
    spot,
    text,
)
from seamless_assets.dialects.market_data import Market, MarketData

RETENTION = 720
_REFUSALS: dict[Reason, str] = {
    "unauthorized": "EAPI:Invalid key",
    "too_many": "EGeneral:Too many requests",
    "try_later": "EService:Unavailable",
    "bad_request": "EGeneral:Invalid arguments",
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

    async def assets(self, query: Query) -> Any:
        names = {name for market in self._markets.values() for name in (market.base, market.quote)}
        return _ok(
            {
                name: {
                    "aclass": "currency",
                    "altname": name,
                    "decimals": 10,
                    "display_decimals": 5,
                    "status": "enabled",
                }
                for name in sorted(names)
            }
        )

    async def pairs(self, query: Query) -> Any:
        known = await listed(self._data, self._markets)
        return _ok({name: _pair(name, market) for name, market in known.items()})

    async def time(self, query: Query) -> Any:
        return _ok({"unixtime": int(self._data.clock.now())})

    async def status(self, query: Query) -> Any:
        return _ok({"status": "online", "timestamp": "2025-01-01T00:00:00Z"})

    async def candles(self, query: Query) -> Any:
        name, frame = query.get("pair", ""), MINUTES.get(query.get("interval", "1"))
        if name not in self._markets:
            raise Refusal(200, _error("EQuery:Unknown asset pair"))
        if frame is None:
            raise Refusal(200, _error("EGeneral:Invalid arguments:interval"))
        timeframe, now = Timeframe(frame), int(self._data.clock.now())
        market = self._markets[name]
        start = max(timeframe.shift(now, 1 - RETENTION), timeframe.floor(market.listed))
        since = number(query, "since", 0)
        found, end = await self._data.candles(market.symbol, timeframe, start, None)
        rows = [row for row in _filled(found, timeframe, start, end) if row[0] > since]
        closed, trades = timeframe.shift(now, -1), self._data.trades_in_candle
        return _ok(
            {
                name: [
                    [ts, *(text(value) for value in (o, h, low, c, c)), text(v), trades if v else 0]
                    for ts, o, h, low, c, v in rows
                ],
                "last": closed,
            }
        )

    async def trades(self, query: Query) -> Any:
        name = query.get("pair", "")
        if name not in self._markets:
            raise Refusal(200, _error("EQuery:Unknown asset pair"))
        now = self._data.clock.now()
        since = real(query, "since", now - 3600)
        since = since / 1e9 if since > 1e12 else since
        count = page_size(query, "count", 1000, 1000)
        found = await self._data.trades(self._markets[name].symbol, since, now, count)
        last = found[-1][0] if found else since
        rows = [
            [text(price), text(amount), at, side[0], "l", "", n]
            for n, (at, price, amount, side) in enumerate(found)
        ]
        return _ok({name: rows, "last": str(int(last * 1e9))})


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


def _pair(name: str, market: Market) -> dict[str, Any]:
    return {
        "altname": name,
        "wsname": market.symbol,
        "aclass_base": "currency",
        "base": market.base,
        "aclass_quote": "currency",
        "quote": market.quote,
        "pair_decimals": 8,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.26]],
        "fees_maker": [[0, 0.16]],
        "fee_volume_currency": "ZUSD",
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": "0.00000001",
        "status": "online",
    }


def _ok(result: Any) -> Any:
    return {"error": [], "result": result}


def _error(reason: str) -> Any:
    return {"error": [reason]}
