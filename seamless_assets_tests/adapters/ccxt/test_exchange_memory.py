"""The memory of exchanges: a market list that cannot be read is as if it were not there."""

from __future__ import annotations

import json
import math
import sqlite3
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import seamless_assets as sa
from seamless_assets.adapters.ccxt import memory as memory_module
from seamless_assets.adapters.ccxt.markets.listings import Listings
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.adapters.sqlite.file import open_database
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
LISTED = MarketList(
    [{"symbol": "BTC/USDT", "id": "BTCUSDT"}], [{"symbol": "A/B", "id": "AB"}], {"by": {}}, {"BTC": {}}
)


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
    packed({**LISTED._asdict(), "assets": []}),
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


EPOCH = 1_700_000_000.0


class Hours:
    """Hours that a test sets, counted in seconds from an instant on."""

    def __init__(self) -> None:
        self.now = 100 * 3_600.0

    def time(self) -> float:
        return EPOCH + self.now


async def test_what_a_list_said_of_symbols_is_found_by_when_it_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours()
    monkeypatch.setattr(memory_module, "time", hours)
    memory = ExchangeMemory(tmp_path / "exchanges.sqlite")

    async def said(at: float) -> dict[str, bytes]:
        return await memory.listings("okx@", ("A/B", "C/D"), EPOCH + at)

    assert await said(hours.now) == {}
    for body, hour in ((b"1", 100), (b"1", 110), (b"2", 123), (b"2", 124), (b"3", 125), (b"4", 148)):
        hours.now = hour * 3_600.0
        await memory.keep_listings("okx@", {"A/B": body})
    # What changes within a day is kept once the day is over, and nothing is kept twice.
    assert {hour: (await said(hour * 3_600.0))["A/B"] for hour in (1, 100, 123, 124, 147, 148, 999)} == {
        **dict.fromkeys((1, 100, 123), b"1"),
        **dict.fromkeys((124, 147), b"2"),
        **dict.fromkeys((148, 999), b"4"),
    }
    assert await memory.listings("bybit@", ("A/B",), hours.time()) == {}
    await memory.close()


async def test_a_clock_that_was_wrong_for_a_while_freezes_and_drops_no_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, memory = Hours(), ExchangeMemory(tmp_path / "exchanges.sqlite")
    monkeypatch.setattr(memory_module, "time", hours)

    async def last() -> dict[str, bytes]:
        return await memory.listings("okx@", ("A/B",), math.inf)

    await memory.keep_listings("okx@", {"A/B": b"1"})
    hours.now += 30 * DAY
    await memory.keep_listings("okx@", {"A/B": b"of a clock ahead"})
    hours.now -= 29 * DAY
    await memory.keep_listings("okx@", {"A/B": b"2"})
    assert await last() == {"A/B": b"2"}
    # A machine whose clock has not been set since it was started.
    hours.now = -EPOCH
    await memory.keep_listings("okx@", {"A/B": b"of a clock behind"})
    assert await last() == {"A/B": b"2"}
    assert await memory.listings("okx@", ("A/B",), EPOCH) == {"A/B": b"1"}
    await memory.close()


async def test_times_are_read_while_no_other_process_can_write_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "exchanges.sqlite"
    memory = ExchangeMemory(path)
    await memory.store_markets("okx@", LISTED)
    other = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    looked = list[float]()

    def now() -> float:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        looked.append(EPOCH)
        return EPOCH

    monkeypatch.setattr(memory_module, "time", SimpleNamespace(time=now))
    await memory.keep_listings("okx@", {"A/B": b"{}"})
    assert await memory.take_turn("okx@", 5.0, 1) and len(looked) == 2
    other.close()
    await memory.close()


async def test_what_changes_with_trading_alone_is_kept_once_and_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, path = Hours(), tmp_path / "exchanges.sqlite"
    monkeypatch.setattr(memory_module, "time", hours)
    memory, market = ExchangeMemory(path), {"symbol": "A/B", "id": "A-B"}
    client = SimpleNamespace(id="coinbase", options={}, markets={}, gone={}, currencies={})
    listings = Listings(client, memory, "coinbase@", ("A/B",))
    # As it was kept before it was known what is of trading.
    await memory.keep_listings(
        "coinbase@", {"A/B": b'{"name":"A-B","entry":{"price":"1","base_increment":"2"}}'}
    )
    told = await listings.known_at(hours.time())
    assert told is not None and told["A/B"].entry == {"price": "", "base_increment": "2"}
    for day in range(1, 4):
        hours.now += DAY
        entry = {"price": str(day), "volume_24h": str(day), "market_cap": str(day), "base_increment": "2"}
        client.markets["A/B"] = {**market, "info": entry}
        await listings.keep()
    told = await listings.known_at(hours.time())
    assert told == listings.now()
    assert told["A/B"].entry == {"price": "", "volume_24h": "", "market_cap": "", "base_increment": "2"}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM listings").fetchone() == (2,)
    await memory.close()


async def test_what_was_damaged_of_lists_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path = tmp_path / "exchanges.sqlite"
    memory = ExchangeMemory(path)
    await memory.keep_listings("okx@", {"A/B": b"{}", "C/D": b"[]"})
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE listings SET body = 'spoiled' WHERE symbol = 'A/B'")
    db.close()
    assert await memory.listings("okx@", ("A/B", "C/D"), time.time()) == {"C/D": b"[]"}
    await memory.close()


async def test_a_file_of_the_first_version_takes_lists_too(tmp_path: Path) -> None:
    path = tmp_path / "exchanges.sqlite"
    first = memory_module._SCHEMA[:2]
    db = open_database(path, first, 1)
    body = {name: value for name, value in LISTED._asdict().items() if name != "assets"}
    db.execute("INSERT INTO markets VALUES ('okx@', 0, ?)", (packed(body),))
    db.close()
    memory = ExchangeMemory(path)
    stored = await memory.load_markets("okx@")
    assert stored is not None and stored.body == LISTED._replace(assets={})
    await memory.keep_listings("okx@", {"A/B": b"{}"})
    assert await memory.listings("okx@", ("A/B",), time.time()) == {"A/B": b"{}"}
    await memory.close()
