"""The part of the face that reads what was released."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.window import Instant, window_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.admission import admit
from seamless_assets.core.reading.context import ComputeContext, Domain
from seamless_assets.core.reading.panel import PanelRequest, PanelResult, join_reads
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import SLAPolicy, resolve_sla
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.condition import Condition
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.reading import read as reading
from seamless_assets.flows.reading import released
from seamless_assets.flows.reading.at_hand import read_at_hand
from seamless_assets.flows.reading.panel import read_cut
from seamless_assets.flows.releasing import govern as governing
from seamless_assets.flows.releasing.condition import conditions
from seamless_assets.flows.releasing.govern import SnapshotDiff
from seamless_assets.pipeline.base import AsyncBase
from seamless_assets.pipeline.world import AsyncWorldSession


class Reading(AsyncBase):
    """Methods that change nothing, and ask no exchange."""

    async def read(
        self,
        node: str | NodeId,
        start: Instant = None,
        end: Instant = None,
        context: ComputeContext | None = None,
        strategy: str | None = None,
        sla: SLAPolicy | Mapping[str, Any] | str | None = None,
        columns: Sequence[str] | str | None = None,
        limit: int | None = None,
        fill: str | None = None,
    ) -> ReadResult:
        """Bars of `[start, end)` with a verdict, as the context's domain and the strategy allow.

        Without a context the newest release is bound and nothing is asked of an exchange;
        `metadata.as_of` says which release it was, and passing it back gives the same bars for ever.
        An open `end` is up to now, or the end of what is released; `limit` keeps the last so many bars.
        `sla` is an `SLAPolicy`, a mapping of its fields or the name of a preset; `fill="previous_close"`
        makes a row of each bar that is not there and marks it in the column `filled`. Raises
        `NothingReleased`, `CoverageMissing`, `AsOfRequired`, `AsOfInFuture`, `SeamlessSLAExceeded`,
        `InvalidInput`.
        """
        return await self._read(
            node,
            start,
            end,
            context=context,
            strategy=strategy,
            sla=sla,
            columns=columns,
            limit=limit,
            fill=fill,
        )

    def _read_at_hand(
        self,
        node: str | NodeId,
        start: Instant = None,
        end: Instant = None,
        context: ComputeContext | None = None,
        strategy: str | None = None,
        sla: SLAPolicy | Mapping[str, Any] | str | None = None,
        columns: Sequence[str] | str | None = None,
        limit: int | None = None,
        fill: str | None = None,
    ) -> ReadResult | None:
        """What `read` gives of the same arguments, where nothing need be waited for; None else."""
        request = self._request(
            node,
            start,
            end,
            context=context,
            strategy=strategy,
            sla=sla,
            columns=columns,
            limit=limit,
            fill=fill,
        )
        return self.portal.visit(lambda ports: read_at_hand(ports, request, time.monotonic))

    async def _read(
        self,
        node: str | NodeId,
        start: Instant,
        end: Instant,
        *,
        context: ComputeContext | None,
        keeps_as_of: bool = False,
        **arguments: Any,
    ) -> ReadResult:
        # In a live session the record decides, and moves; the context's as_of was its beginning.
        if keeps_as_of and isinstance(context, ComputeContext) and context.domain == "live":
            context = replace(context, as_of=None)
        request = self._request(node, start, end, context=context, keeps_as_of=keeps_as_of, **arguments)
        served = self.portal.visit(lambda ports: read_at_hand(ports, request, time.monotonic))
        if served is not None:
            # Who reads in a loop lets other tasks run, too.
            await asyncio.sleep(0)
            return served
        return await self._do(lambda ports: reading.read(ports, request))

    def _request(
        self,
        node: str | NodeId,
        start: Instant,
        end: Instant,
        *,
        context: ComputeContext | None,
        **arguments: Any,
    ) -> ReadRequest:
        domain = context.domain if isinstance(context, ComputeContext) else "backtest"
        settings, is_past = self.read_settings, domain == "backtest"
        return ReadRequest.parse(
            node,
            start,
            end,
            context=context,
            default_sla=settings.past_sla if is_past else settings.sla,
            presets=settings.presets,
            **arguments,
        )

    async def read_panel(
        self,
        nodes: Sequence[str | NodeId],
        start: Instant = None,
        end: Instant = None,
        fields: Sequence[str] | str = "close",
        context: ComputeContext | None = None,
        join: str = "outer",
        strategy: str | None = None,
        sla: SLAPolicy | Mapping[str, Any] | str | None = None,
    ) -> PanelResult:
        """Fields of many nodes in one frame, all as of one moment of their release logs.

        `fields` is one of open, high, low, close and volume, or a list of them; `join` keeps the open times
        of any series (`outer`) or of every one (`inner`). The nodes have one timeframe. Each is read as
        `read` does, within the same `sla`; a live context is refused. Raises as `read` does.
        """
        panel = PanelRequest.parse(nodes, fields, context, join)
        requests = [
            self._request(
                node, start, end, context=context, strategy=strategy, sla=sla, columns=("ts", *panel.fields)
            )
            for node in panel.nodes
        ]
        reads = await self._do(lambda ports: read_cut(ports, requests))
        return join_reads(panel, reads, context.as_of if context else None)

    def session(
        self,
        world_id: str = "default",
        domain: Domain = "live",
        as_of: Instant = None,
        max_lag: float | None = None,
        min_coverage: float | None = None,
        sla: SLAPolicy | Mapping[str, Any] | str | None = None,
    ) -> AsyncWorldSession:
        """Reads of one world in one domain, which share what the world has seen of each node.

        A live session is bound to what is released when it starts, or at `as_of`, and never goes back; a
        backtest and a dry run need an `as_of`. `max_lag` (seconds) and `min_coverage` (a ratio) are those of
        `domains.live` unless given. Raises `InvalidInput` and its kinds, `AsOfRequired`.
        """
        context = ComputeContext(
            world_id=world_id, domain=domain, as_of=as_of, max_lag=max_lag, min_coverage=min_coverage
        )
        settings = self.read_settings
        admit(context, None, settings)
        resolve_sla(sla, settings.sla, settings.presets, domain)
        return AsyncWorldSession(self.portal, self._read, context, sla, self.ports.clock.now())

    async def condition(self, node: str | NodeId, start: Instant, end: Instant) -> list[Condition]:
        """The condition of every partition that the window touches, ascending, with its reason.

        `available`, `degraded`, `pending` or `missing`, by releases and the hot store; no exchange is
        asked. Raises `InvalidInput`, `StoreError`.
        """
        parsed, window = NodeId.parse(node), window_of(start, end)
        return await self._do(lambda ports: conditions(ports, parsed, window))

    async def releases(self, node: str | NodeId) -> list[Release]:
        """The node's release log, oldest first; any entry's `as_of` can be passed back to `read`."""
        parsed = NodeId.parse(node)
        return await self._do(lambda ports: ports.artifacts.list_releases(parsed))

    async def manifest(self, node: str | NodeId, ref: ArtifactRef) -> Manifest:
        """The manifest of a released artifact, verified.

        Raises `InvalidInput`, `ArtifactMissing`, `ArtifactCorrupt`.
        """
        parsed = NodeId.parse(node)
        refuse_no_artifact(ref)
        return await self._do(lambda ports: ports.artifacts.load_manifest(parsed, ref))

    async def diff(self, node: str | NodeId, before: Instant, after: Instant = None) -> SnapshotDiff:
        """How the dataset changed from one `as_of` to another, by default the newest one."""
        parsed, bounds = NodeId.parse(node), (as_of_text(before, "before"), as_of_text(after, "after"))
        return await self._do(lambda ports: governing.diff(ports, parsed, *bounds))

    async def snapshot(
        self, node: str | NodeId, as_of: Instant = None, *, dataset_fingerprint: str | None = None
    ) -> Snapshot:
        """The artifacts in force at `as_of`, and the release that put them so. Raises `NothingReleased`."""
        parsed = NodeId.parse(node)
        context = ComputeContext(as_of=as_of, dataset_fingerprint=dataset_fingerprint)
        return (await self._do(lambda ports: released.bind_snapshot(ports, parsed, context))).whole()

    async def released_window(
        self, node: str | NodeId, as_of: Instant = None, *, dataset_fingerprint: str | None = None
    ) -> Segment:
        """From the first to the last released bar at `as_of`. Raises `NothingReleased`."""
        parsed = NodeId.parse(node)
        context = ComputeContext(as_of=as_of, dataset_fingerprint=dataset_fingerprint)
        return released.reach(await self._do(lambda ports: released.bind_snapshot(ports, parsed, context)))

    async def snapshot_files(
        self, node: str | NodeId, as_of: Instant = None, *, dataset_fingerprint: str | None = None
    ) -> list[str]:
        """The Parquet files that are the dataset at `as_of`, ascending, for engines that read such files.

        They are immutable and hold each bar once. Raises `NothingReleased`.
        """
        parsed = NodeId.parse(node)
        context = ComputeContext(as_of=as_of, dataset_fingerprint=dataset_fingerprint)
        return await self._do(lambda ports: released.snapshot_files(ports, parsed, context))


def refuse_no_artifact(ref: object) -> None:
    """Raise `InvalidInput` for what is no reference to an artifact."""
    if not isinstance(ref, ArtifactRef):
        raise InvalidInput(f"{ref!r:.100} is no artifact; pass one of snapshot(node).artifacts", value=ref)


def as_of_text(as_of: Instant, name: str = "as_of") -> str | None:
    """An `as_of` as the release log writes it. Raises `InvalidTimestamp`."""
    return None if as_of is None else instant_text(epoch_micros(as_of, name))
