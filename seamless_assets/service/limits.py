"""Limits of a request's body: no more than is needed, and not slower than it has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 64 * 1024
"""More than any request of ours needs; a reason of that length is cut by far."""
BODY_S = 10.0
TOO_SLOW, TOO_LARGE = 408, 413


class _TooLargeError(Exception):
    """The body is longer than it may be."""


class BodyLimits:
    """ASGI middleware: a body of more than `most` bytes is 413, one that takes longer than `seconds` 408.

    `longer` names paths that take more bytes.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: int = BODY_BYTES,
        seconds: float = BODY_S,
        longer: Mapping[str, int] | None = None,
    ) -> None:
        self._app, self._most, self._seconds, self._longer = app, most, seconds, longer or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request whose body is all there."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._longer.get(scope["path"], self._most)
        try:
            async with asyncio.timeout(self._seconds):
                body = await _whole(scope, receive, most)
        except _TooLargeError:
            refusal = _refusal(TOO_LARGE, f"a body of more than {most} bytes is not taken here")
        except TimeoutError:
            refusal = _refusal(TOO_SLOW, f"the body was not all there after {self._seconds:g} s")
        else:
            if body is not None:
                await self._app(scope, _replayed(body, receive), send)
            return
        await refusal(scope, receive, send)


async def _whole(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """The whole body; None where the client has gone."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > most:
        raise _TooLargeError
    body, is_more = bytearray(), True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
        if len(body) > most:
            raise _TooLargeError
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read already, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _refusal(status: int, error: str) -> JSONResponse:
    # What is still on its way is not waited for.
    return JSONResponse({"error": error}, status, {"Connection": "close"})
