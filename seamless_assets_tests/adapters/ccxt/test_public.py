"""What a request that is passed on takes of the rate budget, as ccxt weighs it."""

from __future__ import annotations

import ccxt
import pytest

from seamless_assets.adapters.ccxt.public import endpoint_of, public_endpoints

BINANCE = ccxt.binance()
ENDPOINTS = public_endpoints(BINANCE)


@pytest.mark.parametrize(
    ("path", "query", "cost"),
    [
        ("ticker/24hr", "", 16),
        ("ticker/24hr", "symbol=BTCUSDT", 0.4),
        ("ticker/24hr", "symbol=", 16),
        ("ticker/bookTicker", "symbol=BTCUSDT", 0.4),
        ("ticker/bookTicker", "symbols=BTCUSDT", 0.8),
        ("depth", "symbol=BTCUSDT", 1),
        ("depth", "symbol=BTCUSDT&limit=5", 1),
        ("depth", "symbol=BTCUSDT&limit=1000", 10),
        ("depth", "symbol=BTCUSDT&limit=many", 1),
        ("depth", "symbol=BTCUSDT&limit=-1", 1),
        ("depth", "limit=5000&symbol=1000", 50),
    ],
)
def test_a_request_costs_what_its_parameters_say(path: str, query: str, cost: float) -> None:
    endpoint = endpoint_of(ENDPOINTS, f"/api/v3/{path}")
    assert endpoint is not None and endpoint.cost(BINANCE, query) == pytest.approx(cost)
