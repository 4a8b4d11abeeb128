"""What a request costs in tokens: one for a plain candle request, and for heavier ones in proportion.

ccxt counts in units of each exchange's own limiter (a candle request is 5 on bybit, 0.4 on binance).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import median_high
from typing import Any

_CANDLES = re.compile(r"kline|candle|ohlc|chart", re.IGNORECASE)


def candle_unit(api: Any) -> float:
    """ccxt's cost of a plain candle request: the upper median, as endpoints that are gone often cost less."""
    costs = list(_candle_costs(api, ""))
    return median_high(costs) if costs else 1.0


def tokens(cost: Any, path: str, config: Mapping[str, Any], unit: float) -> float:
    """The tokens of a request that ccxt gives `cost`; a candle endpoint is measured by its own plain cost."""
    plain = _plain(config) if _CANDLES.search(path) else unit
    return max(1.0, float(cost or 0) / plain)


def _candle_costs(node: Any, name: str) -> Iterator[float]:
    if not isinstance(node, Mapping):
        if isinstance(node, int | float) and _CANDLES.search(name):
            yield float(node)
    elif "cost" in node or "byLimit" in node:
        if _CANDLES.search(name):
            yield _plain(node)
    else:
        for inner, below in node.items():
            yield from _candle_costs(below, inner)


def _plain(config: Mapping[str, Any]) -> float:
    by_limit = [float(cost) for _, cost in config.get("byLimit") or ()]
    return min(by_limit, default=float(config.get("cost") or 1)) or 1.0
