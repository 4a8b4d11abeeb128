"""Answers without an end: server-sent events, for as long as who asked stays.

Of one stream the service holds what is being sent: up to `BATCH` events that are read ahead, as many more as
one message of bytes, and the 64 KiB that uvicorn takes before it lets nobody write. Whoever reads slower than
bars close is behind and is told so by `Stale`; what nobody takes for 30 s is ended by the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from seamless_assets.aio.shield import shielded
from seamless_assets.core.wire.events import EVENTS_TYPE
from seamless_assets.core.wire.sse import HEARTBEAT

BATCH = 256
"""Events of one stream that are read ahead at most."""
HEARTBEAT_S = 10.0
"""How long a stream is silent at most."""
ENDLESS = "seamless_assets.endless"
"""Marks the scope of a request whose answer does not end by itself: who ends the server need not wait."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Pieces(Protocol):
    """Bytes that come one after the other, and can be closed before their end."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class EventStream(Response):
    """Sends `pieces` as they come after `first`, and a comment where none does; ends as who asked leaves."""

    media_type = EVENTS_TYPE

    def __init__(self, first: bytes, pieces: Pieces) -> None:
        super().__init__(None, 200, HEADERS)
        del self.headers["content-length"]
        self._first, self._pieces = first, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until nobody listens."""
        scope[ENDLESS] = True
        leaving = asyncio.create_task(_left(receive))
        sending = asyncio.create_task(self._send(send))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await shielded(asyncio.ensure_future(asyncio.wait({sending, leaving})))
            await shielded(asyncio.ensure_future(self._pieces.aclose()))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _send_piece(send, self._first)
        while True:
            coming = asyncio.create_task(self._next())
            try:
                while not (await asyncio.wait({coming}, timeout=HEARTBEAT_S))[0]:
                    await _send_piece(send, HEARTBEAT)
            finally:
                coming.cancel()
            if (piece := coming.result()) is None:
                break
            await _send_piece(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> bytes | None:
        """What comes next; None at the end."""
        async for piece in self._pieces:
            return piece
        return None


async def _send_piece(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _left(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
