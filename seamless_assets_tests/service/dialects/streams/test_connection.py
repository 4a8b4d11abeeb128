"""A connection goes on beside topics that fail or wait, and leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import numpy as np
import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.dialects.market_data import CANDLE
from seamless_assets.dialects.streams.base import StreamProtocol, Topic, Update
from seamless_assets.errors import (
    ExchangeRefused,
    ExchangeUnavailable,
    NothingReleased,
    ReadRefused,
    SeamlessError,
    StoreError,
    StreamCut,
)
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.streams.channels import Listener
from seamless_assets.service.dialects.streams.connection import Connection
from seamless_assets.service.dialects.visit import Visit
from seamless_assets.testing import run_on_virtual_time

MINUTE = Timeframe("1m")
NEXT = StreamedCandle(120, 180, (1.0, 1.0, 1.0, 1.0, 1.0), is_closed=True)


class Plain(StreamProtocol):
    """Follows what it is told, or no more after a minus, and sends a snapshot of each."""

    def receive(self, text: str, now: float) -> list[Any]:
        topic = Topic(text.strip("-"), text.strip("-"), MINUTE)
        if text.startswith("-"):
            self.topics.pop(topic, None)
        else:
            self.topics[topic] = None
        return [{"heard": text}]

    def snapshot_rows(self, topic: Topic) -> int:
        return 1

    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        del self.topics[topic]
        return {"refused": topic.name, "reason": reason, "now": now}

    def encode(self, update: Update) -> Any:
        return {"of": update.topic.name, "ts": update.candles[-1].ts, "first": update.is_snapshot}


class Client:
    """A socket: what its client says and is sent; `gone` is raised by whatever is sent to it."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.closed: list[int] = []
        self.gone: Exception | None = None

    async def accept(self) -> None:
        self._require_here()

    async def receive(self) -> dict[str, Any]:
        return await self.said.get()

    async def send_text(self, text: str) -> None:
        self._require_here()
        self.sent.put_nowait(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        self._require_here()
        self.closed.append(code)

    def say(self, text: str) -> None:
        self.said.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self.said.put_nowait({"type": "websocket.disconnect"})

    def _require_here(self) -> None:
        if self.gone is not None:
            raise self.gone


class World:
    """Data and channel of nodes: a page of SLOW waits, those in `failing` raise what stands there."""

    def __init__(self) -> None:
        self.failing: dict[str, Exception] = {}
        self.listeners: dict[str, Listener] = {}
        self.asked, self.go, self.cut = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.clock_fails: Exception | None = None

    def node_of(self, symbol: str, timeframe: Timeframe) -> NodeId:
        return NodeId("binance", symbol, timeframe)

    async def newest(self, symbol: str, timeframe: Timeframe, end: None, count: int) -> Any:
        if symbol in self.failing:
            raise self.failing[symbol]
        if symbol == "SLOW":
            self.asked.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cut.set()
                raise
        return np.array([(60, 1, 1, 1, 1, 1)], dtype=CANDLE)

    def follow(self, node: NodeId, listener: Listener) -> None:
        self.listeners[node.symbol] = listener

    def leave(self, node: NodeId, listener: Listener) -> None:
        assert self.listeners.pop(node.symbol) is listener

    async def visit(self) -> Visit:
        if self.clock_fails is not None:
            raise self.clock_fails
        return Visit(200.0)


class Beating(Plain):
    """Sends heartbeats, and numbers all that is sent."""

    def __init__(self, *, beside_messages: bool) -> None:
        super().__init__()
        self.beats_beside_messages, self.sent = beside_messages, 0

    @property
    def is_beating(self) -> bool:
        return bool(self.topics)

    def heartbeat(self, now: float) -> Any:
        return {"beat": now}

    def sealed(self, message: Any) -> Any:
        self.sent += 1
        return {**message, "number": self.sent}


def opened(world: World, client: Client, protocol: StreamProtocol | None = None) -> asyncio.Task[None]:
    data = cast(DeclaredData, world)
    connection = Connection(cast(WebSocket, client), protocol or Plain(), data, world, world.visit)
    return asyncio.create_task(connection.serve())


FAILURES = [ReadRefused("HOLD"), NothingReleased("none"), ExchangeUnavailable("gone", status=None)]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_topic_whose_snapshot_fails_goes_on_without_it(error: Exception) -> None:
    world, client = World(), Client()
    world.failing["BAD"] = error
    serving = opened(world, client)
    client.say("BAD")
    assert await client.sent.get() == {"heard": "BAD"}
    client.say("GOOD")
    assert await client.sent.get() == {"heard": "GOOD"}
    assert await client.sent.get() == {"of": "GOOD", "ts": 60, "first": True}
    world.listeners["BAD"](NEXT)
    assert await client.sent.get() == {"of": "BAD", "ts": 120, "first": False}
    client.leave()
    await serving
    assert not world.listeners and not client.closed


@pytest.mark.parametrize("is_beginning", [False, True])
async def test_a_topic_that_ends_ends_no_other_and_may_be_followed_anew(is_beginning: bool) -> None:
    world, client = World(), Client()
    serving = opened(world, client)
    bad = "SLOW" if is_beginning else "BAD"
    first = {"of": bad, "ts": 60, "first": True}
    for said in (bad, "GOOD"):
        client.say(said)
        assert await client.sent.get() == {"heard": said}
        if said == "GOOD" or not is_beginning:
            assert await client.sent.get() == {"of": said, "ts": 60, "first": True}
    if is_beginning:
        await world.asked.wait()
    world.listeners[bad](NEXT)
    world.listeners[bad](ExchangeRefused("no such symbol", status=None))
    if is_beginning:
        world.go.set()
        assert await client.sent.get() == first
    assert await client.sent.get() == {"of": bad, "ts": 120, "first": False}
    assert await client.sent.get() == {"refused": bad, "reason": "no such symbol", "now": 200.0}
    assert list(world.listeners) == ["GOOD"]
    world.listeners["GOOD"](NEXT)
    assert await client.sent.get() == {"of": "GOOD", "ts": 120, "first": False}
    client.say(bad)
    assert await client.sent.get() == {"heard": bad}
    assert await client.sent.get() == first
    client.leave()
    await serving
    assert not world.listeners and not client.closed


@pytest.mark.parametrize("error", [StreamCut("it has ended"), StoreError("the hot store is away")], ids=repr)
async def test_what_befalls_the_service_ends_the_connection_so_that_its_client_comes_again(
    error: SeamlessError,
) -> None:
    world, client = World(), Client()
    serving = opened(world, client)
    client.say("GOOD")
    assert await client.sent.get() == {"heard": "GOOD"}
    assert await client.sent.get() == {"of": "GOOD", "ts": 60, "first": True}
    world.listeners["GOOD"](error)
    await serving
    assert client.closed == [1013] and client.sent.empty() and not world.listeners


async def test_a_snapshot_that_takes_long_holds_up_its_own_topic_alone() -> None:
    world, client = World(), Client()
    serving = opened(world, client)
    client.say("SLOW")
    assert await client.sent.get() == {"heard": "SLOW"}
    await world.asked.wait()
    world.listeners["SLOW"](NEXT)
    client.say("GOOD")
    assert await client.sent.get() == {"heard": "GOOD"}
    assert await client.sent.get() == {"of": "GOOD", "ts": 60, "first": True}
    world.go.set()
    assert await client.sent.get() == {"of": "SLOW", "ts": 60, "first": True}
    assert await client.sent.get() == {"of": "SLOW", "ts": 120, "first": False}
    client.leave()
    await serving


@pytest.mark.parametrize("how", ["topic", "client", "cancelled"])
async def test_a_snapshot_is_read_no_longer_than_its_topic_is_followed(how: str) -> None:
    world, client = World(), Client()
    serving = opened(world, client)
    client.say("SLOW")
    await world.asked.wait()
    if how == "topic":
        client.say("-SLOW")
        await world.cut.wait()
        assert not world.listeners
    if how == "cancelled":
        serving.cancel()
    client.leave()
    await asyncio.gather(serving, return_exceptions=True)
    assert world.cut.is_set() and not world.listeners


async def test_an_unforeseen_error_of_a_snapshot_ends_the_connection() -> None:
    world, client = World(), Client()
    world.failing["BAD"] = ZeroDivisionError()
    serving = opened(world, client)
    client.say("BAD")
    with pytest.raises(ZeroDivisionError):
        await serving
    assert not world.listeners


async def test_a_clock_that_nobody_knows_closes_the_connection_in_its_own_words() -> None:
    world, client = World(), Client()
    world.clock_fails = ExchangeUnavailable("gone", status=None)
    await opened(world, client)
    assert client.closed == [1013]


@pytest.mark.parametrize("gone", [WebSocketDisconnect(1006), RuntimeError("after websocket.close")], ids=repr)
@pytest.mark.parametrize("sent", ["accept", "candle", "error", "binary"])
async def test_a_client_that_has_gone_is_no_error(gone: Exception, sent: str) -> None:
    world, client = World(), Client()
    if sent == "accept":
        client.gone = gone
    serving = opened(world, client)
    if sent != "accept":
        client.say("GOOD")
        for _ in range(2):
            await client.sent.get()
        client.gone = gone
    if sent == "binary":
        client.said.put_nowait({"type": "websocket.receive", "bytes": b"1"})
    elif sent != "accept":
        told = NEXT if sent == "candle" else ExchangeUnavailable("gone", status=None)
        world.listeners["GOOD"](told)
    await serving
    assert not world.listeners


@pytest.mark.parametrize(("beside", "begin", "busy", "quiet"), [(True, 1, 3, 4), (False, 0, 0, 4)])
def test_heartbeats_come_each_second_or_while_nothing_else_does(
    beside: bool, begin: int, busy: int, quiet: int
) -> None:
    async def follow() -> None:
        world, client = World(), Client()
        serving = opened(world, client, Beating(beside_messages=beside))
        await asyncio.sleep(5.0)
        assert client.sent.empty(), "nothing is followed"
        client.say("GOOD")

        async def beats(seconds: float, every: float) -> int:
            """How many heartbeats come meanwhile, as a candle comes every so many seconds."""
            for _ in range(round(seconds / every)):
                await asyncio.sleep(every)
                world.listeners["GOOD"](NEXT)
            await asyncio.sleep(0.01)
            got = [client.sent.get_nowait() for _ in range(client.sent.qsize())]
            numbers.extend(message["number"] for message in got)
            return sum("beat" in message for message in got)

        numbers: list[int] = []
        assert await beats(1.2, 0.4) == begin
        assert await beats(3.2, 0.4) == busy
        await asyncio.sleep(4.1)
        assert await beats(0.0, 1.0) == quiet
        assert numbers == list(range(1, len(numbers) + 1))
        client.leave()
        await serving

    run_on_virtual_time(follow)
