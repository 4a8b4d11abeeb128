"""What documented lists of markets say of trading just now, beside what they say of the markets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_NOW = {
    "coinbase": (
        "price",
        "price_percentage_change_24h",
        "volume_24h",
        "volume_percentage_change_24h",
        "approximate_quote_24h_volume",
        "market_cap",
        "mid_market_price",
        "best_bid_price",
        "best_ask_price",
    )
}


def without_trading(exchange: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry of a list of markets, what it says of trading just now left empty."""
    return {**entry, **{name: "" for name in _OF_NOW.get(exchange, ()) if name in entry}}
