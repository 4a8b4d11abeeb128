"""One WebSocket connection in a dialect: what its client asks for, and the candles that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec.json
from starlette.websockets import WebSocket, WebSocketDisconnect

from seamless_assets.aio.shield import shielded
from seamless_assets.core.node import NodeId
from seamless_assets.dialects.base import rows_of
from seamless_assets.dialects.streams.base import Candle, StreamProtocol, Topic, Update
from seamless_assets.errors import ExchangeRefused, LimitExceeded, NotServed, SeamlessError
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.streams.channels import Channel, Listener, candle_of
from seamless_assets.service.dialects.visit import VISIT, Visit

MAX_WAITING = 10_000
"""Messages of one connection that its client has not taken; with more it is ended, as exchanges do."""
HEARTBEAT_S = 1.0
"""Seconds from one heartbeat, or another message, to the next one of a venue that sends any."""
LONGEST_REASON = 120
TRY_AGAIN_LATER, UNSUPPORTED = 1013, 1003


@dataclass(frozen=True, slots=True)
class _Told:
    """Candles of a topic, to be put into words when their turn comes."""

    topic: Topic
    candles: tuple[StreamedCandle, ...]
    is_snapshot: bool = False


@dataclass
class _Followed:
    """A topic that is followed, and what reads its snapshot, where the venue sends one."""

    node: NodeId
    listener: Listener
    beginning: asyncio.Task[None] | None = None


class Connection:
    """A connection in the words of a `protocol`; `visit` looks at the clock of its world."""

    def __init__(
        self,
        socket: WebSocket,
        protocol: StreamProtocol,
        data: DeclaredData,
        channel: Channel,
        visit: Callable[[], Awaitable[Visit]],
    ) -> None:
        self._socket, self._protocol, self._data = socket, protocol, data
        self._channel, self._visit = channel, visit
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()
        self._followed: dict[Topic, _Followed] = {}
        self._held: dict[Topic, list[StreamedCandle | SeamlessError]] = {}
        """What comes of topics while their snapshots are read."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_beat = 0.0
        """When a heartbeat was sent last, or a message in place of one, by the loop's clock."""
        self._now = 0.0
        """The clock of the world when it was looked at last."""

    async def serve(self) -> None:
        """Answer and send until either side is gone."""
        try:
            await _delivered(self._socket.accept())
            try:
                await self._talk()
            except SeamlessError as error:
                await _delivered(self._socket.close(TRY_AGAIN_LATER, str(error)[:LONGEST_REASON]))
        except WebSocketDisconnect:
            # The client has gone while something was sent.
            return
        finally:
            # All of it is left before anything is waited for, which a cancellation may cut.
            for topic in list(self._followed):
                self._leave(topic)
            for task in self._tasks:
                task.cancel()
            await shielded(asyncio.ensure_future(asyncio.gather(*self._tasks, return_exceptions=True)))

    async def _talk(self) -> None:
        """Receive and send until one of both ends. Raises what ended it."""
        tasks = self._begun(self._receive()), self._begun(self._send())
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()

    def _begun(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def _receive(self) -> None:
        """Handle what the client says until it is gone."""
        await self._answer(self._protocol.greeting)
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                await _delivered(self._socket.close(UNSUPPORTED, "messages are text"))
                return
            await self._answer(partial(self._protocol.receive, text))

    async def _answer(self, said: Callable[[float], list[Any]]) -> None:
        """Send what the protocol says by the clock of the world, and follow what it follows then."""
        visit, topics = await self._look(), self._protocol.topics
        token = VISIT.set(visit)
        try:
            answers = said(visit.now)
        finally:
            VISIT.reset(token)
        for answer in answers:
            self._put(answer)
        for topic in [topic for topic in self._followed if topic not in topics]:
            self._leave(topic)
        for topic in [topic for topic in topics if topic not in self._followed]:
            node = self._data.node_of(topic.symbol, topic.timeframe)
            if node is not None:
                self._follow(topic, node)

    def _follow(self, topic: Topic, node: NodeId) -> None:
        """Follow a topic: first what the venue sends at once, then what comes."""
        followed = self._followed[topic] = _Followed(node, partial(self._take, topic))
        self._channel.follow(node, followed.listener)
        if rows := self._protocol.snapshot_rows(topic):
            self._held[topic] = []
            followed.beginning = self._begun(self._begin(topic, node, rows))
            followed.beginning.add_done_callback(self._has_begun)

    def _leave(self, topic: Topic) -> None:
        followed = self._followed.pop(topic)
        self._channel.leave(followed.node, followed.listener)
        self._held.pop(topic, None)
        if followed.beginning is not None:
            followed.beginning.cancel()

    async def _begin(self, topic: Topic, node: NodeId, rows: int) -> None:
        """Send the snapshot of a topic, and then what came of it meanwhile."""
        try:
            snapshot = await self._newest(node, rows)
        except SeamlessError:
            # Whoever asks for the page hears why; the candles to come, and other topics, go on without it.
            snapshot = ()
        if snapshot:
            self._put(_Told(topic, snapshot, is_snapshot=True))
        for told in self._held.pop(topic):
            if topic in self._followed:
                self._take(topic, told)

    def _has_begun(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._put(error)

    async def _newest(self, node: NodeId, rows: int) -> tuple[StreamedCandle, ...]:
        visit, frame = await self._look(), node.timeframe
        token = VISIT.set(visit)
        try:
            found = await self._data.newest(node.symbol, frame, None, rows)
        finally:
            VISIT.reset(token)
        return tuple(candle_of(row, frame, visit.now) for row in rows_of(found))

    def _take(self, topic: Topic, told: StreamedCandle | SeamlessError) -> None:
        if topic in self._held:
            self._held[topic].append(told)
        elif isinstance(told, ExchangeRefused | NotServed):
            # The others go on; the client may ask for it anew.
            self._leave(topic)
            self._put(self._protocol.refuse(topic, str(told)[:LONGEST_REASON], self._now))
        elif isinstance(told, SeamlessError):
            # What befell us rather than the series another connection may have.
            self._put(told)
        else:
            self._put(_Told(topic, (told,)))

    async def _look(self) -> Visit:
        visit = await self._visit()
        self._now = visit.now
        return visit

    def _put(self, message: Any) -> None:
        """Send a message of the protocol, candles, or the error that ends the connection, in its turn."""
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put_nowait(message)
        elif self._waiting.qsize() == MAX_WAITING:
            reason = f"{MAX_WAITING} messages wait; read faster, or follow less at once"
            self._waiting.put_nowait(LimitExceeded(reason, limit=MAX_WAITING))

    async def _send(self) -> None:
        """Send what waits, and heartbeats meanwhile. Raises what is to end the connection."""
        while True:
            message = await self._next()
            if isinstance(message, BaseException):
                raise message
            told = await self._words(message) if isinstance(message, _Told) else message
            await _delivered(self._socket.send_text(_text(self._protocol.sealed(told))))

    async def _next(self) -> Any:
        if not self._protocol.is_beating:
            return await self._waiting.get()
        time = asyncio.get_running_loop().time
        self._last_beat = self._last_beat or time()
        due = self._last_beat + HEARTBEAT_S
        if time() < due:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    message = await self._waiting.get()
                if not self._protocol.beats_beside_messages:
                    self._last_beat = time()
                return message
        self._last_beat, now = time(), (await self._look()).now
        if not self._protocol.is_beating:  # it was asked to be silent meanwhile
            return await self._waiting.get()
        return self._protocol.heartbeat(now)

    async def _words(self, told: _Told) -> Any:
        now = (await self._look()).now
        # A candle closes no later than it is told to have.
        at = max(now, *(candle.end for candle in told.candles if candle.is_closed), 0.0)
        candles = tuple(
            Candle(candle.ts, candle.end, *candle.values, trades=0, is_closed=candle.is_closed)
            for candle in told.candles
        )
        return self._protocol.encode(Update(told.topic, at, candles=candles, is_snapshot=told.is_snapshot))


async def _delivered(sending: Awaitable[None]) -> None:
    """Wait until something is sent. Raises `WebSocketDisconnect` where the client has gone already."""
    try:
        await sending
    except RuntimeError as error:
        # What starlette and the server raise for a message after the last one.
        raise WebSocketDisconnect(reason=str(error)) from error


def _text(message: Any) -> str:
    return message if isinstance(message, str) else msgspec.json.encode(message).decode()
