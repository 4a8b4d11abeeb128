"""Many bots at one service cost the exchange what one of them does, and each gets every bar."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.dialects import client, running

from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.dialects.live import clocks
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
LIMIT = 5
PATIENCE_MS = 120_000
PAGE = "/api/v3/klines"


async def upstream(
    folder: Path, clients: int, symbols: int, minutes: int, reckoning: pytest.MonkeyPatch | None = None
) -> Counter[tuple[str, int]]:
    """What the exchange is asked, by path and status, while each client looks at each bar that has closed.

    With `reckoning` the service knows the clock that is set as it knows one that runs, without asking.
    """
    names = [f"C{number:03d}/USDT" for number in range(symbols)]
    exchange = Sandbox(now=NOW, markets=[Market(name, 10.0) for name in names])

    async def reckoned(_clocks: clocks.ExchangeClocks, _exchange: str) -> float:
        return exchange.clock.now()

    if reckoning is not None:
        reckoning.setattr(clocks.ExchangeClocks, "now", reckoned)

    async def look(bot: Any, closed: int) -> None:
        for name in names:
            rows = await bot.fetch_ohlcv(name, "1m", limit=LIMIT)
            wanted = range(closed - LIMIT * 60, closed, 60)
            assert [row[0] // 1_000 for row in rows] == list(wanted), name

    with (
        exchange.running(),
        running(folder, exchange, {"binance": tuple(names)}, "2025-01-10", ("1m",)) as rig,
    ):
        bots = [client("binance", rig.url, "/binance") for _ in range(clients)]
        for bot in bots:
            # However slow the machine is that all of them share.
            bot.timeout = PATIENCE_MS
        try:
            for closed in range(NOW + 60, NOW + 60 * (minutes + 1), 60):
                exchange.clock.set(closed + 3)
                await asyncio.gather(*(look(bot, closed) for bot in bots))
        finally:
            for bot in bots:
                await bot.close()
        return Counter((request.path, request.status) for request in exchange.requests)


async def test_each_bar_is_asked_for_once_whoever_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that stands is asked each time, so that a test may set it between two requests.
    monkeypatch.setattr(clocks, "SHORTEST_AGE_S", 0.0)
    asked = await upstream(tmp_path / "many", clients=6, symbols=4, minutes=3)
    assert asked[PAGE, 200] == 4 * 3
    assert {status for _, status in asked} == {200}


@pytest.mark.deep
@pytest.mark.timeout(7_200)
async def test_fifty_clients_of_a_hundred_symbols_cost_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = [
        await upstream(tmp_path / str(clients), clients, 100, 30, monkeypatch) for clients in (1, 50)
    ]
    assert one.total() >= 100 * 30 and many.total() <= 1.05 * one.total()
    assert {status for _, status in many} == {200}
