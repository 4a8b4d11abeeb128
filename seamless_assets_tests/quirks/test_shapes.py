"""Answers that are JSON of another shape: typed, and nothing believed (quirk 24)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from quirks.conftest import NOW, Stage

from seamless_assets.errors import ExchangeRefused
from seamless_assets.sandbox.faults import Fault

Staged = Callable[..., Stage]
VENUES = {
    "binance": ("BTC/USDT", "klines", "exchangeInfo", "time"),
    "bybit": ("BTC/USDT", "kline", "instruments-info", "time"),
    "coinbase": ("BTC/USD", "candles", "products", "time"),
    "kraken": ("BTC/USD", "OHLC", "AssetPairs", "Time"),
    "okx": ("BTC/USDT", "candles", "instruments", "time"),
}
BODIES: tuple[Any, ...] = (
    {},
    [],
    None,
    {"result": None, "data": None, "error": None, "code": "0", "retCode": 0},
    {"error": [[]], "result": {"list": [[]]}, "data": [[]], "candles": [{}], "retCode": 0, "code": "0"},
    [["abc"] * 12, [None], []],
    {
        "serverTime": 1,
        "result": {"timeSecond": "1", "timeNano": "1", "unixtime": 1},
        "iso": "1970-01-01T00:00:01Z",
        "epochMillis": "1",
        "data": [{"ts": "1"}],
        "error": [],
        "code": "0",
        "retCode": 0,
    },
    "maintenance",
    "2025",
    1_736_553_540_000,
)
QUICK = {"backfill": {"retry_backoff_ms": 1, "max_attempts": 2}}


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("place", ["candles", "markets", "clock"])
def test_no_shape_of_an_answer_is_believed_or_breaks_a_backfill(
    staged: Staged, venue: str, place: str
) -> None:
    symbol, *paths = VENUES[venue]
    path = paths[("candles", "markets", "clock").index(place)]
    node, window = f"ohlcv:{venue}:{symbol}:1m", (NOW - 3_600, NOW)
    for body in BODIES:
        stage = staged({venue: [symbol]}, seamless=QUICK)
        stage.exchange.faults.add(Fault("json", path=path, body=body, times=None))
        problems: tuple[str, ...] = ()
        try:
            problems = stage.backfill(node, *window).problems
        except ExchangeRefused as error:
            problems = (str(error),)
        known = stage.pipeline.coverage(node, *window)
        assert (known.present, known.absent, known.missing) == (0, 0, 60)
        assert problems or place == "candles"
        stage.pipeline.close()
