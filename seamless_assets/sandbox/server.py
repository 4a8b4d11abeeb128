"""The local exchange's HTTP server.

Venues are told apart by path alone, so one address serves all of them. Below `/_sandbox/` it can be steered:

    GET  /_sandbox/health             PUT /_sandbox/clock   {"now": 1735689600, "speed": 60}
    GET, DELETE /_sandbox/requests    GET, POST, DELETE /_sandbox/faults   {"kind": "status", "code": 429}
    GET, DELETE /_sandbox/streams     the WebSocket connections that stand; cut them

A WebSocket client connects to the path that it has at the venue, on this address and port.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from aiohttp import web

from seamless_assets.dialects.base import Refusal, Route
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import InvalidInput, SeamlessError
from seamless_assets.sandbox import injection
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.book_data import BookData
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.faults import OF_HANDSHAKES, OF_REQUESTS, Fault, Faults
from seamless_assets.sandbox.generator import Generator
from seamless_assets.sandbox.market import DEFAULT_MARKETS, Market
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.steering import Request, Steering
from seamless_assets.sandbox.streams.server import StreamServer, is_upgrade

DIALECTS = tuple(VENUES)
"""The venues that it speaks as."""
MAX_REQUESTS = 20_000
"""As many of the latest requests are remembered."""
MAX_QUERY = 1_000
"""So many characters of a path and of a query are remembered."""
CLIENT_GONE = 499
"""The status of a request whose client did not wait for the answer."""
SWITCHING = 101
"""The status of a request that opened a WebSocket connection."""


class Sandbox:
    """A local exchange on `host:port`; port 0 takes a free one.

    `now` stops its clock at an epoch second; with a `speed` it goes on from there, so many times as fast.
    `replay` holds recorded bars that go before the made-up ones of `seed`. `rate_limit` answers 429 to more
    than that many requests in `rate_window` seconds. `requests` are the latest ones. Use it as an async
    context manager, or `with sandbox.running():` in a thread of its own. Raises `InvalidInput`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        seed: int = 7,
        now: float | None = None,
        speed: float | None = None,
        markets: Iterable[Market] = DEFAULT_MARKETS,
        replay: Replay | None = None,
        rate_limit: int | None = None,
        rate_window: float = 60.0,
    ) -> None:
        if not 0 <= port <= 65_535:
            raise InvalidInput(f"port is {port}; give one up to 65535, or 0 for a free one", value=port)
        if not (rate_limit is None or rate_limit >= 1) or not 0 < rate_window < math.inf:
            raise InvalidInput(
                f"rate_limit is {rate_limit} in {rate_window} seconds; give whole numbers from 1 on, or None",
                value=rate_limit,
            )
        self.host, self.port = host, port
        self.clock = SandboxClock(now)
        if speed is not None:
            self.clock.run(now, speed)
        self.faults = Faults()
        self.requests: deque[Request] = deque(maxlen=MAX_REQUESTS)
        self.book = Book(self.clock, markets=markets, generator=Generator(seed), replay=replay)
        self._rate_limit, self._rate_window = rate_limit, rate_window
        self._recent: deque[float] = deque()
        self._exchange_of: dict[object, str] = {}
        self._streaming: set[object] = set()
        self._runner: web.AppRunner | None = None
        self._streams: StreamServer | None = None
        self._closing = asyncio.Event()

    @property
    def url(self) -> str:
        """Its address, for `base_url`."""
        return f"http://{self.host}:{self.port}"

    def topics(self) -> list[str]:
        """What is followed over WebSocket now, in the venues' own names, each as often as it is followed."""
        return [] if self._streams is None else self._streams.topics()

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._recorded, _typed])
        data = BookData(self.book)
        for venue in VENUES.values():
            for route in venue.routes(data):
                endpoint = _endpoint(route)
                self._exchange_of[endpoint] = route.exchange
                app.router.add_get(route.path, endpoint)
        streams = self._streams = StreamServer(self.book, self.faults)
        for stream, serve in streams.routes():
            self._exchange_of[serve] = stream.exchange
            self._streaming.add(serve)
            app.router.add_get(stream.path, serve)
        Steering(sorted(DIALECTS), self.clock, self.faults, self.requests, streams).add_to(app.router)
        self._closing = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        if self._streams is not None:
            await self._streams.close()
            self._streams = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve from a thread of its own until the block ends. Raises `OSError` where the port is taken."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="seamless-sandbox", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result()
            try:
                yield self
            finally:
                asyncio.run_coroutine_threadsafe(self.__aexit__(), loop).result()
                # Connections that a fault cut off are let go of in the turns that follow.
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    @web.middleware
    async def _recorded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/_sandbox/"):
            return await handler(request)
        if request.match_info.handler in self._streaming and is_upgrade(request):
            return await self._upgraded(request, handler)
        status = CLIENT_GONE
        try:
            response = self._rate_limited() or await self._injected(request, handler)
            status = response.status
        except web.HTTPException as refused:
            status = refused.status
            raise
        finally:
            self._record(request, status)
        return response

    async def _upgraded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Open a WebSocket connection, unless a limit or a fault answers instead; it is recorded at once."""
        response: web.StreamResponse | None = self._rate_limited()
        fault = None if response is not None else self.faults.take(request.path_qs, OF_HANDSHAKES)
        if fault is not None:
            response = await self._failed(request, fault)
        self._record(request, SWITCHING if response is None else response.status)
        return await handler(request) if response is None else response

    async def _failed(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """The answer that a fault gives in place of the venue's; None where it only delays."""
        if fault.kind == "status":
            return injection.failure(fault)
        if fault.kind == "html":
            return injection.maintenance_page()
        if fault.kind == "json":
            return web.json_response(fault.body)
        if fault.kind == "refused":
            return await injection.cut(request)
        if fault.kind in ("hang", "delay"):
            await _wait(self._closing, fault.seconds or (3600.0 if fault.kind == "hang" else 0.0))
        return None

    def _record(self, request: web.Request, status: int) -> None:
        exchange = self._exchange_of.get(request.match_info.handler, "unknown")
        path, query = request.path[:MAX_QUERY], request.query_string[:MAX_QUERY]
        self.requests.append(Request(time.monotonic(), exchange, path, query, status))

    def _rate_limited(self) -> web.Response | None:
        if self._rate_limit is None:
            return None
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - self._rate_window:
            self._recent.popleft()
        if len(self._recent) >= self._rate_limit:
            wait = self._recent[0] + self._rate_window - now
            return injection.failure(Fault("status", code=429, retry_after=max(wait, 0.01)))
        self._recent.append(now)
        return None

    async def _injected(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        fault = self.faults.take(request.path_qs, OF_REQUESTS)
        if fault is None:
            return await handler(request)
        if (failed := await self._failed(request, fault)) is not None:
            return failed
        if fault.kind in injection.IGNORED_PARAMETERS:
            request = injection.without_bounds(request, fault.kind)
        answer = await handler(request)
        body = answer.body if isinstance(answer, web.Response) else b""
        payload = bytes(body) if isinstance(body, bytes | bytearray) else b""
        if fault.kind == "reset":
            return await injection.reset(request, payload)
        if fault.kind == "truncated":
            return web.Response(body=payload[: len(payload) // 2], content_type="application/json")
        if fault.kind in injection.PAGE_FAULTS:
            return web.json_response(injection.corrupted(json.loads(payload), fault))
        return answer


def _endpoint(route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        asked = request.get(injection.QUERY, request.query)
        try:
            return web.json_response(await route.handler({**asked, **request.match_info}))
        except Refusal as refusal:
            # Many are constants, and one that is raised again would keep the frames of every time.
            refusal.with_traceback(None)
            return web.json_response(refusal.body, status=refusal.status)

    return answer


@web.middleware
async def _typed(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What a request asks for and cannot have is an answer 400 that says why."""
    try:
        return await handler(request)
    except SeamlessError as error:
        return web.json_response({"error": str(error)}, status=400)


async def _wait(closing: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(closing.wait(), seconds)
    except TimeoutError:
        return
