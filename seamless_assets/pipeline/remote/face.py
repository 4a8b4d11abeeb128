"""The face over HTTP: what a service gives, asked of it; what it does not give is refused by name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import asdict
from functools import wraps
from typing import Any, Never, Self, TypeVar, cast

from msgspec.json import encode

from seamless_assets.config.load import service_token
from seamless_assets.core.addresses import without_user
from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.window import Instant, window_of
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.live.cursor import is_cursor
from seamless_assets.core.live.events import CaughtUp, Event, Stale
from seamless_assets.core.live.panel import Tick, timeframe_of
from seamless_assets.core.live.replay import ReplayRequest
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, Domain
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import UNBOUNDED, SLAPolicy
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.condition import Condition
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.wire.problems import plain
from seamless_assets.errors import NotServed
from seamless_assets.flows.reading.released import reach
from seamless_assets.flows.releasing.govern import SnapshotDiff
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.stream import Stream
from seamless_assets.pipeline.reading import as_of_text, refuse_no_artifact
from seamless_assets.pipeline.remote.session import RemoteSession
from seamless_assets.pipeline.remote.streaming import Question, follow
from seamless_assets.pipeline.seamless import AsyncSeamless, Seamless
from seamless_assets.pipeline.streaming import Nodes, seconds_of_deadline, several
from seamless_assets.pipeline.wiring.service import RemoteAdapters

T = TypeVar("T")
EVENTS, REPLAY = "/v1/events", "/v1/replay"
SLA = SLAPolicy | Mapping[str, Any] | str | None


class AsyncRemote(AsyncSeamless):
    """The methods of a `Seamless` that stands for a service, to be awaited."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url
        # That of the environment stays there: pickled, it would go wherever the pickle does.
        self._token = token
        self.portal = Portal(lambda: RemoteAdapters(self._url, self._token or service_token()))

    @property
    def settings(self) -> Never:  # type: ignore[override]
        """The settings are the service's. Raises `NotServed`."""
        raise NotServed(f"the settings of {without_user(self._url)} are not told over HTTP")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str | None]]:  # type: ignore[override]
        return type(self), (self._url, self._token)

    def _read_at_hand(self, *_: Any, **__: Any) -> None:
        """Nothing is: the service has the bars."""

    async def _read(
        self,
        node: str | NodeId,
        start: Instant,
        end: Instant,
        *,
        context: ComputeContext | None,
        keeps_as_of: bool = False,
        sla: SLA = None,
        **arguments: Any,
    ) -> ReadResult:
        request = ReadRequest.parse(
            node, start, end, context=context, sla=None, default_sla=UNBOUNDED, **arguments
        )
        columns = None if arguments.get("columns") is None else ",".join(request.columns)
        query = {
            "node": str(request.node),
            "start": request.start,
            "end": request.end,
            "limit": request.limit,
            "strategy": request.strategy,
            "columns": columns,
            "fill": request.fill,
            "sla": _policy(sla),
            "session": "true" if keeps_as_of else None,
            **_context_query(context, keeps_as_of),
        }
        return await self.ask(lambda adapters: adapters.client.read(_given(query)))

    async def ask(self, work: Callable[[RemoteAdapters], Coroutine[Any, Any, T]]) -> T:
        """Ask the service, on the portal's loop."""
        adapters = cast(RemoteAdapters, self.portal.adapters)
        return await asyncio.wrap_future(self.portal.start(work(adapters)))

    async def _get(self, path: str, kind: type[T], node: str | NodeId, **query: Any) -> T:
        given = _given({"node": str(NodeId.parse(node)), **query})
        return await self.ask(lambda adapters: adapters.client.get(path, kind, given))

    def session(
        self,
        world_id: str = "default",
        domain: Domain = "live",
        as_of: Instant = None,
        max_lag: float | None = None,
        min_coverage: float | None = None,
        sla: SLA = None,
    ) -> RemoteSession:
        """Reads of one world in one domain, whose memory is the service's."""
        context = ComputeContext(
            world_id=world_id,
            domain=domain,
            as_of=cast("str | None", as_of),
            max_lag=max_lag,
            min_coverage=min_coverage,
        )
        return RemoteSession(self.portal, self._read, context, sla, self.ask)

    def subscribe(
        self,
        nodes: Nodes,
        since: Instant = None,
        until: Instant = None,
        context: ComputeContext | None = None,
    ) -> AsyncIterator[Event]:
        """What is known of the nodes, then their bars as they close, resumed wherever the service was away.

        `Stale` is told of what is overdue meanwhile. Raises `ServiceUnavailable` where it does not begin.
        """
        return self._follow(nodes, since, until, context, {})

    def panel(
        self,
        nodes: Nodes,
        since: Instant = None,
        until: Instant = None,
        context: ComputeContext | None = None,
        deadline: float = 10.0,
    ) -> AsyncIterator[Tick | Stale | CaughtUp]:
        """The same of several nodes of one timeframe, as one `Tick` for each bar time."""
        parsed = [NodeId.parse(node) for node in several(nodes)]
        if parsed:
            timeframe_of(parsed)
        asked = {"panel": True, "deadline": seconds_of_deadline(deadline)}
        return self._follow(parsed, since, until, context, asked)

    def _follow(
        self,
        nodes: Nodes,
        since: Instant,
        until: Instant,
        context: ComputeContext | None,
        more: Mapping[str, Any],
    ) -> AsyncIterator[Any]:
        parsed = tuple(dict.fromkeys(NodeId.parse(node) for node in several(nodes)))
        request = StreamRequest.parse(parsed, since, until, context, max_lag=0.0)
        body = {
            "nodes": list(map(str, parsed)),
            "since": since if is_cursor(since) else as_of_text(since, "since"),
            "until": as_of_text(until, "until"),
            "max_lag": request.max_lag or None,
            **more,
        }
        return self._told(parsed, Question(EVENTS, _given(body)))

    def replay(
        self,
        nodes: Nodes,
        start: Instant,
        end: Instant,
        as_of: Instant = None,
        speed: float | None = None,
        knowledge: str = "final",
    ) -> AsyncIterator[Event]:
        """The events of `[start, end)` from releases, resumed wherever the service was away.

        Without an `as_of` what is known as it begins is told to its end, resumed or not.
        """
        parsed = tuple(dict.fromkeys(NodeId.parse(node) for node in several(nodes)))
        request = ReplayRequest.parse(parsed, start, end, as_of, speed, knowledge)
        body = {
            "nodes": list(map(str, parsed)),
            "start": start if is_cursor(start) else as_of_text(start, "start"),
            "end": as_of_text(end, "end"),
            "as_of": request.as_of,
            "speed": request.speed,
            "knowledge": request.knowledge,
        }
        return self._told(parsed, Question(REPLAY, _given(body), start="start"))

    def _told(self, nodes: tuple[NodeId, ...], question: Question) -> AsyncIterator[Any]:
        return Stream(self.portal, lambda wired: follow(cast(RemoteAdapters, wired).client, nodes, question))

    async def coverage(self, node: str | NodeId, start: Instant, end: Instant) -> Coverage:
        """Which bars of the window are known, hot or released, which proven absent, which missing."""
        return await self._get("/v1/coverage", Coverage, node, **_window(start, end))

    async def ledger(self, node: str | NodeId, start: Instant, end: Instant) -> list[Fact]:
        """What was found out of bars that are not there, oldest first."""
        return await self._get("/v1/ledger", list[Fact], node, **_window(start, end))

    async def condition(self, node: str | NodeId, start: Instant, end: Instant) -> list[Condition]:
        """The condition of every partition that the window touches, ascending, with its reason."""
        return await self._get("/v1/condition", list[Condition], node, **_window(start, end))

    async def releases(self, node: str | NodeId) -> list[Release]:
        """The node's release log, oldest first."""
        return await self._get("/v1/releases", list[Release], node)

    async def manifest(self, node: str | NodeId, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact that is in force. Raises `InvalidInput`, `ArtifactMissing`."""
        refuse_no_artifact(ref)
        named = {"partition": ref.partition, "fingerprint": ref.fingerprint}
        return await self._get("/v1/manifests", Manifest, node, **named)

    async def diff(self, node: str | NodeId, before: Instant, after: Instant = None) -> SnapshotDiff:
        """How the dataset changed from one `as_of` to another, by default the newest one."""
        bounds = {"before": as_of_text(before, "before"), "after": as_of_text(after, "after")}
        return await self._get("/v1/diff", SnapshotDiff, node, **bounds)

    async def snapshot(
        self, node: str | NodeId, as_of: Instant = None, *, dataset_fingerprint: str | None = None
    ) -> Snapshot:
        """The artifacts in force at `as_of`, and the release that put them so. Raises `NothingReleased`."""
        bound = {"as_of": as_of_text(as_of), "dataset_fingerprint": dataset_fingerprint}
        return (await self._get("/v1/snapshot", Snapshot, node, **bound)).whole()

    async def released_window(
        self, node: str | NodeId, as_of: Instant = None, *, dataset_fingerprint: str | None = None
    ) -> Segment:
        """From the first to the last released bar at `as_of`. Raises `NothingReleased`."""
        return reach(await self.snapshot(node, as_of, dataset_fingerprint=dataset_fingerprint))

    async def snapshot_files(
        self, node: str | NodeId, as_of: Instant = None, *, dataset_fingerprint: str | None = None
    ) -> list[str]:
        """The Parquet files that are the dataset at `as_of`, where the service has them."""
        bound = {"as_of": as_of_text(as_of), "dataset_fingerprint": dataset_fingerprint}
        return await self._get("/v1/files", list[str], node, **bound)


_KEPT = {"read", "close"}
"""Methods that need nothing but those above."""


def _refuse_the_rest() -> None:
    """Let every other method of the face refuse by its name, those to come included."""
    for name, method in inspect.getmembers(AsyncSeamless, inspect.isfunction):
        if not name.startswith("_") and name not in vars(AsyncRemote) and name not in _KEPT:
            setattr(AsyncRemote, name, _refusing(method))


def _refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def refuse(self: AsyncRemote, *_: Any, **__: Any) -> Never:
        raise NotServed(
            f"{method.__name__} is not to be had over HTTP; call it where the pipeline of "
            f"{without_user(self._url)} is opened by its seamless.yaml",
            method=method.__name__,
        )

    @wraps(method)
    async def refuse_awaited(self: AsyncRemote, *_: Any, **__: Any) -> Never:
        refuse(self)

    return refuse_awaited if inspect.iscoroutinefunction(method) else refuse


_refuse_the_rest()


class RemoteSeamless(Seamless):
    """A `Seamless` that stands for a service: the same methods, asked over HTTP."""

    aio: AsyncRemote

    def __init__(self, url: str, token: str | None = None) -> None:
        self.aio = AsyncRemote(url, token)


def _policy(sla: SLA) -> str | None:
    """An SLA as the service takes it: a preset's name, or JSON."""
    if sla is None or isinstance(sla, str):
        return sla
    return encode(plain(asdict(sla) if isinstance(sla, SLAPolicy) else dict(sla))).decode()


def _context_query(context: ComputeContext | None, is_session: bool) -> dict[str, Any]:
    if context is None:
        return {}
    fields = asdict(context)
    if is_session and context.domain == "live":
        # The session was bound already, and has moved on since.
        fields["as_of"] = None
    return fields


def _window(start: Instant, end: Instant) -> dict[str, str]:
    window = window_of(start, end)
    return {"start": instant_text(window.start * 1_000_000), "end": instant_text(window.end * 1_000_000)}


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
