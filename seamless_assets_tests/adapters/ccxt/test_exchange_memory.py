"""The memory of exchanges: a market list that cannot be read is as if it were not there."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import seamless_assets as sa
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import START

NODE = "ohlcv:binance:BTC/USDT:1m"
LISTED = MarketList([{"symbol": "BTC/USDT", "id": "BTCUSDT"}], [{"symbol": "A/B", "id": "AB"}], {"by": {}})


def packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value).encode())


BROKEN = [
    b"nonsense",
    b"",
    packed(LISTED._asdict())[:-5],
    zlib.compress(b"{"),
    zlib.compress(b"\xff\xfe"),
    *(packed(value) for value in (None, [], {}, {**LISTED._asdict(), "more": 1})),
    packed({**LISTED._asdict(), "markets": None}),
    packed({**LISTED._asdict(), "markets": [7]}),
    packed({**LISTED._asdict(), "gone": [{"id": "AB"}]}),
    packed({**LISTED._asdict(), "helpers": []}),
    "text",
    0,
]


def spoil(path: Path, body: object) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE markets SET body = ?", (body,))
    db.close()


async def test_a_market_list_comes_back_as_it_was(tmp_path: Path) -> None:
    memory = ExchangeMemory(tmp_path / "exchanges.sqlite")
    assert await memory.load_markets("binance@") is None
    await memory.store_markets("binance@", LISTED)
    stored = await memory.load_markets("binance@")
    assert stored is not None and stored.body == LISTED
    await memory.close()


@pytest.mark.parametrize("body", BROKEN)
async def test_a_list_that_cannot_be_read_is_none(tmp_path: Path, body: object) -> None:
    memory = ExchangeMemory(tmp_path / "exchanges.sqlite")
    await memory.store_markets("binance@", LISTED)
    spoil(tmp_path / "exchanges.sqlite", body)
    assert await memory.load_markets("binance@") is None
    await memory.close()


def test_a_broken_list_is_asked_for_again(exchange: Sandbox, settings_for: Callable[..., Settings]) -> None:
    settings = settings_for({"binance": {"base_url": exchange.url, "symbols": ["BTC/USDT"]}})
    with sa.connect(settings) as s:
        s.backfill(NODE, START, START + 3_600)
    spoil(settings.seamless.state_dir / "exchanges.sqlite", b"nonsense")
    with sa.connect(settings) as s:
        report = s.backfill(NODE, START + 3_600, START + 7_200)
    assert report.problems == () and report.coverage.missing == 0
