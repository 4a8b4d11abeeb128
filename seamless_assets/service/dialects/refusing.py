"""Whatever is refused below an exchange's name is refused in that exchange's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec.json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seamless_assets.core.calendar.instant import epoch_micros, typed_instant
from seamless_assets.core.wire.problems import PROBLEM_TYPE, Problem
from seamless_assets.dialects.base import Reason
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import InvalidTimestamp
from seamless_assets.service.callers import caller_of
from seamless_assets.service.dialects.usage.tally import Tally
from seamless_assets.service.dialects.visit import VISITED, Visit

_WORLD = r"(?:/as-of/(?P<as_of>[^/]+)|/replay/[^/]+/[^/]+(?:/as-of/[^/]+)?)?"
_PATH = re.compile(rf"{_WORLD}/(?P<exchange>{'|'.join(VENUES)})(?:/.*)?", re.DOTALL)
_REASONS: dict[int, Reason] = {
    400: "bad_request",
    401: "unauthorized",
    403: "unauthorized",
    404: "not_served",
    405: "not_served",
    408: "try_later",
    413: "bad_request",
    421: "unauthorized",
    422: "bad_request",
    429: "too_many",
}
"""The rest is for the client to try later."""
_KEPT = frozenset({b"retry-after", b"www-authenticate"})
_FAILED, _NOT_FOUND = 500, 404
_LIMITED = (408, 413)
"""Limits of a body, which are told as plain JSON."""
_BEGINS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""What an answer begins with: a connection's handshake has its own."""
NONE = b"none"
Headers = Iterable[tuple[bytes, bytes]]


def exchange_of(path: str) -> str | None:
    """The exchange in whose words a path is answered; None for paths of our own."""
    found = _PATH.fullmatch(path)
    return None if found is None else found["exchange"]


class InDialect:
    """ASGI middleware: problem details below an exchange's name become that exchange's answers."""

    def __init__(self, app: ASGIApp, tally: Tally) -> None:
        self._app, self._tally = app, tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the request, and put into words what refuses it."""
        exchange = exchange_of(scope["path"]) if scope["type"] in ("http", "websocket") else None
        if exchange is None:
            await self._app(scope, receive, send)
            return
        kind = "websocket.http" if scope["type"] == "websocket" else "http"
        translated = _Translated(exchange, kind, scope, self._noted(scope, exchange, send))
        try:
            await self._app(scope, receive, translated)
        except Exception as error:
            # What no handler knows goes on to the log; the client hears of it in words that it knows.
            if not translated.has_begun:
                await translated.refuse(_FAILED, f"({type(error).__name__})")
            raise

    def _noted(self, scope: Scope, exchange: str, send: Send) -> Send:
        """A `send` that counts the request as its answer begins, and adds what is said of limits."""

        async def noting(message: Message) -> None:
            if message["type"] in _BEGINS:
                caller, path, headers = caller_of(scope).name, scope["path"], list(message.get("headers", ()))
                is_refused = message.get("status", 0) >= 400 or _is_rejected(headers)
                self._tally.note(caller, exchange, path, scope["query_string"], is_refused=is_refused)
                # What the exchange itself has said goes before.
                said = {name.lower() for name, _ in headers}
                limits = self._tally.limit_headers(caller, exchange, path, _now_of(scope))
                headers += [(name, value) for name, value in limits if name not in said]
                if message["type"] == "websocket.accept":
                    headers += _served(scope)
                message = {**message, "headers": headers}
            await send(message)

        return noting


class _Translated:
    """A `send` that holds a problem back until it is whole, and sends the exchange's answer in its place.

    `kind` begins the messages of an answer: one to a handshake has its own.
    """

    def __init__(self, exchange: str, kind: str, scope: Scope, send: Send) -> None:
        self._exchange, self._kind, self._scope, self._send = exchange, kind, scope, send
        self._problem: Message | None = None
        self._body = b""
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "websocket.close" and not self.has_begun:
            # Nobody takes connections there.
            await self.refuse(_NOT_FOUND, "")
            return
        if message["type"] in (f"{self._kind}.response.start", "websocket.accept"):
            self.has_begun = True
            if message.get("status", 0) >= 400 and _has_problem(message):
                self._problem = message
                return
        if self._problem is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            status = self._problem["status"]
            kept = [(name, value) for name, value in self._problem["headers"] if name in _KEPT]
            await self.refuse(status, _detail(self._body), kept)

    async def refuse(self, status: int, detail: str, kept: Headers = ()) -> None:
        """Send the exchange's words for a status, with headers that are kept."""
        self.has_begun = True
        reason = _REASONS.get(status, "try_later")
        refusal = VENUES[self._exchange].refusal(reason, detail)
        body, visit = msgspec.json.encode(refusal.body), self._scope.get(VISITED)
        if visit is not None:
            # The venue's clock is that of the world which was asked.
            body = VENUES[self._exchange].stamped(body, visit.now)
        told = {
            b"content-type": b"application/json",
            b"content-length": str(len(body)).encode(),
            **dict(_served(self._scope)),
            b"x-seamless-verdict": b"HOLD" if reason == "try_later" else b"REJECT",
        }
        # A connection is not refused by an answer that says OK.
        said = max(status, 400) if self._kind == "websocket.http" else refusal.status
        headers = [*told.items(), *kept]
        await self._send({"type": f"{self._kind}.response.start", "status": said, "headers": headers})
        await self._send({"type": f"{self._kind}.response.body", "body": body})


def _has_problem(message: Message) -> bool:
    content = dict(message["headers"]).get(b"content-type", b"")
    return content.startswith(PROBLEM_TYPE.encode()) or message["status"] in _LIMITED


def _served(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    """What an answer stands on: what was read before it was refused, the instant of its world, or nothing."""
    visit: Visit | None = scope.get(VISITED)
    if visit is None:
        return [(b"x-seamless-as-of", NONE), (b"x-seamless-fingerprint", NONE)]
    return [(name.lower().encode(), value.encode()) for name, value in visit.headers.items()]


def _now_of(scope: Scope) -> float | None:
    """The clock of the world that was asked; None where nobody looked at it, as it does not stand."""
    visit: Visit | None = scope.get(VISITED)
    if visit is not None:
        return visit.now
    # What was answered before is given again without a look.
    found = _PATH.fullmatch(scope["path"])
    if found is None or found["as_of"] is None:
        return None
    try:
        return epoch_micros(typed_instant(found["as_of"])) / 1e6
    except InvalidTimestamp:
        return None


def _is_rejected(headers: Headers) -> bool:
    """Some venues say no with a status of 200."""
    return dict(headers).get(b"x-seamless-verdict") in (b"REJECT", b"HOLD")


def _detail(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Problem).detail
    except msgspec.MsgspecError:
        return ""
