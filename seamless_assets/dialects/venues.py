"""The venues whose dialects are spoken, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seamless_assets.dialects import binance, bybit, coinbase, kraken, okx
from seamless_assets.dialects.base import Reason, Refusal, Route
from seamless_assets.dialects.limits import RateLimits
from seamless_assets.dialects.market_data import Listings, MarketData
from seamless_assets.dialects.streams import binance as binance_streams
from seamless_assets.dialects.streams import bybit as bybit_streams
from seamless_assets.dialects.streams import coinbase as coinbase_streams
from seamless_assets.dialects.streams import kraken as kraken_streams
from seamless_assets.dialects.streams import okx as okx_streams
from seamless_assets.dialects.streams.base import StreamRoute


def unstamped(body: bytes, _now: float) -> bytes:
    """Of a venue whose answers do not tell when they were given."""
    return body


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue's dialect: what it answers over market data, what it streams, and how it says no.

    `lists` are parameters that may be given several times, whose values then stand between commas. `stamped`
    gives the body of an answer as it is at another time of its clock.
    """

    routes: Callable[[MarketData], list[Route]]
    streams: Callable[[Listings], list[StreamRoute]]
    refusal: Callable[[Reason, str], Refusal]
    limits: RateLimits = RateLimits()
    lists: frozenset[str] = frozenset()
    stamped: Callable[[bytes, float], bytes] = unstamped


VENUES: Mapping[str, Venue] = {
    "binance": Venue(binance.routes, binance_streams.streams, binance.refusal, binance.LIMITS),
    "bybit": Venue(bybit.routes, bybit_streams.streams, bybit.refusal, bybit.LIMITS, stamped=bybit.stamped),
    "coinbase": Venue(
        coinbase.routes, coinbase_streams.streams, coinbase.refusal, coinbase.LIMITS, coinbase.LISTS
    ),
    "kraken": Venue(kraken.routes, kraken_streams.streams, kraken.refusal),
    "okx": Venue(okx.routes, okx_streams.streams, okx.refusal),
}
