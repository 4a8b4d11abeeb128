"""kraken: 720 newest bars and no further back, flat bars of zero volume where nobody traded."""

from __future__ import annotations

from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query, Route, by_name, number, page_size, real, rows_of, spot, text
from seamless_assets.dialects.market_data import Market, MarketData

RETENTION = 720
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

    def assets(self, query: Query) -> Any:
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

    def pairs(self, query: Query) -> Any:
        return _ok({name: _pair(name, market) for name, market in self._markets.items()})

    def time(self, query: Query) -> Any:
        return _ok({"unixtime": int(self._data.clock.now())})

    def status(self, query: Query) -> Any:
        return _ok({"status": "online", "timestamp": "2025-01-01T00:00:00Z"})

    def candles(self, query: Query) -> Any:
        name, frame = query.get("pair", ""), MINUTES.get(query.get("interval", "1"))
        if name not in self._markets:
            return _error("EQuery:Unknown asset pair")
        if frame is None:
            return _error("EGeneral:Invalid arguments:interval")
        timeframe, now = Timeframe(frame), int(self._data.clock.now())
        market = self._markets[name]
        start = max(timeframe.shift(now, 1 - RETENTION), timeframe.floor(market.listed))
        since = number(query, "since", 0)
        rows = [row for row in _filled(self._data, market, timeframe, start, now + 1) if row[0] > since]
        closed = timeframe.shift(now, -1)
        return _ok(
            {
                name: [
                    [ts, *(text(value) for value in (o, h, low, c, c)), text(v), 4 if v else 0]
                    for ts, o, h, low, c, v in rows
                ],
                "last": closed,
            }
        )

    def trades(self, query: Query) -> Any:
        name = query.get("pair", "")
        if name not in self._markets:
            return _error("EQuery:Unknown asset pair")
        now = self._data.clock.now()
        since = real(query, "since", now - 3600)
        since = since / 1e9 if since > 1e12 else since
        count = page_size(query, "count", 1000, 1000)
        found = self._data.trades(self._markets[name].symbol, since, now, count)
        last = found[-1][0] if found else since
        rows = [
            [text(price), text(amount), at, side[0], "l", "", n]
            for n, (at, price, amount, side) in enumerate(found)
        ]
        return _ok({name: rows, "last": str(int(last * 1e9))})


def _filled(
    data: MarketData, market: Market, timeframe: Timeframe, start: int, end: int
) -> list[tuple[Any, ...]]:
    found = {row[0]: row for row in rows_of(data.candles(market.symbol, timeframe, start, end))}
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
