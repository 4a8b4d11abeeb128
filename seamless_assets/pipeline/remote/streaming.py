"""Events of a service as they come, over as many connections as it takes: each once, none lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from seamless_assets.aio.shield import shielded
from seamless_assets.core.live.cursor import read_cursor
from seamless_assets.core.live.relay import Relay
from seamless_assets.core.node import NodeId
from seamless_assets.core.wire.events import BEGIN, Told, read_begin, read_event
from seamless_assets.core.wire.sse import Message
from seamless_assets.errors import (
    LimitExceeded,
    NotServed,
    SeamlessError,
    SeamlessSLAExceeded,
    ServiceUnavailable,
)
from seamless_assets.flows.live.passing import is_passing

FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 10.0
CHECKED_EVERY_S = 5.0
"""How often it is checked whether bars are overdue that nobody has news of."""
PASSING = (ServiceUnavailable, LimitExceeded, SeamlessSLAExceeded)


class EventSource(Protocol):
    """Where streams are asked for."""

    def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
        """The messages of a stream to its end."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a stream is asked for at which path; `start` is the name of where it begins."""

    path: str
    body: Mapping[str, Any]
    start: str = "since"

    def after(self, cursor: str, as_of: str | None) -> Question:
        """The same from `cursor` on, of what was known where it began."""
        known = {} if as_of is None else {"as_of": as_of}
        return replace(self, body={**self.body, self.start: cursor, **known})


async def follow(
    source: EventSource,
    nodes: tuple[NodeId, ...],
    question: Question,
    now: Callable[[], float] = time.time,
) -> AsyncGenerator[Told, None]:
    """The events of a stream that `question` asks for, resumed where it breaks off.

    What is away for a while is waited for, and told as `Stale` once bars are overdue.
    Raises what the service raises, `ServiceUnavailable` where the stream does not even begin, and `NotServed`
    where it holds an event that this version cannot read.
    """
    following = _Following(source, nodes, question, Relay(nodes), now)
    coming: asyncio.Task[Told | None] | None = None
    async with aclosing(following.told()) as told:
        try:
            while True:
                coming = coming or asyncio.create_task(_next(told))
                await asyncio.wait({coming}, timeout=CHECKED_EVERY_S)
                if coming.done():
                    event, coming = coming.result(), None
                    if event is None:
                        return
                    yield event
                for stale in following.overdue():
                    yield stale
        finally:
            if coming is not None:
                coming.cancel()
                await shielded(asyncio.ensure_future(asyncio.wait({coming})))


class _Following:
    def __init__(
        self,
        source: EventSource,
        nodes: tuple[NodeId, ...],
        question: Question,
        relay: Relay,
        now: Callable[[], float],
    ) -> None:
        self._source, self._question, self._relay, self._now = source, question, relay, now
        self._names = tuple(map(str, nodes))
        self._cursor = ""
        self._as_of: str | None = None

    def overdue(self) -> list[Told]:
        """What is to be told of nodes that nobody vouches for."""
        return list(self._relay.overdue(self._now(), self._cursor)) if self._cursor else []

    async def told(self) -> AsyncGenerator[Told, None]:
        """What the service tells, again and again from where it broke off."""
        pause = FIRST_RETRY_S
        while True:
            before = self._cursor
            try:
                async with aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
                return
            except SeamlessError as error:
                if not self._cursor or not _is_passing(error):
                    raise
            self._relay.lose()
            pause = FIRST_RETRY_S if self._cursor != before else min(2 * pause, LONGEST_RETRY_S)
            await asyncio.sleep(pause)

    async def _connection(self) -> AsyncGenerator[Told, None]:
        asked = self._question.after(self._cursor, self._as_of) if self._cursor else self._question
        async with aclosing(self._source.events(asked.path, asked.body)) as messages:
            async for message in messages:
                try:
                    told = self._read(message)
                except ValueError as error:
                    # The next connection would be sent the same.
                    raise NotServed(
                        f"what the service sends is no event that this version knows: {error}; "
                        "bring client and service to one version"
                    ) from error
                self._cursor = message.last_id
                if told is not None and self._relay.take(told, self._now()):
                    yield told

    def _read(self, message: Message) -> Told | None:
        if message.event != BEGIN:
            return read_event(message.data, message.last_id, self._names)
        begin = read_begin(message.data)
        self._as_of = begin.as_of
        self._relay.begin(read_cursor(message.last_id, self._names), begin.max_lag or 0.0)
        return None


async def _next(told: AsyncGenerator[Told, None]) -> Told | None:
    """The next event; None at the end, which a task cannot raise."""
    try:
        return await anext(told)
    except StopAsyncIteration:
        return None


def _is_passing(error: SeamlessError) -> bool:
    """Whether a service that has begun a stream may go on with it the next time."""
    return isinstance(error, PASSING) or is_passing(error)
