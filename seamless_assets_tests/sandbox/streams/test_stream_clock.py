"""What is told follows the exchange's clock, however it goes."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from support.stream_wire import VENUES, Said, line

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidInput
from seamless_assets.sandbox.clock import MAX_SPEED, SandboxClock
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.sandbox.streams import connection
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
MINUTE, HOUR = 60, 3_600
MARKETS = [Market("BTC/USDT", 60_000.0, quiet=0.2), Market("BTC/USD", 60_000.0, quiet=0.2)]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def told(
    session: aiohttp.ClientSession, name: str, steps: list[float], speed: float | None = None
) -> list[Said]:
    """All that is told from a quarter past on, until the last of the steps, before a run at `speed`."""
    async with Sandbox(now=NOW + 15, markets=MARKETS) as exchange:
        following = await line(exchange, session, name)
        for step in steps:
            exchange.clock.set(step)
            await asyncio.sleep(0)
        if speed is not None:
            exchange.clock.run(speed=speed)
        said = await following.until(NOW + 60 * MINUTE)
        await following.socket.close()
    return [one for one in said if one.ts < NOW + 60 * MINUTE]


@pytest.mark.parametrize("name", sorted(VENUES))
async def test_a_leap_small_steps_and_a_run_tell_the_same(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # However far a busy machine falls behind the clock that runs.
    monkeypatch.setattr(connection, "MAX_BEHIND_S", math.inf)
    end = NOW + 70 * MINUTE
    leap = await told(session, name, [end])
    rng = random.Random(name)
    steps = sorted({round(rng.uniform(NOW + 15, end), rng.choice([0, 1, 3])) for _ in range(60)})
    boundaries = [NOW + 3 * MINUTE, NOW + 10 * MINUTE + 0.001, NOW + 20 * MINUTE - 0.001]
    assert await told(session, name, sorted([*steps, *boundaries, end])) == leap
    assert await told(session, name, [NOW + 5 * MINUTE], speed=20_000) == leap
    minutes = {one.ts for one in leap if one.ts >= NOW}
    assert 40 < len(minutes) < 60, "a fifth of the minutes has no trade, and is not told of"


async def test_a_clock_that_is_set_back_tells_anew_and_one_that_leaps_far_leaves_out(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_BEHIND_S", HOUR)
    async with Sandbox(now=NOW, markets=[Market("BTC/USDT", 60_000.0)]) as exchange:
        following = await line(exchange, session, "binance")
        exchange.clock.set(NOW + 10 * MINUTE)
        first = await following.until(NOW + 9 * MINUTE)
        while not first[-1].rows[0][3]:
            first += [said] if (said := await following.next()) else []
        exchange.clock.set(NOW - 10 * DAY)
        exchange.clock.set(NOW - 10 * DAY + 2 * MINUTE)
        again = await following.until(NOW - 10 * DAY + MINUTE)
        assert again[0].ts == NOW - 10 * DAY
        exchange.clock.set(NOW + 30 * DAY)
        far = await following.until(NOW + 30 * DAY - MINUTE)
        later = [one.ts for one in far if one.ts > NOW]
        assert NOW + 30 * DAY - HOUR - MINUTE <= later[0] <= NOW + 30 * DAY - HOUR
        await following.socket.close()


async def test_a_topic_is_told_of_what_happens_after_it_was_asked_for(session: aiohttp.ClientSession) -> None:
    async with Sandbox(now=NOW + 30, markets=[Market("BTC/USDT", 60_000.0)]) as exchange:
        following = await line(exchange, session, "binance")
        exchange.clock.set(NOW + 50)
        second = await line(exchange, session, "binance")
        exchange.clock.set(NOW + 3 * MINUTE)
        for one, at in ((following, 30), (second, 50)):
            (first, *_) = await one.until(NOW + 2 * MINUTE)
            share = (
                first.rows[0][2]
                / exchange.book.as_of(NOW + 60).newest("BTC/USDT", Timeframe("1m"), NOW + 1, 1)[0]["volume"]
            )
            assert first.ts == NOW and share == pytest.approx(0.75 if at == 30 else 1.0, rel=1e-6)
            await one.socket.close()


def test_a_clock_runs_at_a_speed_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    real = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: real[0])
    clock = SandboxClock(NOW)
    assert clock.seconds_until(NOW + 60) is None
    clock.run(NOW, 60)
    real[0] += 2.5
    assert clock.now() == NOW + 150
    assert clock.seconds_until(NOW + 210) == 1 and clock.seconds_until(NOW) == 0
    clock.run(speed=0.5)
    real[0] += 10
    assert clock.now() == NOW + 155
    for speed in (0, -1, float("nan"), float("inf"), MAX_SPEED * 2, True, "60", None):
        with pytest.raises(InvalidInput):
            clock.run(NOW, speed)  # type: ignore[arg-type]
    assert clock.now() == NOW + 155
    clock.run(SECONDS_LIMIT - 1, 1_000)
    real[0] += 10
    assert clock.now() == SECONDS_LIMIT


def test_whoever_listens_to_a_clock_hears_where_it_was_set_back_to() -> None:
    clock, heard = SandboxClock(NOW), list[float | None]()
    end = clock.listen(heard.append)
    clock.set(NOW + 5)
    clock.set(NOW + 5)
    clock.set(NOW + 2)
    clock.release()  # to a later year
    clock.set(NOW)
    end()
    clock.set(0)
    assert heard == [None, None, NOW + 2, None, NOW]
