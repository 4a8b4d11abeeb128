"""The venues whose dialects are spoken, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seamless_assets.dialects import binance, bybit, coinbase, kraken, okx
from seamless_assets.dialects.base import Reason, Refusal, Route
from seamless_assets.dialects.market_data import MarketData


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue's dialect: what it answers over market data, and how it says no."""

    routes: Callable[[MarketData], list[Route]]
    refusal: Callable[[Reason, str], Refusal]


VENUES: Mapping[str, Venue] = {
    "binance": Venue(binance.routes, binance.refusal),
    "bybit": Venue(bybit.routes, bybit.refusal),
    "coinbase": Venue(coinbase.routes, coinbase.refusal),
    "kraken": Venue(kraken.routes, kraken.refusal),
    "okx": Venue(okx.routes, okx.refusal),
}
