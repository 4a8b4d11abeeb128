"""Answers are given again as they were: those that can never change without asking anything, those of the
newest release once it is known that it still is, others as what knows them says, for as long as it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seamless_assets.aio.next_flight import NextFlight
from seamless_assets.errors import SeamlessError

RELEASED = "seamless_assets.released"
"""Where the scope of a request says of which release its answer is, if it is that of the newest one."""
AGAIN = "seamless_assets.again"
"""Where the scope of a request has what makes of its answer's body, at once, what it would be now."""
IMMUTABLE = "private, max-age=31536000, immutable"
"""Of an answer that is the same for ever."""
REPLY_BYTES = 64 * 2**20
LARGEST_REPLY = 4 * 2**20
OVERHEAD_BYTES = 4_096
"""What an answer takes beside its bytes: objects of Python for it, its headers and its place."""
Again = Callable[[bytes], bytes | None]
"""The body as it would be made now; None where it has to be made."""
_NOT_MODIFIED = 304
_OF_A_BODY = {b"content-length", b"content-type"}


@dataclass(frozen=True, slots=True)
class Released:
    """A release of a node: no two of a log have the same `as_of`.

    `seq`: its number, where that is known; 0 where nothing is released.
    """

    node_id: str
    as_of: str | None
    dataset_fingerprint: str | None
    seq: int | None = field(default=None, compare=False)


class Newest(Protocol):
    """Tells of the newest release of a node."""

    async def ask(self, node_id: str) -> Released:
        """It, asked of the store now. Raises `SeamlessError`."""

    def is_still(self, released: Released) -> bool | None:
        """Whether it is still that one, said at once; None where it must be asked."""


@dataclass(slots=True)
class Reply:
    """An answer as it was sent."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    size: int
    """Bytes that it takes in memory, about."""
    released: Released | None = None
    """The release that has to be the newest for it to hold."""
    again: Again | None = None
    """Gives the body as it is now, of the same length; it always holds without this and a release."""

    @property
    def etag(self) -> str:
        """Its ETag."""
        return dict(self.headers).get(b"etag", b"").decode("latin-1")


class KeptReplies:
    """ASGI middleware that remembers small answers by the whole of what was asked.

    Those with `IMMUTABLE` hold for ever, those of a release for as long as `newest` says that there is none
    after it, those with `AGAIN` while that gives a body. What is not known to hold is answered anew.
    """

    def __init__(self, app: ASGIApp, newest: Newest, most_bytes: int = REPLY_BYTES) -> None:
        self._app, self._newest, self._asking = app, newest, NextFlight(newest.ask)
        self._kept: LRUCache[tuple[str, bytes], Reply] = LRUCache(most_bytes, lambda reply: reply.size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what was answered before; hand on the rest."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        key = scope["path"], scope["query_string"]
        reply = self._kept.get(key)
        body = None if reply is None else await self._now(reply)
        if reply is not None and body is not None:
            await _send(reply, body, scope, send)
        else:
            await self._app(scope, receive, _Remembering(self._kept, key, scope, send))

    async def _now(self, reply: Reply) -> bytes | None:
        """The body of an answer as it is now; None where it is not known to hold."""
        if reply.again is not None:
            return reply.again(reply.body)
        return reply.body if reply.released is None or await self._is_newest(reply, reply.released) else None

    async def _is_newest(self, reply: Reply, released: Released) -> bool:
        is_still = self._newest.is_still(released)
        if is_still is not None:
            return is_still
        try:
            newest = await self._asking.ask(released.node_id)
        except SeamlessError:
            return False
        if newest != released:
            return False
        # From here on its number is known.
        reply.released = newest
        return True


class _Remembering:
    """A `send` that keeps what goes through it, if that may be kept."""

    def __init__(
        self, kept: LRUCache[tuple[str, bytes], Reply], key: tuple[str, bytes], scope: Scope, send: Send
    ) -> None:
        self._kept, self._key, self._scope, self._send = kept, key, scope, send
        self._released: Released | None = None
        self._again: Again | None = None
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            is_immutable = (b"cache-control", IMMUTABLE.encode()) in headers
            if not is_immutable:
                self._released, self._again = self._scope.get(RELEASED), self._scope.get(AGAIN)
            is_kept = is_immutable or self._released is not None or self._again is not None
            self._headers = headers if message["status"] == 200 and is_kept else None
        elif self._headers is not None:
            self._add(message)
        await self._send(message)

    def _add(self, message: Message) -> None:
        piece = bytes(message.get("body", b""))
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size > LARGEST_REPLY:
            self._headers, self._pieces = None, []
        elif not message.get("more_body", False) and self._headers is not None:
            # Each byte of what was asked and of a header counts: answers may be small and many.
            words = sum(len(name) + len(value) for name, value in self._headers)
            size = OVERHEAD_BYTES + 2 * sum(map(len, self._key)) + words + self._size
            self._kept[self._key] = Reply(
                self._headers, b"".join(self._pieces), size, self._released, self._again
            )


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether who asks has the answer of an ETag already."""
    tags = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return bool(etag) and (etag in tags or tags == ["*"])


async def _send(reply: Reply, body: bytes, scope: Scope, send: Send) -> None:
    if is_known(Headers(scope=scope).get("if-none-match"), reply.etag):
        headers = [header for header in reply.headers if header[0] not in _OF_A_BODY]
        await send({"type": "http.response.start", "status": _NOT_MODIFIED, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": reply.headers})
    await send({"type": "http.response.body", "body": body})
