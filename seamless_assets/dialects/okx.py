"""okx: newest first, `after` and `before` exclusive, caps 300; recent bars and history at two addresses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.wire.listing import Listing
from seamless_assets.dialects.base import (
    KEPT_ROWS,
    Query,
    Reason,
    Refusal,
    Route,
    by_name,
    listed,
    market_called,
    number,
    page_size,
    rows_of,
    spot,
    swaps,
    text,
)
from seamless_assets.dialects.market_data import Market, MarketData

CAP = 300
_CONTRACT_PLACES = 8
_GONE = {"state": "suspend"}
RECENT = 1440
_REFUSALS: dict[Reason, tuple[int, str, str]] = {
    "unauthorized": (401, "50111", "Invalid OK-ACCESS-KEY."),
    "too_many": (429, "50011", "Too Many Requests."),
    "try_later": (503, "50001", "Service temporarily unavailable. Please try again later."),
    "bad_request": (400, "51000", "Parameter error."),
    "given_twice": (400, "51000", "Parameter error."),
    "not_served": (404, "51000", "Parameter error: not served:"),
}
_DIGITS = re.compile("-?[0-9]{0,18}")
_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})
BARS = {
    "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h",
    "6Hutc": "6h", "12Hutc": "12h", "1Dutc": "1d", "1Wutc": "1w", "1Mutc": "1M",
}  # fmt: skip


_REACHES_S = (1.0, 60.0, 600.0, 3_600.0)
"""How far back trades are looked for until there are enough of them."""
_MOST_TRADES = 1_000
"""What is cut there lacks the newest of them."""


def routes(data: MarketData) -> list[Route]:
    """Endpoints below `/api/v5`, and what ccxt asks with keys."""
    venue = _Venue(data)
    named = {
        "public/time": venue.time,
        "public/instruments": venue.instruments,
        "market/candles": venue.recent,
        "market/history-candles": venue.history,
        "market/trades": venue.trades,
        "market/history-trades": venue.history_trades,
        "asset/currencies": venue.currencies,
    }
    return [Route("okx", f"/api/v5/{name}", handler) for name, handler in named.items()]


class _Venue:
    def __init__(self, data: MarketData) -> None:
        self._data = data
        self._markets = by_name([*spot(data), *swaps(data)], market_name)

    async def currencies(self, query: Query) -> Any:
        return _ok([])

    async def time(self, query: Query) -> Any:
        return _ok([{"ts": str(int(self._data.clock.now() * 1000))}])

    async def instruments(self, query: Query) -> Any:
        kind, name = query.get("instType"), query.get("instId")
        if not kind:
            raise _empty("instType")
        if kind not in _TYPES:
            raise _wrong("instType")
        known = await listed(self._data, self._markets)
        if name and name not in (one.name for one in known):
            raise _UNKNOWN
        described = [one.told(_instrument(one.name, one.market), _GONE) for one in known]
        wanted = {
            "instType": kind,
            "instId": name,
            "uly": query.get("uly"),
            "instFamily": query.get("instFamily"),
        }
        asked = {key: value for key, value in wanted.items() if value}
        return _ok([item for item in described if asked.items() <= item.items()])

    async def recent(self, query: Query) -> Any:
        return await self._candles(query, reach=RECENT)

    async def history(self, query: Query) -> Any:
        return await self._candles(query, reach=None)

    async def _candles(self, query: Query, reach: int | None) -> Any:
        market, frame = await self._market(query), BARS.get(query.get("bar") or "1m")
        if frame is None:
            raise _wrong("bar", is_unknown=True)
        for name in ("after", "before", "limit"):
            if not _DIGITS.fullmatch(query.get(name, "")):
                raise _wrong(name)
        timeframe, now = Timeframe(frame), int(self._data.clock.now())
        limit = page_size(query, "limit", 100, CAP)
        end = -(-number(query, "after", 0) // 1000) if query.get("after") else None
        oldest = timeframe.shift(now, -reach) if reach else 0
        start = max(number(query, "before", -1) // 1000 + 1, oldest)
        found = (await self._data.last(market.symbol, timeframe, start, end, limit))[::-1]
        write = writer_of(market, (await self._data.listings_at_hand()).get(market.symbol))
        return _ok(
            [(*write(*row), "1" if timeframe.shift(row[0], 1) <= now else "0") for row in rows_of(found)]
        )

    async def trades(self, query: Query) -> Any:
        market = await self._market(query)
        now, limit = self._data.clock.now(), page_size(query, "limit", 100, 500)
        found = (await self._data.trades(market.symbol, now - 3600, now, 1000))[-limit:][::-1]
        return _ok([_trade(query["instId"], *one) for one in found])

    async def history_trades(self, query: Query) -> Any:
        """Trades before `after` and after `before`: both are times, by which trades are named, too."""
        market = await self._market(query)
        now, limit = self._data.clock.now(), page_size(query, "limit", 100, 100)
        end, since = min(number(query, "after", int(now * 1000)) / 1000, now), number(query, "before", 0)
        found: list[tuple[float, float, float, str]] = []
        for reach in _REACHES_S:
            wider = await self._data.trades(market.symbol, end - reach, end, _MOST_TRADES)
            if len(wider) == _MOST_TRADES:
                break
            found = wider
            if len(found) >= limit:
                break
        newer = [one for one in found if one[0] * 1000 > since]
        return _ok([_trade(query["instId"], *one) for one in newer[-limit:][::-1]])

    async def _market(self, query: Query) -> Market:
        if not query.get("instId"):
            raise _empty("instId")
        market = await market_called(self._data, self._markets, query["instId"])
        if market is None:
            raise _UNKNOWN
        return market


def _trade(name: str, at: float, price: float, amount: float, side: str) -> dict[str, str]:
    ms = str(int(at * 1000))
    return {"instId": name, "side": side, "sz": text(amount), "px": text(price), "tradeId": ms, "ts": ms}


def writer_of(market: Market, listing: Listing | None) -> Callable[..., tuple[str, ...]]:
    """What writes candles of a market, but for whether they have closed."""
    if not market.is_swap:
        return _row_of_spot
    size = (
        _size_of(market.terms.contract, "1")
        if listing is None
        else _size_of(listing.entry.get("ctVal"), listing.entry.get("ctMult"))
    )
    return partial(_row_of_swap, size)


def _size_of(value: Any, multiplier: Any) -> float:
    """The base that one contract is of; 1 where that is not told."""
    try:
        size = float(value) * float(multiplier)
    except (TypeError, ValueError):
        return 1.0
    return size if 0 < size < math.inf else 1.0


@lru_cache(KEPT_ROWS)
def _row_of_swap(size: float, ts: int, o: float, h: float, low: float, c: float, v: float) -> tuple[str, ...]:
    """The volume in contracts of a size, in the base and in the quote."""
    contracts = text(round(v / size, _CONTRACT_PLACES))
    return (str(ts * 1000), text(o), text(h), text(low), text(c), contracts, text(v), text(v * c))


@lru_cache(KEPT_ROWS)
def _row_of_spot(ts: int, o: float, h: float, low: float, c: float, v: float) -> tuple[str, ...]:
    """The volume in the base, and twice in the quote."""
    turnover = text(v * c)
    return (str(ts * 1000), text(o), text(h), text(low), text(c), text(v), turnover, turnover)


def refusal(reason: Reason, detail: str) -> Refusal:
    """The venue's words for a reason, with a detail."""
    status, code, message = _REFUSALS[reason]
    return Refusal(status, _error(code, f"{message} {detail}".rstrip()))


