"""Serving over HTTP with a time limit for clients that begin a request and never end it."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
IDLE_S = 30


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve `app` until the process is told to end."""
    uvicorn.run(
        app, host=host, port=port, log_level="warning", http=ImpatientProtocol, timeout_keep_alive=IDLE_S
    )


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request has no whole head after `HEAD_S` seconds.

    uvicorn limits the time between two requests alone, and a byte now and then would keep it for ever.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Between two requests the idle time counts, until the first byte.
        self._unwatch()

    def _watch(self) -> None:
        request: Any = self.cycle
        if request is not None and not request.response_complete:
            self._unwatch()
        elif self._limit is None:
            self._limit = self.loop.call_later(HEAD_S, self._give_up)

    def _unwatch(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _give_up(self) -> None:
        self._limit = None
        self.transport.abort()
