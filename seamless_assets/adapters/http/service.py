"""The client side of `seamless serve`: asks, and turns what is answered into values and typed errors.

Whatever an address answers that is not what a service says means that the service is away.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, TypeVar

import aiohttp
from msgspec import MsgspecError
from msgspec.json import decode

from seamless_assets.core.addresses import authorization_of, without_user
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.wire.events import END, EVENTS_TYPE, PROBLEM
from seamless_assets.core.wire.frames import read_stream
from seamless_assets.core.wire.problems import error_of
from seamless_assets.core.wire.sse import Message, MessageReader
from seamless_assets.errors import SeamlessError, ServiceUnavailable

CONNECT_S, SILENCE_S = 5.0, 120.0
STREAM_SILENCE_S = 60.0
"""Far longer than a service is silent on a stream."""
PROBLEM_BYTES = 2**20
CONNECTIONS = 32
ANSWER_BYTES = 4 * 2**30
"""Far more than the bars of one answer; what is longer comes from no service of ours."""
_OK, _NO_CONTENT = 200, 204
T = TypeVar("T")
Query = Mapping[str, str | int | float]


class HttpService:
    """A service at a URL; `token`, or the user of the URL, is shown to it with every question."""

    def __init__(self, url: str, token: str | None) -> None:
        self._base = without_user(url).rstrip("/")
        shown = f"Bearer {token}" if token else authorization_of(url)
        self._headers = {"Authorization": shown} if shown else {}
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    async def read(self, query: Query) -> ReadResult:
        """A read. Raises whatever the service raised, and `ServiceUnavailable`."""
        headers, payload = await self._ask("GET", "/v1/history", {**query, "format": "arrow"}, None)
        try:
            return read_stream(payload, headers.get("X-Seamless-Sla", "{}").encode())
        except ValueError as error:
            raise self._odd(f"what it sends is no read: {error}") from error

    async def get(self, path: str, kind: type[T], query: Query) -> T:
        """A value of JSON. Raises whatever the service raised, and `ServiceUnavailable`."""
        return self._value(kind, (await self._ask("GET", path, query, None))[1])

    async def post(self, path: str, kind: type[T], body: Mapping[str, Any]) -> T:
        """The same of a question that changes something; it may be asked twice."""
        return self._value(kind, (await self._ask("POST", path, {}, body))[1])

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
        """The messages of a stream to its end. Raises whatever the service raised, and `ServiceUnavailable`.

        So it does where the stream breaks off, or says nothing at all for `STREAM_SILENCE_S`.
        """
        patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STREAM_SILENCE_S)
        if self._streams is None:
            # A stream keeps its connection, and takes none from the questions.
            self._streams = aiohttp.ClientSession(
                timeout=patience, connector=aiohttp.TCPConnector(limit=0), headers=self._headers
            )
        asked = self._streams.post(f"{self._base}{path}", json=body, allow_redirects=False)
        try:
            async with asked as answer:
                if answer.status == _NO_CONTENT:
                    return
                if answer.status != _OK:
                    raise self._error(answer.status, await answer.content.read(PROBLEM_BYTES))
                if answer.content_type != EVENTS_TYPE:
                    raise self._odd(f"what it sends is {answer.content_type}, and no stream of events")
                async for message in _messages(answer.content):
                    if message.event == END:
                        return
                    if message.event == PROBLEM:
                        raise self._error(_OK, message.data)
                    yield message
        except SeamlessError:
            # Some are a ValueError, too.
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._away(error) from error
        raise self._odd("its stream broke off")

    async def close(self) -> None:
        """Close the connections."""
        sessions = self._session, self._streams
        self._session = self._streams = None
        for session in sessions:
            if session is not None:
                await session.close()

    def _value(self, kind: type[T], payload: bytes) -> T:
        try:
            return decode(payload, type=kind)
        except (MsgspecError, RecursionError) as error:
            raise self._odd(f"what it sends is no {getattr(kind, '__name__', kind)}: {error}") from error

    async def _ask(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None
    ) -> tuple[Mapping[str, str], bytes]:
        try:
            try:
                status, headers, payload = await self._answer(method, path, query, body)
            except aiohttp.ServerDisconnectedError:
                # A kept connection that the service had closed meanwhile.
                status, headers, payload = await self._answer(method, path, query, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._away(error) from error
        if status != _OK:
            raise self._error(status, payload)
        return headers, payload

    async def _answer(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
            connections = aiohttp.TCPConnector(limit=CONNECTIONS)
            self._session = aiohttp.ClientSession(
                timeout=patience, connector=connections, headers=self._headers
            )
        asked = self._session.request(
            method, f"{self._base}{path}", params=query, json=body, allow_redirects=False
        )
        async with asked as answer:
            payload = bytearray()
            async for piece in answer.content.iter_any():
                payload += piece
                if len(payload) > ANSWER_BYTES:
                    raise self._odd(f"its answer is longer than {ANSWER_BYTES} bytes")
            return answer.status, answer.headers, bytes(payload)

    def _error(self, status: int, payload: bytes) -> SeamlessError:
        try:
            return error_of(payload)
        except ValueError:
            said = " ".join(payload[:200].decode(errors="replace").split())
            return self._odd(f"it answers {status}: {said}")

    def _away(self, error: Exception) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"the service at {self._base} cannot be reached: {str(error) or type(error).__name__}; check "
            "that `seamless serve` runs there",
            address=self._base,
        )

    def _odd(self, reason: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"the service at {self._base} does not answer as one does: {reason}; check that a "
            "`seamless serve` of this version runs there",
            address=self._base,
        )


async def _messages(content: aiohttp.StreamReader) -> AsyncIterator[Message]:
    """Messages as they come, as far as they are whole."""
    reader = MessageReader()
    async for piece in content.iter_any():
        for message in reader.feed(piece):
            yield message
