"""With API keys ccxt asks for more before it asks for candles; the local exchange knows all of it."""

from __future__ import annotations

from typing import Any

import ccxt.async_support as ccxt
import pytest

import seamless_assets as sa
from seamless_assets.sandbox.server import DIALECTS, Sandbox

NOW = 1_736_553_600
SYMBOLS = {
    "binance": ["BTC/USDT", "BTC/USDT:USDT"],
    "bybit": ["BTC/USDT", "BTC/USDT:USDT"],
    "coinbase": ["BTC/USD"],
    "kraken": ["BTC/USD"],
    "okx": ["BTC/USDT", "BTC/USDT:USDT"],
}
KEYS = {"apiKey": "key", "secret": "c2VjcmV0", "password": "word"}
CASES = [(name, {}) for name in DIALECTS] + [
    ("binance", {"options": {"fetchMarkets": {"types": ["spot", "linear", "inverse", "option"]}}}),
    ("binance", {"options": {"fetchMargins": True, "adjustForTimeDifference": True}}),
    ("bybit", {"options": {"adjustForTimeDifference": True, "defaultType": "swap"}}),
    ("okx", {"options": {"adjustForTimeDifference": True}}),
    ("coinbase", {"options": {"usePrivate": True}}),
]


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
async def test_all_that_ccxt_asks_with_keys_is_answered(name: str, settings: dict[str, Any]) -> None:
    async with Sandbox(now=NOW) as exchange:
        client = getattr(ccxt, name)({"enableRateLimit": False, **KEYS, **settings})
        client.urls["api"] = _moved(client.urls["api"], exchange.url)
        try:
            markets = await client.load_markets()
            await client.fetch_currencies()
            assert await client.fetch_time() == NOW * 1_000
            for symbol in SYMBOLS[name]:
                assert symbol in markets
                until = {"until": (NOW - 300) * 1_000}
                rows = await client.fetch_ohlcv(symbol, "1m", (NOW - 600) * 1_000, 5, until)
                assert len(rows) == 5
                assert len(await client.fetch_trades(symbol, limit=5)) == 5
        finally:
            await client.close()
        assert {(request.status, request.exchange) for request in exchange.requests} == {(200, name)}


def _moved(urls: Any, base: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(url, base) for name, url in urls.items()}
    return base + "/" + urls.split("/", 3)[3] if urls.count("/") > 2 else base


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_pipeline_with_keys_fetches_what_one_without_does(
    name: str, exchange: Sandbox, settings_for: Any
) -> None:
    symbol, hour = SYMBOLS[name][0], (NOW - 7_200, NOW - 3_600)
    section = {"base_url": exchange.url, "symbols": [symbol], "timeframes": ["1m"], "start": "2025-01-01"}
    node, reports = f"ohlcv:{name}:{symbol}:1m", []
    for at, keys in enumerate(({}, {"api_key": "k", "secret": KEYS["secret"], "password": "p"})):
        stores = {"state_dir": f"./state-{at}", "hot_store": {"dsn": f"sqlite:///./hot-{at}.sqlite"}}
        settings = settings_for({name: {**section, **keys}}, **stores)
        with sa.connect(settings) as pipeline:
            reports.append(pipeline.backfill(node, *hour).coverage)
    assert reports[0] == reports[1] and reports[1].present > 50
