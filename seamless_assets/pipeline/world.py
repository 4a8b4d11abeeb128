"""Sessions of worlds: reads that share what their world has seen, and an `as_of` that never goes back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.canonical import is_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.core.worlds.session import SessionKey, SessionRecord, SessionState, VerdictChange
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading import sessions
from seamless_assets.pipeline.loop.portal import Portal

Read = Callable[..., Coroutine[Any, Any, ReadResult]]
SLA = SLAPolicy | Mapping[str, Any] | str | None


class AsyncWorldSession:
    """The methods of `WorldSession`, to be awaited."""

    def __init__(
        self, portal: Portal, read: Read, context: ComputeContext, sla: SLA, started_at: float
    ) -> None:
        self.portal = portal
        self.context = context
        self._read, self._sla = read, sla
        self._started_at = instant_text(int(started_at * 1_000_000))
        self._bound: set[NodeId] = set()

    async def read(
        self,
        node: str | NodeId,
        start: Instant = None,
        end: Instant = None,
        strategy: str | None = None,
        sla: SLA = None,
        columns: Sequence[str] | str | None = None,
        limit: int | None = None,
        fill: str | None = None,
    ) -> ReadResult:
        """Bars of `[start, end)` as the session's world sees them; arguments and errors are those of `read`.

        A live session serves the release it is bound to, and what is hot beyond it.
        """
        await self._bind(NodeId.parse(node))
        return await self._read(
            node,
            start,
            end,
            context=self.context,
            keeps_as_of=True,
            strategy=strategy,
            sla=self._sla if sla is None else sla,
            columns=columns,
            limit=limit,
            fill=fill,
        )

    async def bind(self, node: str | NodeId, started_at: Instant = None) -> None:
        """Bind a live session's node to what was released at `started_at`, by default when it was made.

        What it has seen already stands. Every other method does this too. Raises `AsOfRegression`.
        """
        if started_at is not None:
            self._started_at = instant_text(epoch_micros(started_at, "started_at"))
        await self._bind(NodeId.parse(node))

    async def as_of(self, node: str | NodeId) -> str | None:
        """The `as_of` of the release that the session is bound to; None where nothing is released yet."""
        record = await self._record(node)
        return record.as_of if self.context.domain == "live" else self.context.as_of

    async def advance(self, node: str | NodeId, as_of: Instant = None) -> str | None:
        """Bind the newest release, or the last one at or before `as_of`; the `as_of` bound then.

        A pinned session stays where it is. Raises `AsOfRegression` where the session has seen a later one,
        `NothingReleased`, and `InvalidInput` where the session is not live, or pinned before that `as_of`.
        """
        self._require_live("advance")
        parsed = NodeId.parse(node)
        await self._bind(parsed)
        if as_of is None:
            moved = await self._do(lambda ports: sessions.advance_to_newest(ports, parsed, self.context))
        else:
            text = instant_text(epoch_micros(as_of, "as_of"))
            moved = await self._do(lambda ports: sessions.advance_to(ports, parsed, self.context, text))
        return moved.as_of

    async def pin(self, node: str | NodeId, as_of: Instant, *, reason: str) -> str | None:
        """Set the session to the last release at or before `as_of`, earlier ones too, until `unpin`.

        Every read says so meanwhile. Raises `NothingReleased`, and `InvalidInput` without a reason or where
        the session is not live.
        """
        self._require_live("pin")
        if not is_text(reason) or not reason.strip():
            raise InvalidInput("a pin needs a reason that the next reader of its verdicts understands")
        parsed, text = NodeId.parse(node), instant_text(epoch_micros(as_of, "as_of"))
        await self._bind(parsed)
        pinned = await self._do(
            lambda ports: sessions.set_pin(ports, parsed, self.context, text, reason.strip())
        )
        return pinned.as_of

    async def unpin(self, node: str | NodeId) -> str | None:
        """Let the session move forward again; the `as_of` bound, which is the pin's until it does."""
        self._require_live("unpin")
        parsed = NodeId.parse(node)
        return (await self._do(lambda ports: sessions.lift_pin(ports, parsed, self.context))).as_of

    async def state(self, node: str | NodeId) -> SessionState:
        """ACTIVE, PARTIAL or HOLD, by the last verdict on the node."""
        return (await self._record(node)).state

    async def verdicts(self, node: str | NodeId) -> list[VerdictChange]:
        """Changes of the verdict on the node, oldest first."""
        return list((await self._record(node)).verdicts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What the session has seen stays; there is nothing to let go of."""

    async def _record(self, node: str | NodeId) -> SessionRecord:
        parsed = NodeId.parse(node)
        await self._bind(parsed)
        key = SessionKey.of(self.context, str(parsed))
        return await self._do(lambda ports: ports.sessions.load(key))

    async def _bind(self, node: NodeId) -> None:
        """Bind a node at its first use to what was released when the session was started."""
        if self.context.domain != "live" or node in self._bound:
            return
        await self._do(lambda ports: self._bind_live(ports, node))
        self._bound.add(node)

    async def _bind_live(self, ports: Ports, node: NodeId) -> SessionRecord:
        if self.context.as_of is not None:
            return await sessions.bind_to(ports, node, self.context, self.context.as_of)
        return await sessions.bind(ports, node, self.context, self._started_at)

    async def _do(self, work: Any) -> SessionRecord:
        record: SessionRecord = await self.portal.do(work)
        return record

    def _require_live(self, what: str) -> None:
        if self.context.domain != "live":
            raise InvalidInput(
                f"{what} is for live sessions; a {self.context.domain} is bound to as_of "
                f"{self.context.as_of} for as long as it lasts",
                domain=self.context.domain,
            )
