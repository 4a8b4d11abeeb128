"""Where the venues' WebSocket connections are taken, below the worlds that stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from seamless_assets.dialects.streams.base import StreamRoute
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import NotServed, SeamlessError
from seamless_assets.service.answers.problems import problem_response, status_of
from seamless_assets.service.callers import caller_of
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.streams.channels import Channel, LiveChannel
from seamless_assets.service.dialects.streams.connection import Connection
from seamless_assets.service.dialects.streams.replayed import ReplayedChannel
from seamless_assets.service.dialects.visit import VISITED, Visit
from seamless_assets.service.dialects.worlds import Worlds, speed_of, world_of

Serve = Callable[[WebSocket], Awaitable[None]]


class Streams:
    """The WebSocket connections of all venues; the live ones share what they follow."""

    def __init__(self, worlds: Worlds, live: LiveChannel) -> None:
        self._worlds, self._live = worlds, live

    def routes(self, exchange: str, data: DeclaredData) -> list[BaseRoute]:
        """The addresses of a venue, below its name."""
        routes = VENUES[exchange].streams(data)
        return [WebSocketRoute(route.path, self._endpoint(route, data)) for route in routes]

    async def close(self) -> None:
        """End what is followed."""
        await self._live.close()

    def _endpoint(self, route: StreamRoute, data: DeclaredData) -> Serve:
        async def serve(socket: WebSocket) -> None:
            asked, caller = world_of(socket.path_params), caller_of(socket.scope).name

            async def visit() -> Visit:
                return await self._worlds.visit(route.exchange, asked, caller)

            try:
                seen = socket.scope[VISITED] = await visit()
                if seen.is_frozen:
                    raise NotServed("a world that stands still streams nothing; ask it for pages of candles")
                await data.look_up()
            except SeamlessError as error:
                await problem_response(error, status_of(error))(socket.scope, socket.receive, socket.send)
                return
            if "speed" not in asked:
                await self._serve(socket, route, data, self._live, visit)
                return
            replayed = ReplayedChannel(data, visit, speed_of(asked["speed"]))
            try:
                await self._serve(socket, route, data, replayed, visit)
            finally:
                await replayed.close()

        return serve

    async def _serve(
        self,
        socket: WebSocket,
        route: StreamRoute,
        data: DeclaredData,
        channel: Channel,
        visit: Callable[[], Awaitable[Visit]],
    ) -> None:
        protocol = route.open({**socket.query_params, **socket.path_params})
        await Connection(socket, protocol, data, channel, visit).serve()
