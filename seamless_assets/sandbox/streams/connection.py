"""One WebSocket connection: what its client asks for, and what is sent as the exchange's clock goes on."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from aiohttp import WSMsgType, web

from seamless_assets.dialects.streams.base import StreamProtocol, Topic, Update
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import MINUTE
from seamless_assets.sandbox.streams.faults import StreamFaults
from seamless_assets.sandbox.streams.market_events import MarketEvents

MAX_BEHIND_S = 86_400.0
"""A clock that jumps further has what lies before left out."""
HEARTBEAT_S = 1.0
"""Real seconds from one heartbeat, or another message, to the next one of a venue that sends any."""
SHORTEST_WAIT_S = 0.001
TOPICS_AT_ONCE = 20
"""After the updates of so many are made, others have their turn."""


class Connection:
    """A connection to `path`, in the words of a `protocol`, on the exchange's `clock`."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        path: str,
        protocol: StreamProtocol,
        clock: SandboxClock,
        events: MarketEvents,
        faults: StreamFaults,
    ) -> None:
        self.path, self.protocol = path, protocol
        self._socket, self._clock, self._events, self._faults = socket, clock, events, faults
        self._subscribed_at: dict[Topic, float] = {}
        self._minutes: dict[int, dict[Topic, list[Update]]] = {}
        self._published_until = clock.now()
        self._set_back_to = math.inf
        self._changed = asyncio.Event()
        self._last_sent = self._last_beat = 0.0

    def clock_was_set(self, back_to: float | None) -> None:
        """Look at the clock again; where it was set back, begin anew there."""
        if back_to is not None:
            self._set_back_to = min(self._set_back_to, back_to)
        self._changed.set()

    async def serve(self) -> None:
        """Answer and publish until either side is gone. Raises `Dropped` where a fault cuts it."""
        now = self._clock.now()
        for message in self.protocol.greeting(now):
            await self._send(message)
        await self._begin_topics(now, set())
        tasks = [asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._publish())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, ConnectionError):
                raise error

    async def _receive(self) -> None:
        """Handle what the client sends until it is gone."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                await self._handle(message.data)

    async def _handle(self, text: str) -> None:
        now, before = self._clock.now(), set(self.protocol.topics)
        for answer in self.protocol.receive(text, now):
            await self._send(answer)
        await self._begin_topics(now, before)

    async def _begin_topics(self, now: float, before: set[Topic]) -> None:
        """Send what the venue sends at once of topics that were not followed before."""
        topics = self.protocol.topics
        self._subscribed_at = {topic: self._subscribed_at.get(topic, now) for topic in topics}
        for topic in [topic for topic in topics if topic not in before]:
            rows = self.protocol.snapshot_rows(topic)
            snapshot = self._faults.snapshot(topic, now, rows)
            if snapshot is not None:
                await self._send_update(snapshot)
        self._changed.set()

    async def _publish(self) -> None:
        """Send what happens on the exchange's clock, as it comes to it."""
        while True:
            self._changed.clear()
            now = self._clock.now()
            begin = self._begin(now)
            for minute in range(_minute(begin), _minute(now) + 1, MINUTE):
                await self._prepare(minute)
                for update in self._due(minute, begin, now):
                    self._published_until = update.at
                    if update.topic in self.protocol.topics:
                        await self._send_update(update)
            self._published_until = now
            if self._clock.seconds_until(now) is not None:
                # What is due next is sent at its time, however much it is.
                await self._prepare(_minute(now) + MINUTE)
            await self._wait(self._next_after(now))

    def _begin(self, now: float) -> float:
        """From when on to publish: from where it ended, or from where the clock was set back to."""
        begin = min(self._published_until, self._set_back_to, now)
        self._set_back_to = math.inf
        if begin < self._published_until:
            self._subscribed_at = {topic: min(at, begin) for topic, at in self._subscribed_at.items()}
        self._published_until = max(begin, now - MAX_BEHIND_S)
        return self._published_until

    async def _prepare(self, minute: int) -> None:
        """Make the updates of all topics within a minute, and forget what lies two before it."""
        made = self._minutes.get(minute, {})
        recent = {m: known for m, known in self._minutes.items() if minute - MINUTE <= m <= minute}
        self._minutes = {**recent, minute: {t: made[t] for t in self.protocol.topics if t in made}}
        for prepared, topic in enumerate(tuple(self.protocol.topics)):
            self._updates(topic, minute)
            if prepared % TOPICS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _due(self, minute: int, begin: float, now: float) -> list[Update]:
        """The updates of a minute after `begin` and until `now`, in order."""
        if begin >= minute + MINUTE:
            return []
        due = []
        for topic in tuple(self.protocol.topics):
            after = max(begin, self._subscribed_at.get(topic, now))
            updates = self._updates(topic, minute)
            due += [update for update in updates if after < update.at <= now and self._is_published(update)]
        due += self._faults.corrections(begin, min(now, minute + MINUTE - 1e-6))
        return sorted(due, key=lambda update: update.at)

    def _is_published(self, update: Update) -> bool:
        """Whether the venue sends an update. A close has its correction planned, sent or not."""
        if not (update.candles and update.candles[-1].is_closed):
            return True
        self._faults.closed(update)
        return self.protocol.has_closed_flag and update.topic.timeframe is not None

    def _updates(self, topic: Topic, minute: int) -> list[Update]:
        """The close at a minute's begin and what its trades make, made once."""
        known = self._minutes.setdefault(minute, {})
        if topic not in known:
            close = self._events.close(topic, minute)
            known[topic] = [] if close is None else [close]
            known[topic] += self._events.trading(topic, minute)
        return known[topic]

    def _next_after(self, now: float) -> float:
        """When something happens next; the begin of the next minute at the latest."""
        minute = _minute(now)
        upcoming = (update.at for topic in self.protocol.topics for update in self._updates(topic, minute))
        return min((at for at in upcoming if at > now), default=float(minute + MINUTE))

    async def _wait(self, instant: float) -> None:
        """Until the clock shows `instant` or is set, a client asks, or a heartbeat is due."""
        seconds, is_beating = self._clock.seconds_until(instant), self.protocol.is_beating
        if is_beating:
            quiet = max(0.0, self._next_beat() - asyncio.get_running_loop().time())
            seconds = quiet if seconds is None else min(seconds, quiet)
        try:
            async with asyncio.timeout(None if seconds is None else max(seconds, SHORTEST_WAIT_S)):
                await self._changed.wait()
        except TimeoutError:
            if is_beating and asyncio.get_running_loop().time() >= self._next_beat():
                self._last_beat = asyncio.get_running_loop().time()
                await self._send(self.protocol.heartbeat(self._clock.now()))

    def _next_beat(self) -> float:
        """When the next heartbeat is due, by the loop's clock."""
        beside = self.protocol.beats_beside_messages
        return HEARTBEAT_S + (self._last_beat if beside else max(self._last_beat, self._last_sent))

    async def _send_update(self, update: Update) -> None:
        for outgoing in self._faults.apply(update):
            text = _text(self.protocol.sealed(self.protocol.encode(outgoing.update)))
            await self._send_text(text[: len(text) // 2] if outgoing.is_broken else text)

    async def _send(self, message: Any) -> None:
        sealed = self.protocol.sealed(message)
        await self._send_text(sealed if isinstance(sealed, str) else _text(sealed))

    async def _send_text(self, text: str) -> None:
        self._last_sent = asyncio.get_running_loop().time()
        await self._socket.send_str(text)


def _minute(at: float) -> int:
    return int(at) // MINUTE * MINUTE


def _text(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))
