"""How ccxt is to ask exchanges for the trades of a window, where a time to begin at is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seamless_assets.core.calendar.segment import Segment

TRADES_PAGE = 1_000
_UNTIL = frozenset({"coinbase", "mexc"})
"""Exchanges of which ccxt asks for trades from a time on only where it is told an end, too."""
_OKX = frozenset({"okx", "okxus", "myokx"})
"""Exchanges whose usual endpoint has the newest trades alone; another goes back from any time."""
_OKX_PAGE = 100


@dataclass(frozen=True, slots=True)
class TradesRequest:
    """The `limit` and `params` of ccxt's `fetch_trades`; `is_bounded` where they tell it the window's end."""

    limit: int = TRADES_PAGE
    params: Mapping[str, Any] = field(default_factory=dict)
    is_bounded: bool = False


def trades_request(exchange: str, window: Segment) -> TradesRequest:
    """How to ask for a page of trades from the beginning of `window` on, or before its end."""
    end_ms = window.end * 1000
    if exchange in _UNTIL:
        return TradesRequest(params={"until": end_ms}, is_bounded=True)
    if exchange in _OKX:
        by_time = {"method": "publicGetMarketHistoryTrades", "type": "2", "after": str(end_ms)}
        return TradesRequest(_OKX_PAGE, by_time, is_bounded=True)
    return TradesRequest()
