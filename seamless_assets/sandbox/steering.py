"""The addresses below `/_sandbox/` that steer a running local exchange."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from seamless_assets.errors import InvalidInput
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.faults import Fault, Faults
from seamless_assets.sandbox.streams.server import StreamServer


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered: when (monotonic seconds), to which venue, where, and the status."""

    at: float
    exchange: str
    path: str
    query: str
    status: int


class Steering:
    """What can be asked of, and done to, the parts of a running local exchange."""

    def __init__(
        self,
        exchanges: Sequence[str],
        clock: SandboxClock,
        faults: Faults,
        requests: deque[Request],
        streams: StreamServer,
    ) -> None:
        self._exchanges, self._clock, self._faults = exchanges, clock, faults
        self._requests, self._streams = requests, streams

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Let a router answer its addresses."""
        router.add_get("/_sandbox/health", self._health)
        router.add_put("/_sandbox/clock", self._set_clock)
        router.add_get("/_sandbox/requests", self._list_requests)
        router.add_delete("/_sandbox/requests", self._forget_requests)
        router.add_get("/_sandbox/faults", self._list_faults)
        router.add_post("/_sandbox/faults", self._add_fault)
        router.add_delete("/_sandbox/faults", self._lift_faults)
        router.add_get("/_sandbox/streams", self._list_streams)
        router.add_delete("/_sandbox/streams", self._cut_streams)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"now": self._clock.now(), "exchanges": self._exchanges})

    async def _set_clock(self, request: web.Request) -> web.Response:
        body = await _json(request)
        if not {"now"} <= body.keys() <= {"now", "speed"}:
            given = ", ".join(body) or "nothing"
            raise InvalidInput(f'the body has {given}; give {{"now": ...}}, and "speed" if it is to go on')
        if "speed" in body:
            self._clock.run(body["now"], body["speed"])
        elif body["now"] is None:
            self._clock.release()
        else:
            self._clock.set(body["now"])
        return web.json_response({"now": self._clock.now()})

    async def _list_requests(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(request) for request in self._requests])

    async def _forget_requests(self, _: web.Request) -> web.Response:
        self._requests.clear()
        return web.json_response({})

    async def _list_faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._faults.as_records())

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._faults.add(Fault.from_record(await _json(request)))
        return web.json_response(self._faults.as_records())

    async def _lift_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return web.json_response([])

    async def _list_streams(self, _: web.Request) -> web.Response:
        return web.json_response(self._streams.as_records())

    async def _cut_streams(self, _: web.Request) -> web.Response:
        self._streams.cut()
        return web.json_response([])


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInput(f"the body is {body!r}; give a JSON object")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
