"""All WebSocket connections of the local exchange: who may open one, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from seamless_assets.dialects.streams.base import StreamRoute
from seamless_assets.dialects.venues import VENUES
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.faults import Faults
from seamless_assets.sandbox.streams.connection import Connection
from seamless_assets.sandbox.streams.faults import Dropped, StreamFaults
from seamless_assets.sandbox.streams.market_events import MarketEvents

MAX_CONNECTIONS = 1_000
MAX_MESSAGE = 65_536
"""Bytes of a client's message; a longer one ends its connection."""
CLOSING_S = 0.5
"""So long a client has to answer the close of its connection."""
_GOING_AWAY = 1001


@dataclass(frozen=True, slots=True, eq=False)
class _OpenConnection:
    connection: Connection
    socket: web.WebSocketResponse
    request: web.Request

    def cut(self) -> None:
        """End it without a word."""
        if self.request.transport is not None:
            self.request.transport.abort()


def is_upgrade(request: web.Request) -> bool:
    """Whether a request asks for a WebSocket connection, as it should."""
    return web.WebSocketResponse().can_prepare(request).ok


class StreamServer:
    """The connections of a running exchange; made and used in its event loop."""

    def __init__(self, book: Book, faults: Faults) -> None:
        self._book, self._faults, self._events = book, faults, MarketEvents(book)
        self._open: set[_OpenConnection] = set()
        self._loop = asyncio.get_running_loop()
        self._unlisten = book.clock.listen(self._clock_was_set)

    def routes(self) -> list[tuple[StreamRoute, Callable[[web.Request], Any]]]:
        """The addresses of all venues, with their handlers."""
        return [
            (route, self._handler(route)) for venue in VENUES.values() for route in venue.streams(self._book)
        ]

    def topics(self) -> list[str]:
        """The venues' names of what is followed now, each as often as it is followed."""
        return [topic.name for opened in self._open for topic in opened.connection.protocol.topics]

    def as_records(self) -> list[dict[str, Any]]:
        """The open connections as JSON values: path and topics."""
        return [
            {
                "path": opened.connection.path,
                "topics": [t.name for t in opened.connection.protocol.topics],
            }
            for opened in self._open
        ]

    def cut(self) -> None:
        """End all connections without a word, as an outage does."""
        for opened in tuple(self._open):
            self._open.discard(opened)
            opened.cut()

    async def close(self) -> None:
        """End all connections; those whose clients do not answer are cut."""
        self._unlisten()
        await asyncio.gather(*(self._end(opened) for opened in tuple(self._open)))

    async def _end(self, opened: _OpenConnection) -> None:
        try:
            async with asyncio.timeout(CLOSING_S):
                await opened.socket.close(code=_GOING_AWAY)
        except TimeoutError:
            opened.cut()

    def _handler(self, route: StreamRoute) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            if not is_upgrade(request):
                return web.Response(status=426, text="connect by WebSocket", headers={"Upgrade": "websocket"})
            if len(self._open) >= MAX_CONNECTIONS:
                return web.Response(status=503, text="too many connections")
            socket = web.WebSocketResponse(compress=False, max_msg_size=MAX_MESSAGE)
            try:
                await socket.prepare(request)
            except ConnectionError:
                return web.Response(status=503, text="the client is gone")
            await self._serve(route, request, socket)
            return socket

        return serve

    async def _serve(self, route: StreamRoute, request: web.Request, socket: web.WebSocketResponse) -> None:
        protocol = route.open({**request.query, **request.match_info})
        faults = StreamFaults(
            self._faults, request.path, self._events, has_closed_flag=protocol.has_closed_flag
        )
        connection = Connection(socket, request.path, protocol, self._book.clock, self._events, faults)
        opened = _OpenConnection(connection, socket, request)
        self._open.add(opened)
        try:
            await connection.serve()
        except (Dropped, ConnectionError):
            opened.cut()
        finally:
            self._open.discard(opened)

    def _clock_was_set(self, back_to: float | None) -> None:
        """The clock was set, in whatever thread."""
        self._loop.call_soon_threadsafe(self._notify, back_to)

    def _notify(self, back_to: float | None) -> None:
        for opened in self._open:
            opened.connection.clock_was_set(back_to)
