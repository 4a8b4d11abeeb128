"""Any ccxt exchange goes where `base_url` points, path and all, and ends typed where nobody answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ccxt.async_support as ccxt
import pytest
from quirks.conftest import NOW

import seamless_assets as sa
from seamless_assets.adapters.ccxt.client import _Watched
from seamless_assets.adapters.ccxt.listing import known_frames, ladder
from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import ExchangeRefused
from seamless_assets.sandbox.server import Sandbox

VENUES = (
    *("bitfinex", "bitget", "bitstamp", "cryptocom", "deribit", "gate", "gemini"),
    *("hitbtc", "htx", "hyperliquid", "kucoin", "mexc", "phemex", "poloniex", "upbit", "whitebit", "woo"),
)


@pytest.mark.parametrize("venue", VENUES)
def test_every_request_goes_to_the_base_url(
    exchange: Sandbox, settings_for: Callable[..., Settings], venue: str
) -> None:
    declared = {venue: {"base_url": f"{exchange.url}/far/away", "symbols": ["BTC/USDT"], "timeout_ms": 5_000}}
    quick = {"retry_backoff_ms": 1, "max_attempts": 1}
    with sa.connect(settings_for(declared, backfill=quick)) as s:
        report = s.backfill(f"ohlcv:{venue}:BTC/USDT:1h", NOW - 86_400, NOW)
    assert report.coverage.missing == 24 and f"{venue} markets" in report.problems[0]
    paths = [request.path for request in exchange.requests]
    assert paths and all(path.startswith("/far/away/") for path in paths)


def test_what_needs_a_key_is_refused_at_once(
    exchange: Sandbox, settings_for: Callable[..., Settings]
) -> None:
    declared = {"alpaca": {"base_url": exchange.url, "symbols": ["BTC/USD"]}}
    with sa.connect(settings_for(declared)) as s, pytest.raises(ExchangeRefused, match="apiKey"):
        s.backfill("ohlcv:alpaca:BTC/USD:1h", NOW - 86_400, NOW)
    assert not exchange.requests


@pytest.mark.parametrize("cell", ["1", "-2.50", "1e5", " 7 ", "", "abc", None, 3, 2.5, True])
@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_cells_are_read_as_ccxt_reads_them(venue: str, cell: Any) -> None:
    kind = getattr(ccxt, venue)
    ours, plain = type("Ours", (_Watched, kind), {})(), kind()
    for row, key in (([cell], 0), ([cell], 1), ([cell], -1), ([], -1), ({"a": cell}, "a"), ({}, "a")):
        for default in (None, 9.0):
            assert ours.safe_number(row, key, default) == plain.safe_number(row, key, default)


def test_names_that_are_no_timeframes_are_passed_over() -> None:
    assert known_frames(["1m", "15", "1Y", "1h", "", "1M"]) == [
        Timeframe(name) for name in ("1m", "1h", "1M")
    ]
    node = sa.NodeId.parse("ohlcv:backpack:BTC/USDC:1m")
    assert [str(series.timeframe) for series in ladder(node, ["15", "1m", "1h", "1d"])] == ["1d", "1h", "1m"]
