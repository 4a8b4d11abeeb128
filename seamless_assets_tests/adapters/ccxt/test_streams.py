"""Streams through real ccxt.pro: what closes equals the exchange's truth, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.streams import PATIENCE_S, subscribed, truth

from seamless_assets.adapters.ccxt.memory import ExchangeMemory
from seamless_assets.adapters.ccxt.settings import ClientSettings
from seamless_assets.adapters.ccxt.source import CcxtSource
from seamless_assets.adapters.ccxt.streams.client import streamed_by
from seamless_assets.adapters.ccxt.streams.marks import is_marked
from seamless_assets.adapters.ccxt.streams.source import CcxtStream
from seamless_assets.core.live.feed.finality import SETTLE_S, FinalityJudge
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY + 30
HOUR = 3_600
SYMBOLS = {
    "binance": "BTC/USDT",
    "bybit": "BTC/USDT",
    "coinbase": "BTC/USD",
    "kraken": "BTC/USD",
    "okx": "BTC/USDT",
}


class OpenGate:
    """A gate that lets everything through."""

    async def acquire(self, *_: Any) -> None: ...

    async def cool_down(self, *_: Any) -> None: ...


@pytest.fixture
async def exchange() -> AsyncIterator[Sandbox]:
    async with Sandbox(now=NOW) as running:
        yield running


@pytest.fixture
async def stream(exchange: Sandbox, tmp_path: Path) -> AsyncIterator[CcxtStream]:
    settings = {
        name: ClientSettings(f"rl:{name}", Budget(1_000, 1_000, 1_000), base_url=exchange.url)
        for name in SYMBOLS
    }
    source = CcxtSource(settings, OpenGate(), ExchangeMemory(tmp_path / "exchanges.sqlite"))
    made = CcxtStream(settings, OpenGate(), source)
    yield made
    await made.close()
    await source.close()


def node(exchange: str, frame: str = "1m") -> NodeId:
    return NodeId.parse(f"ohlcv:{exchange}:{SYMBOLS[exchange]}:{frame}")


async def proven(stream: CcxtStream, followed: NodeId, until: int) -> dict[int, list[float]]:
    """Bars that are proven final, up to one that opens at or after `until`."""
    judge, bars = FinalityJudge(followed.timeframe), {}
    async with asyncio.timeout(PATIENCE_S), aclosing(stream.updates(followed)) as updates:
        async for update in updates:
            at = followed.timeframe.shift(update.ts, 1) if update.is_closed else update.ts
            judge.hear(update, at)
            # Updates come as fast as they can be sent, so that all that is settled is so at once.
            found = judge.final(until + DAY + (0 if update.is_closed else SETTLE_S))
            bars.update({candle.ts: list(candle.values) for candle in found})
            if update.ts >= until:
                return bars
    raise AssertionError("the stream has ended")


@pytest.mark.parametrize("name", SYMBOLS)
async def test_what_closes_equals_the_truth(exchange: Sandbox, stream: CcxtStream, name: str) -> None:
    followed, end = node(name), NOW - 30 + HOUR
    following = asyncio.ensure_future(proven(stream, followed, end))
    await subscribed(exchange)
    for instant in (NOW + 45, NOW + 700, end, end + 120):
        exchange.clock.set(instant)
    bars = await following
    expected = truth(exchange, followed.symbol, "1m", NOW + 30, end - 60)
    assert len(expected) > 45
    assert {ts: bars.get(ts) for ts in expected} == expected
    if name in ("coinbase", "kraken"):
        assert NOW - 30 not in bars, "the bar of the first message had begun before it"
    await gone(exchange)


async def gone(exchange: Sandbox) -> None:
    """Until nothing is followed any more."""
    async with asyncio.timeout(PATIENCE_S):
        while exchange.topics():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", ["binance", "coinbase", "kraken"])
async def test_timeframes_of_one_symbol_do_not_meet(exchange: Sandbox, stream: CcxtStream, name: str) -> None:
    end = NOW - 30 + HOUR
    nodes = [node(name, frame) for frame in ("1m", "5m")]
    following = asyncio.gather(*(proven(stream, each, end) for each in nodes))
    await subscribed(exchange, 1 if name == "coinbase" else 2)
    for instant in (NOW + 45, end, end + 900):
        exchange.clock.set(instant)
    minutes, fives = await following
    # What was corrected of a minute is in the five minutes that REST knows, and not in the trades.
    told = slice(4 if name == "coinbase" else 5)
    for each, bars in zip(nodes, (minutes, fives), strict=True):
        expected = truth(exchange, each.symbol, str(each.timeframe), NOW + 300, end - 300)
        assert {ts: bars[ts][told] for ts in expected} == {ts: row[told] for ts, row in expected.items()}


async def first(updates: Any) -> CandleUpdate:
    async with asyncio.timeout(PATIENCE_S):
        update: CandleUpdate = await anext(updates)
        return update


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop", path="/ws"),
        Fault("bad_json", path="/ws"),
        # aiohttp asks once more by itself.
        Fault("refused", path="/ws", times=2),
        Fault("status", path="/ws", code=503),
        Fault("html", path="/ws"),
        None,
    ],
    ids=lambda fault: fault.kind if fault else "cut",
)
async def test_what_ends_a_connection_is_told_and_the_next_one_works(
    exchange: Sandbox, stream: CcxtStream, fault: Fault | None
) -> None:
    before = asyncio.all_tasks()
    if fault is not None:
        exchange.faults.add(fault)
    async with aclosing(stream.updates(node("binance"))) as updates:
        hearing = asyncio.ensure_future(first(updates))
        if fault is None or fault.kind in ("drop", "bad_json"):
            await subscribed(exchange)
            if fault is None:
                async with aiohttp.ClientSession() as session:
                    await session.delete(f"{exchange.url}/_sandbox/streams")
            else:
                exchange.clock.set(NOW + 20)
        with pytest.raises(ExchangeUnavailable, match="stream of ohlcv:binance:BTC/USDT:1m"):
            await hearing
    async with aclosing(stream.updates(node("binance"))) as updates:
        hearing = asyncio.ensure_future(first(updates))
        await subscribed(exchange)
        exchange.clock.set(NOW + 40)
        assert (await hearing).connection > 1
    await gone(exchange)
    left = [task for task in asyncio.all_tasks() - before if "aiohttp/web" not in str(task)]
    assert left == []


async def test_the_last_to_leave_closes_all_and_leaves_no_task(exchange: Sandbox, stream: CcxtStream) -> None:
    before = asyncio.all_tasks()
    followed = [
        stream.updates(NodeId.parse(f"ohlcv:binance:{symbol}/USDT:1m")) for symbol in ("BTC", "ETH", "SOL")
    ]
    hearing = [asyncio.ensure_future(first(updates)) for updates in followed]
    await subscribed(exchange, 3)
    exchange.clock.set(NOW + 29)
    await asyncio.gather(*hearing)
    assert len({task.result().connection for task in hearing}) == 1
    for updates in followed[1:]:
        await updates.aclose()
    assert len(exchange.topics()) == 3
    await followed[0].aclose()
    await gone(exchange)
    left = [task for task in asyncio.all_tasks() - before if "aiohttp/web" not in str(task)]
    assert left == []


async def test_one_who_never_heard_anything_leaves_nothing_either(
    stream: CcxtStream, exchange: Sandbox
) -> None:
    before = asyncio.all_tasks()
    exchange.faults.add(Fault("hang", path="/ws"))
    hearing = asyncio.ensure_future(first(stream.updates(node("binance"))))
    async with asyncio.timeout(PATIENCE_S):
        while not any(request.path.startswith("/api") for request in exchange.requests):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    hearing.cancel()
    await asyncio.wait({hearing})
    left = [task for task in asyncio.all_tasks() - before if "aiohttp/web" not in str(task)]
    assert left == []


def test_what_exchanges_stream() -> None:
    assert streamed_by("binance") == streamed_by("kraken") == "candles"
    assert streamed_by("coinbase") == "trades"
    assert streamed_by("bitbns") is None
    assert streamed_by("no such exchange") is None


async def test_an_exchange_without_a_stream_is_refused(stream: CcxtStream) -> None:
    with pytest.raises(ExchangeRefused, match="bitbns streams neither candles nor trades"):
        await anext(stream.updates(NodeId.parse("ohlcv:bitbns:BTC/INR:1m")))


@pytest.mark.parametrize(
    ("name", "message", "is_closed"),
    [
        ("binance", {"k": {"t": 60_000, "x": True}}, True),
        ("binance", {"k": {"t": 60_000, "x": False}}, False),
        ("binance", {"k": {"t": 0, "x": True}}, False),
        ("binance", {"k": None}, False),
        ("bybit", {"data": [{"start": 0, "confirm": True}, {"start": 60_000, "confirm": False}]}, False),
        ("bybit", {"data": [{"start": 60_000, "confirm": True}]}, True),
        ("bybit", {"data": "nonsense"}, False),
        ("okx", {"data": [["60000", *"1234567", "1"]]}, True),
        ("okx", {"data": [["60000", *"1234567", "0"]]}, False),
        ("okx", {"data": [["60000", "1"]]}, False),
        ("kraken", {"data": [{"confirm": True, "start": 60_000}]}, None),
        ("binance", ["no mapping"], False),
    ],
)
def test_marks_are_read_as_each_exchange_writes_them(name: str, message: Any, is_closed: bool | None) -> None:
    assert is_marked(name, message, 60_000) is is_closed