def market_name(market: Market) -> str:
    """The venue's name of a market."""
    return f"{market.base}-{market.quote}" + ("-SWAP" if market.is_swap else "")


def _instrument(name: str, market: Market) -> dict[str, Any]:
    swap, terms = market.is_swap, market.terms
    return {
        "instType": "SWAP" if swap else "SPOT",
        "instId": name,
        "instFamily": f"{market.base}-{market.quote}" if swap else "",
        "uly": f"{market.base}-{market.quote}" if swap else "",
        "baseCcy": "" if swap else market.base,
        "quoteCcy": "" if swap else market.quote,
        "settleCcy": market.quote if swap else "",
        "ctVal": terms.contract if swap else "",
        "ctMult": "1" if swap else "",
        "ctValCcy": market.base if swap else "",
        "ctType": "linear" if swap else "",
        "expTime": "",
        "listTime": str(market.listed * 1000),
        "tickSz": terms.tick,
        "lotSz": terms.lot,
        "minSz": terms.least,
        "maxLmtSz": terms.most,
        "state": "live",
    }


def _ok(data: Any) -> Any:
    return {"code": "0", "msg": "", "data": data}


def _error(code: str, reason: str) -> Any:
    return {"code": code, "msg": reason, "data": []}


def _wrong(name: str, *, is_unknown: bool = False) -> Refusal:
    return Refusal(400, _error("51000", f"Parameter {name} error"), is_unknown)


def _empty(name: str) -> Refusal:
    return Refusal(400, _error("50014", f"Parameter {name} can not be empty."))


_UNKNOWN = Refusal(
    200,
    _error("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."),
    is_unknown=True,
)
