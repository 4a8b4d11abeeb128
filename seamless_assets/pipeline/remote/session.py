"""Sessions of worlds whose memory is a service's."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.wire.views import SessionView
from seamless_assets.core.worlds.session import SessionState, VerdictChange
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.wiring.service import RemoteAdapters
from seamless_assets.pipeline.world import SLA, AsyncWorldSession, Read

Ask = Callable[
    [Callable[[RemoteAdapters], Coroutine[Any, Any, SessionView]]], Coroutine[Any, Any, SessionView]
]


class RemoteSession(AsyncWorldSession):
    """The methods of a `WorldSession` at a service, to be awaited."""

    def __init__(self, portal: Portal, read: Read, context: ComputeContext, sla: SLA, ask: Ask) -> None:
        super().__init__(portal, read, context, sla, time.time())
        self._ask = ask

    async def as_of(self, node: str | NodeId) -> str | None:
        """The `as_of` of the release that the session is bound to; None where nothing is released yet."""
        if self.context.domain != "live":
            return self.context.as_of
        return (await self._view(node)).as_of

    async def advance(self, node: str | NodeId, as_of: Instant = None) -> str | None:
        """Bind the newest release, or the last one at or before `as_of`; the `as_of` bound then."""
        self._require_live("advance")
        await self._bind(NodeId.parse(node))
        return (await self._post("advance", node, as_of=_text(as_of))).as_of

    async def pin(self, node: str | NodeId, as_of: Instant, *, reason: str) -> str | None:
        """Set the session to the last release at or before `as_of`, earlier ones too, until `unpin`."""
        self._require_live("pin")
        await self._bind(NodeId.parse(node))
        return (await self._post("pin", node, as_of=_text(as_of), reason=reason)).as_of

    async def unpin(self, node: str | NodeId) -> str | None:
        """Let the session move forward again."""
        self._require_live("unpin")
        return (await self._post("unpin", node)).as_of

    async def state(self, node: str | NodeId) -> SessionState:
        """ACTIVE, PARTIAL or HOLD, by the last verdict on the node."""
        return (await self._view(node)).state

    async def verdicts(self, node: str | NodeId) -> list[VerdictChange]:
        """Changes of the verdict on the node, oldest first."""
        return list((await self._view(node)).verdicts)

    async def _bind(self, node: NodeId) -> None:
        if self.context.domain != "live" or node in self._bound:
            return
        await self._post("bind", node, as_of=self.context.as_of, started_at=self._started_at)
        self._bound.add(node)

    async def _view(self, node: str | NodeId) -> SessionView:
        parsed = NodeId.parse(node)
        await self._bind(parsed)
        context = self.context
        query = {
            "node": str(parsed),
            "world_id": context.world_id,
            "domain": context.domain,
            "as_of": context.as_of if context.domain != "live" else None,
        }
        given = {name: value for name, value in query.items() if value is not None}
        return await self._ask(lambda adapters: adapters.client.get("/v1/sessions", SessionView, given))

    async def _post(self, action: str, node: str | NodeId, **more: str | None) -> SessionView:
        body = {"node": str(NodeId.parse(node)), "world_id": self.context.world_id, **more}
        return await self._ask(
            lambda adapters: adapters.client.post(f"/v1/sessions/{action}", SessionView, body)
        )


def _text(as_of: Instant) -> str | None:
    return None if as_of is None else instant_text(epoch_micros(as_of, "as_of"))
