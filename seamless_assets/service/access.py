"""Who may ask for what: bearer tokens with scopes, how many requests at once, and how long one may take."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seamless_assets.config.sections import Scope as Right
from seamless_assets.config.sections import ServiceSettings, TokenSettings
from seamless_assets.core.addresses import is_loopback
from seamless_assets.errors import AccessRefused, ConfigError, LimitExceeded, SeamlessSLAExceeded
from seamless_assets.service.answers.problems import problem_response
from seamless_assets.service.callers import ANYBODY, CALLER, Caller

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""What anybody may ask: it tells nothing of what is stored."""
PAGE = "/page/"
OPERATED = frozenset({"/v1/sessions/pin", "/v1/sessions/unpin"})
LEASED = "/v1/leases"
WEBSOCKET = "websocket"
STREAMS = frozenset({"/v1/events", "/v1/replay"})
"""What goes on for as long as it is wanted; so does every WebSocket connection."""
SENDING_S = 600.0
"""How long an answer may take that has begun, but for streams."""
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _MISDIRECTED, _TOO_LATE = 401, 403, 429, 421, 504


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many requests and streams are under way, by the name of who asks."""

    requests: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)


def right_for(path: str) -> Right | None:
    """What a path asks of who wants it; None where anybody may. Unknown paths are no exception."""
    if path in OPEN or path.startswith(PAGE):
        return None
    if path == LEASED or path.startswith(f"{LEASED}/"):
        return "lease"
    return "operate" if path in OPERATED else "read"


def require_tokens(host: str, tokens: Mapping[str, TokenSettings]) -> None:
    """Raise `ConfigError` where other machines could ask and nobody must say who they are."""
    if not tokens and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached by other machines, and the settings hold no token: `seamless token NAME` "
            "makes one for service.tokens; or listen on 127.0.0.1 alone",
            problems=(),
        )


class Access:
    """ASGI middleware that lets requests through whose bearer may make them.

    Without tokens only this machine is served, under its own names: a page of elsewhere that a browser here
    has open cannot ask under another.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, occupancy: Occupancy | None = None) -> None:
        self._app, self._settings = app, settings
        self._tokens = [(name, bytes.fromhex(token.sha256), token) for name, token in settings.tokens.items()]
        self._occupancy = occupancy or Occupancy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or say why not."""
        if scope["type"] not in ("http", WEBSOCKET):
            await self._app(scope, receive, send)
            return
        right, headers = right_for(scope["path"]), Headers(scope=scope)
        caller = scope[CALLER] = self._caller(headers)
        refusal = self._refusal(scope, headers, caller, right)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif right is None or caller is None:
            await self._app(scope, receive, send)
        else:
            busy, _ = self._busy(scope)
            busy[caller.name] += 1
            try:
                await self._in_time(scope, receive, send)
            finally:
                busy[caller.name] -= 1

    def _refusal(
        self, scope: Scope, headers: Headers, caller: Caller | None, right: Right | None
    ) -> Response | None:
        if not self._tokens and not is_loopback(_host(headers)):
            message = (
                f"without tokens this machine alone is served, and not under the name {_host(headers)!r}"
            )
            return problem_response(AccessRefused(message), _MISDIRECTED)
        is_read = scope["type"] != WEBSOCKET and scope["method"] == "GET"
        # Reads fill, publish and are remembered, too; a link to the page itself may be followed.
        if _is_foreign(scope, headers) and (not is_read or (right is not None and scope["path"] != "/")):
            return problem_response(AccessRefused("a page of another site asks; that is not answered"))
        if right is None:
            return None
        if caller is None:
            message = (
                "a token is wanted that this service knows, as Authorization: Bearer; see `seamless token`"
            )
            return problem_response(AccessRefused(message, scope=right), _UNAUTHORIZED)
        if not caller.may(right):
            message = f"the token {caller.name!r} has not the scope {right!r}; add it in service.tokens"
            return problem_response(AccessRefused(message, scope=right), _FORBIDDEN)
        return self._full(scope, caller)

    def _busy(self, scope: Scope) -> tuple[Counter[str], int]:
        """What is counted of a request, and how many of the kind one bearer may have."""
        if _is_stream(scope):
            return self._occupancy.streams, self._settings.max_streams
        return self._occupancy.requests, self._settings.max_concurrent

    def _full(self, scope: Scope, caller: Caller) -> Response | None:
        busy, most = self._busy(scope)
        if busy[caller.name] < most:
            return None
        what = "streams open" if _is_stream(scope) else "requests under way"
        message = f"{caller.name} has {most} {what}, and no more are answered at once; ask again"
        return problem_response(LimitExceeded(message, limit=most), _TOO_MANY)

    def _caller(self, headers: Headers) -> Caller | None:
        if not self._tokens:
            return Caller(ANYBODY, None)
        presented = hashlib.sha256(_token(headers)).digest()
        found: Caller | None = None
        # Each is compared, whichever it is: the time tells nothing.
        for name, known, token in self._tokens:
            if hmac.compare_digest(presented, known):
                found = Caller(name, frozenset(token.scopes))
        return found

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop, seconds = asyncio.get_running_loop(), self._settings.max_wait_ms / 1000
        has_begun = False

        async def timed(message: Message) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                limit.reschedule(None if _is_stream(scope) else loop.time() + SENDING_S)
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self._app(scope, receive, timed)
        except TimeoutError:
            if has_begun or not limit.expired():
                raise
            message = f"no answer after {seconds:g} s; ask for less at once, or raise service.max_wait_ms"
            await problem_response(SeamlessSLAExceeded(message), _TOO_LATE)(scope, receive, send)


def _is_stream(scope: Scope) -> bool:
    return scope["type"] == WEBSOCKET or scope["path"] in STREAMS


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Whether a page of another site asks; browsers name the page that opens a WebSocket connection."""
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return scope["type"] == WEBSOCKET and origin is not None and not _names(origin, headers.get("host"))


def _names(origin: str, host: str | None) -> bool:
    """Whether an `Origin` is of a host; a malformed one is of none."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _token(headers: Headers) -> bytes:
    """The token of a request: that of `Bearer`, or the password of `Basic`, which browsers ask for."""
    kind, _, credentials = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip().encode("latin-1")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _host(headers: Headers) -> str:
    host = headers.get("host", "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
