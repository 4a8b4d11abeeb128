"""Serving over HTTP with time limits for clients that begin a request and never end it, or never read."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from seamless_assets.service.answers.streams import ENDLESS

WEBSOCKETS: Literal["websockets-sansio"] = "websockets-sansio"
"""How uvicorn speaks WebSocket; it pings every 20 s, and ends a connection that answers none."""
MESSAGE_BYTES = 64 * 1024
"""Of what a client sends over WebSocket."""
HEAD_S = 10.0
HEAD_BYTES = 64 * 1024
"""More than a request of ours needs before its body."""
IDLE_S = 30
STALL_S = 30.0
"""How long nobody may take what is to be sent."""
GRACE_S = 20
"""How long requests under way have once the process is told to end."""


def serve(app: ASGIApp, host: str, port: int, *, takes_websockets: bool = False) -> None:
    """Serve `app` until the process is told to end, and let requests under way come to theirs."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        http=ImpatientProtocol,
        ws=WEBSOCKETS if takes_websockets else "none",
        ws_max_size=MESSAGE_BYTES,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


class ImpatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection whose request has no whole head after `HEAD_S` seconds or
    `HEAD_BYTES`, or that takes nothing of its answer for `STALL_S`.

    uvicorn limits the time between two requests alone, and a byte now and then would keep it for ever.
    """

    _limit: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_handed_on = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes += len(data)
        self._watch()

    def on_headers_complete(self) -> None:
        # What comes at once was not met on its way. An error here is answered by 400.
        parts = [self.url, *(part for header in self.headers for part in header)]
        if sum(map(len, parts)) > HEAD_BYTES:
            raise ValueError(f"a head of more than {HEAD_BYTES} bytes")
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()
        self._flows()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # Another protocol has the connection from here on.
        self._is_handed_on = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Between two requests the idle time counts, until the first byte.
        self._unwatch()

    def shutdown(self) -> None:
        super().shutdown()
        request: Any = self.cycle
        if request is not None and not request.response_complete and request.scope.get(ENDLESS):
            # Its client goes on elsewhere, or here when the service is back.
            request.disconnected = True
            request.message_event.set()
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(STALL_S, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flows()

    def _watch(self) -> None:
        request: Any = self.cycle
        if self._is_handed_on or (request is not None and not request.response_complete):
            self._unwatch()
        elif self._head_bytes > HEAD_BYTES:
            self._give_up()
        elif self._limit is None:
            self._limit = self.loop.call_later(HEAD_S, self._give_up)

    def _unwatch(self) -> None:
        self._head_bytes = 0
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _flows(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _give_up(self) -> None:
        self._limit = None
        self.transport.abort()
