"""Costs in tokens: a plain candle request is one on every exchange, whatever unit ccxt counts in."""

from __future__ import annotations

from typing import Any

import ccxt.async_support as ccxt
import pytest

from seamless_assets.adapters.ccxt.limits import candle_unit, tokens


def endpoint(exchange: str, *place: str) -> tuple[Any, str, Any]:
    client = getattr(ccxt, exchange)()
    node = client.api
    for name in place:
        node = node[name]
    return client, place[-1], node


@pytest.mark.parametrize(
    ("exchange", "place"),
    [
        ("binance", ("public", "get", "klines")),
        ("bybit", ("public", "get", "v5/market/kline")),
        ("kucoin", ("public", "get", "market/candles")),
        ("kucoin", ("futuresPublic", "get", "kline/query")),
        ("kraken", ("public", "get", "OHLC")),
        ("okx", ("public", "get", "market/candles")),
        ("okx", ("public", "get", "market/history-candles")),
        ("coinbase", ("v3", "public", "get", "brokerage/market/products/{product_id}/candles")),
    ],
)
def test_a_plain_candle_request_costs_one(exchange: str, place: tuple[str, ...]) -> None:
    client, path, config = endpoint(exchange, *place)
    cost = client.calculate_rate_limiter_cost(place[:-2], "GET", path, {}, config)
    assert tokens(cost, path, config, candle_unit(client.api)) == 1


@pytest.mark.parametrize(("limit", "expected"), [(50, 1), (400, 2), (1000, 5), (1500, 10)])
def test_a_long_page_of_futures_costs_more(limit: int, expected: int) -> None:
    client, path, config = endpoint("binanceusdm", "fapiPublic", "get", "klines")
    cost = client.calculate_rate_limiter_cost(["fapiPublic"], "GET", path, {"limit": limit}, config)
    assert tokens(cost, path, config, candle_unit(client.api)) == expected


def test_other_requests_cost_in_proportion_and_never_nothing() -> None:
    client, path, config = endpoint("binance", "public", "get", "exchangeInfo")
    assert tokens(config["cost"], path, config, 0.4) == 10
    bybit, path, config = endpoint("bybit", "public", "get", "v5/market/instruments-info")
    assert tokens(config["cost"], path, config, candle_unit(bybit.api)) == 1
    assert tokens(0, "time", {}, 5.0) == tokens(None, "time", {}, 5.0) == 1
    assert candle_unit({"public": {"get": ["time"]}}) == 1
    assert client.id == "binance"
