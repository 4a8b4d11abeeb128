"""What the volume of a market's candles counts, as far as ccxt tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from seamless_assets.core.bars.volume import VolumeUnit

# ccxt promises the base currency for spot markets alone. Of contracts it passes on what each exchange sends;
# the two lists hold those whose parser says which field that is.
BASE_OF_CONTRACTS = frozenset(
    {
        *("binance", "binanceusdm", "binancecoinm", "bybit", "bybiteu", "bybitid"),
        *("htx", "okx", "okxus", "myokx"),
    }
)
NUMBER_OF_CONTRACTS = frozenset({"gate", "gateeu", "kucoin", "kucoinfutures", "mexc"})


def volume_unit_of(exchange: str, market: Mapping[str, Any]) -> VolumeUnit | None:
    """What the candles of a ccxt market count; None where ccxt does not tell."""
    base, quote = market.get("base"), market.get("quote")
    if not isinstance(base, str) or not isinstance(quote, str):
        return None
    if market.get("spot"):
        return VolumeUnit("base", base)
    if not market.get("swap") and not market.get("future"):
        return None
    is_linear, size = bool(market.get("linear")), market.get("contractSize")
    if exchange in BASE_OF_CONTRACTS or (is_linear and size == 1):
        return VolumeUnit("base", base)
    if exchange in NUMBER_OF_CONTRACTS and isinstance(size, int | float) and 0 < size < math.inf:
        return VolumeUnit("contracts", base if is_linear else quote, float(size))
    return None
