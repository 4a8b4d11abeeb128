"""A month through real ccxt, in pages with odd limits, forwards and backwards, as the exchange has it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support
import pytest
from support.dialects import SYMBOLS, Rig, client, running

from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

HOUR = 3_600
NOW = START + 31 * DAY + 1_234
CAPS = {"binance": 1000, "bybit": 1000, "coinbase": 350, "kraken": 720, "okx": 300}
REACH = {"kraken": 720 * HOUR}
"""How far back a venue serves hours at all."""


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    exchange, folder = Sandbox(now=NOW), tmp_path_factory.mktemp("month")
    own = {name: symbols[:1] for name, symbols in SYMBOLS.items()}
    with exchange.running(), running(folder, exchange, own, "2025-01-01", ("1h",)) as rig:
        yield rig


def rows_of(told: list[list[float]]) -> dict[int, list[float]]:
    """Settled rows by their opens, each of which must come once and in order."""
    opens = [int(row[0]) // 1_000 for row in told]
    assert opens == sorted(set(opens))
    return {ts: row for ts, row in zip(opens, told, strict=True) if ts + HOUR <= NOW}


def forwards(bot: Any, name: str, luck: random.Random) -> dict[int, list[float]]:
    """Pages from the begin of the month on, each from where the one before ended."""
    found: dict[int, list[float]] = {}
    since = NOW // HOUR * HOUR - REACH.get(name, 31 * DAY) + HOUR
    while since < NOW:
        limit = luck.randint(1, CAPS[name] // luck.choice((1, 1, 2, 9)))
        page = rows_of(bot.fetch_ohlcv(SYMBOLS[name][0], "1h", since=since * 1_000, limit=limit))
        assert len(page) <= limit and all(ts >= since for ts in page)
        found |= page
        # Where nobody traded for as long as a page is, there are bars behind it still.
        since = max(page) + HOUR if page else since + limit * HOUR
    return found


def backwards(bot: Any, name: str, luck: random.Random) -> dict[int, list[float]]:
    """Windows from now back to the begin of the month, each up to where the one behind it begins."""
    found: dict[int, list[float]] = {}
    end, oldest = NOW // HOUR * HOUR, NOW // HOUR * HOUR - REACH.get(name, 31 * DAY) + HOUR
    while end > oldest:
        limit = luck.randint(2, CAPS[name] // luck.choice((1, 1, 2, 9)))
        since = max(oldest, end - (limit - 1) * HOUR)
        more = {"params": {"until": end * 1_000 - 1}} if name != "kraken" else {}
        page = rows_of(bot.fetch_ohlcv(SYMBOLS[name][0], "1h", since=since * 1_000, limit=limit, **more))
        found |= {ts: row for ts, row in page.items() if since <= ts < end}
        end = since
    return found


@pytest.mark.parametrize("walk", [forwards, backwards])
@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_a_month_of_hours_is_the_exchanges_row_for_row(month: Rig, name: str, walk: Any) -> None:
    compare(month, name, walk, seed=7)


@pytest.mark.deep
@pytest.mark.parametrize("walk", [forwards, backwards])
@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_it_is_so_whatever_the_limits_are(month: Rig, name: str, walk: Any) -> None:
    for seed in range(40):
        compare(month, name, walk, seed)


def compare(month: Rig, name: str, walk: Any, seed: int) -> None:
    there, here = (
        walk(client(name, url, path, ccxt), name, random.Random(seed))
        for url, path in ((month.exchange.url, ""), (month.url, f"/{name}"))
    )
    assert here == there and len(there) > 250


@pytest.mark.deep
@pytest.mark.timeout(1_800)
async def test_a_month_of_minutes_comes_whole_to_one_that_awaits(tmp_path: Path) -> None:
    exchange, name, symbol = Sandbox(now=NOW), "binance", "BTC/USDT"
    with exchange.running(), running(tmp_path, exchange, {name: (symbol,)}, "2025-01-01", ("1m",)) as rig:
        months = []
        for url, path in ((exchange.url, ""), (rig.url, f"/{name}")):
            bot, rows, since = client(name, url, path, ccxt.async_support), [], START
            try:
                while since < NOW // 60 * 60:
                    page = await bot.fetch_ohlcv(symbol, "1m", since=since * 1_000, limit=997)
                    rows += [row for row in page if row[0] // 1_000 + 60 <= NOW]
                    since = int(page[-1][0]) // 1_000 + 60
            finally:
                await bot.close()
            months.append(rows)
    assert months[0] == months[1] and len(months[0]) > 44_000
