"""One WebSocket connection: what its client asks for, and what it is told as the exchange's clock goes on."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from aiohttp import WSMsgType, web

from seamless_assets.dialects.streams.base import Conversation, Topic, Update
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import MINUTE
from seamless_assets.sandbox.streams.distortion import Distortion
from seamless_assets.sandbox.streams.market_events import MarketEvents

MAX_BEHIND_S = 86_400.0
"""A clock that jumps further has what lies before left out."""
HEARTBEAT_S = 1.0
"""Real seconds without a message after which a venue that sends heartbeats sends one."""
SHORTEST_WAIT_S = 0.001
TOPICS_AT_ONCE = 20
"""After so many are worked out, others have their turn."""


class Connection:
    """A connection to `path`, in the words of a `conversation`, on the exchange's `clock`."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        path: str,
        conversation: Conversation,
        clock: SandboxClock,
        events: MarketEvents,
        distortion: Distortion,
    ) -> None:
        self.path, self.conversation = path, conversation
        self._socket, self._clock, self._events, self._distortion = socket, clock, events, distortion
        self._followed_since: dict[Topic, float] = {}
        self._minutes: dict[int, dict[Topic, list[Update]]] = {}
        self._told_until = clock.now()
        self._set_back_to = math.inf
        self._changed = asyncio.Event()
        self._last_sent = 0.0

    def clock_was_set(self, back_to: float | None) -> None:
        """Look at the clock again; where it was set back, begin anew there."""
        if back_to is not None:
            self._set_back_to = min(self._set_back_to, back_to)
        self._changed.set()

    async def serve(self) -> None:
        """Answer and tell until either side is gone. Raises `Dropped` where a fault cuts the connection."""
        for message in self.conversation.greeting(self._clock.now()):
            await self._send(message)
        tasks = [asyncio.ensure_future(self._answer()), asyncio.ensure_future(self._tell())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if (
                not task.cancelled()
                and (error := task.exception())
                and not isinstance(error, ConnectionError)
            ):
                raise error

    async def _answer(self) -> None:
        """Take what the client says until it is gone."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                await self._take(message.data)

    async def _take(self, text: str) -> None:
        now, topics = self._clock.now(), self.conversation.topics
        before = set(topics)
        for answer in self.conversation.receive(text, now):
            await self._send(answer)
        self._followed_since = {topic: self._followed_since.get(topic, now) for topic in topics}
        for topic in [topic for topic in topics if topic not in before]:
            rows = self.conversation.snapshot_rows(topic)
            snapshot = self._distortion.snapshot(topic, now, rows)
            if snapshot is not None:
                await self._say(snapshot)
        self._changed.set()

    async def _tell(self) -> None:
        """Tell what happens on the exchange's clock, as it comes to it."""
        while True:
            self._changed.clear()
            now = self._clock.now()
            begin = self._begin(now)
            for minute in range(_minute(begin), _minute(now) + 1, MINUTE):
                await self._work_out(minute)
                for update in self._happened(minute, begin, now):
                    self._told_until = update.at
                    if update.topic in self.conversation.topics:
                        await self._say(update)
            self._told_until = now
            if self._clock.seconds_until(now) is not None:
                # What comes next is told at its time, however much it is.
                await self._work_out(_minute(now) + MINUTE)
            await self._wait(self._next_after(now))

    def _begin(self, now: float) -> float:
        """From when on is to be told: from where it ended, or from where the clock was set back to."""
        begin = min(self._told_until, self._set_back_to, now)
        self._set_back_to = math.inf
        if begin < self._told_until:
            self._followed_since = {topic: min(at, begin) for topic, at in self._followed_since.items()}
        self._told_until = max(begin, now - MAX_BEHIND_S)
        return self._told_until

    async def _work_out(self, minute: int) -> None:
        """Know what happens within a minute on all topics, and forget what lies two before it."""
        made = self._minutes.get(minute, {})
        recent = {m: known for m, known in self._minutes.items() if minute - MINUTE <= m <= minute}
        self._minutes = {**recent, minute: {t: made[t] for t in self.conversation.topics if t in made}}
        for worked_out, topic in enumerate(tuple(self.conversation.topics)):
            self._of_minute(topic, minute)
            if worked_out % TOPICS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _happened(self, minute: int, begin: float, now: float) -> list[Update]:
        """What is to be told of a minute after `begin` and until `now`, in order."""
        if begin >= minute + MINUTE:
            return []
        told = []
        for topic in tuple(self.conversation.topics):
            after = max(begin, self._followed_since.get(topic, now))
            happened = self._of_minute(topic, minute)
            told += [update for update in happened if after < update.at <= now and self._is_told(update)]
        told += self._distortion.corrections(begin, min(now, minute + MINUTE - 1e-6))
        return sorted(told, key=lambda update: update.at)

    def _is_told(self, update: Update) -> bool:
        """Whether the venue has a word for an update. A close has its correction planned, told or not."""
        if not (update.candles and update.candles[-1].is_closed):
            return True
        self._distortion.closed(update)
        return self.conversation.has_closed_flag and update.topic.timeframe is not None

    def _of_minute(self, topic: Topic, minute: int) -> list[Update]:
        """The close at its begin and what its trades make, worked out once."""
        known = self._minutes.setdefault(minute, {})
        if topic not in known:
            close = self._events.close(topic, minute)
            known[topic] = [] if close is None else [close]
            known[topic] += self._events.trading(topic, minute)
        return known[topic]

    def _next_after(self, now: float) -> float:
        """When something happens next; the begin of the next minute at the latest."""
        minute = _minute(now)
        happening = (
            update.at for topic in self.conversation.topics for update in self._of_minute(topic, minute)
        )
        return min((at for at in happening if at > now), default=float(minute + MINUTE))

    async def _wait(self, instant: float) -> None:
        """Until the clock shows `instant` or is set, a client asks, or a heartbeat is due."""
        seconds = self._clock.seconds_until(instant)
        heartbeat = self.conversation.heartbeat
        if heartbeat is not None:
            quiet = max(0.0, self._last_sent + HEARTBEAT_S - asyncio.get_running_loop().time())
            seconds = quiet if seconds is None else min(seconds, quiet)
        try:
            async with asyncio.timeout(None if seconds is None else max(seconds, SHORTEST_WAIT_S)):
                await self._changed.wait()
        except TimeoutError:
            is_quiet = asyncio.get_running_loop().time() >= self._last_sent + HEARTBEAT_S
            if heartbeat is not None and is_quiet:
                await self._send_text(heartbeat)

    async def _say(self, update: Update) -> None:
        for outgoing in self._distortion.apply(update):
            text = _text(self.conversation.encode(outgoing.update))
            await self._send_text(text[: len(text) // 2] if outgoing.is_broken else text)

    async def _send(self, message: Any) -> None:
        await self._send_text(message if isinstance(message, str) else _text(message))

    async def _send_text(self, text: str) -> None:
        self._last_sent = asyncio.get_running_loop().time()
        await self._socket.send_str(text)


def _minute(at: float) -> int:
    return int(at) // MINUTE * MINUTE


def _text(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))
