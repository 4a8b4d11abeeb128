"""What is known of nodes: which there are, what covers them, what was released of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as QueryString
from pydantic import Field
from starlette.responses import Response

from seamless_assets.aio.gather import gather
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.window import window_of
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.coverage.strip import shares
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.condition import Condition
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.wire.views import NodeList, NodeView, Strip
from seamless_assets.errors import LimitExceeded, NothingReleased
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.govern import SnapshotDiff
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.routes.openapi import JSON, answers, json_answer, json_of
from seamless_assets.service.routes.queries import AsOf, NoQuery, OfNode, OfWindow, Time, instant

MAX_CELLS = 1_000


class StripQuery(OfWindow):
    """A window, and into how many cells it is cut."""

    cells: Annotated[int, Field(gt=0, le=MAX_CELLS)] = 120


class DiffQuery(OfNode):
    """Two instants; without `after` the newest release."""

    before: Time
    after: Time | None = None


class ManifestQuery(AsOf):
    """An artifact in force, by the partition that it is of, and by its fingerprint where it has several."""

    partition: Annotated[str, Field(max_length=100, examples=["2025-01-01"])]
    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


def node_routes(pipeline: Seamless, most_rows: int) -> APIRouter:
    """Routes over a pipeline; windows of more than `most_rows` bars are refused."""
    router = APIRouter(tags=["nodes"])
    aio = pipeline.aio

    @router.get("/v1/nodes", responses=json_of(NodeList), response_class=Response)
    async def nodes(_: Annotated[NoQuery, QueryString()]) -> Response:
        """Every declared node, its last release and its lag."""
        return json_answer(await aio.portal.do(lambda ports: _nodes(ports, pipeline.settings.starts)))

    @router.get("/v1/coverage", responses=json_of(Coverage), response_class=Response)
    async def coverage(query: Annotated[OfWindow, QueryString()]) -> Response:
        """Which bars of a window are present, absent or missing; gaps as `[start, end, reason]`."""
        return json_answer(await aio.coverage(query.node, *_window(query, most_rows)))

    @router.get("/v1/strip", responses=json_of(Strip), response_class=Response)
    async def strip(query: Annotated[StripQuery, QueryString()]) -> Response:
        """The coverage of a window in equal cells."""
        window = _window(query, most_rows)
        known = await aio.coverage(query.node, *window)
        cells = [tuple(share.tolist()) for share in shares(window, known.gaps, query.cells)]
        return json_answer(Strip(str(NodeId.parse(query.node)), *window, *cells))

    @router.get("/v1/ledger", responses=json_of(Fact, is_list=True), response_class=Response)
    async def ledger(query: Annotated[OfWindow, QueryString()]) -> Response:
        """What was found out of bars that are not there."""
        return json_answer(await aio.ledger(query.node, *_window(query, most_rows)))

    @router.get("/v1/condition", responses=json_of(Condition, is_list=True), response_class=Response)
    async def condition(query: Annotated[OfWindow, QueryString()]) -> Response:
        """The condition of every partition that a window touches."""
        return json_answer(await aio.condition(query.node, *_window(query, most_rows)))

    return router


def release_routes(pipeline: Seamless) -> APIRouter:
    """Routes of what is released."""
    router = APIRouter(tags=["releases"])
    aio = pipeline.aio

    @router.get("/v1/releases", responses=json_of(Release, is_list=True), response_class=Response)
    async def releases(query: Annotated[OfNode, QueryString()]) -> Response:
        """A node's release log, oldest first."""
        return json_answer(await aio.releases(query.node))

    @router.get("/v1/snapshot", responses=json_of(Snapshot), response_class=Response)
    async def snapshot(query: Annotated[AsOf, QueryString()]) -> Response:
        """The artifacts in force, and the release that put them so."""
        return json_answer(await _snapshot(pipeline, query))

    @router.get("/v1/manifests", responses=json_of(Manifest), response_class=Response)
    async def manifest(query: Annotated[ManifestQuery, QueryString()]) -> Response:
        """The manifest of an artifact in force, verified."""
        found = await _snapshot(pipeline, query)
        return json_answer(await aio.manifest(query.node, _ref(found, query.partition, query.fingerprint)))

    @router.get("/v1/files", responses=answers({JSON: {"schema": _TEXTS}}), response_class=Response)
    async def files(query: Annotated[AsOf, QueryString()]) -> Response:
        """Where the Parquet files of a dataset lie, for who can reach the artifact store too."""
        found = await aio.snapshot_files(
            query.node, instant(query.as_of), dataset_fingerprint=query.dataset_fingerprint
        )
        return json_answer(found)

    @router.get("/v1/diff", responses=json_of(SnapshotDiff), response_class=Response)
    async def diff(query: Annotated[DiffQuery, QueryString()]) -> Response:
        """How the dataset changed from one `as_of` to another."""
        return json_answer(await aio.diff(query.node, instant(query.before), instant(query.after)))

    return router


_TEXTS = {"type": "array", "items": {"type": "string"}}


async def _snapshot(pipeline: Seamless, query: AsOf) -> Snapshot:
    return await pipeline.aio.snapshot(
        query.node, instant(query.as_of), dataset_fingerprint=query.dataset_fingerprint
    )


def _ref(snapshot: Snapshot, partition: str, fingerprint: str | None) -> ArtifactRef:
    for ref in snapshot.artifacts:
        if ref.partition == partition and fingerprint in (None, ref.fingerprint):
            return ref
    held = ", ".join(ref.partition for ref in snapshot.artifacts[:5])
    raise NothingReleased(
        f"{snapshot.node_id}: no artifact of {partition!r} is in force; there are those of {held} and so on",
        node_id=snapshot.node_id,
    )


def _window(query: OfWindow, most_rows: int) -> Segment:
    window = window_of(instant(query.start), instant(query.end))
    bars = NodeId.parse(query.node).timeframe.count(
        *window.whole_bars(NodeId.parse(query.node).timeframe.grid)
    )
    if bars > most_rows:
        raise LimitExceeded(
            f"{bars} bars are more than the {most_rows} of one answer; ask for shorter windows one by one",
            limit=most_rows,
        )
    return window


async def _nodes(ports: Ports, starts: Mapping[NodeId, int]) -> NodeList:
    snapshots = await gather(map(ports.artifacts.load_snapshot, starts))
    now = time.time()
    return NodeList(now, tuple(map(_view, starts, starts.values(), snapshots, [now] * len(starts))))


def _view(node: NodeId, start: int, snapshot: Snapshot, now: float) -> NodeView:
    release = snapshot.release
    interval = node.timeframe.seconds or str(node.timeframe)
    if release is None:
        return NodeView(str(node), interval, start)
    end = max((ref.end for ref in snapshot.artifacts), default=None)
    return NodeView(
        node_id=str(node),
        interval=interval,
        start=start,
        seq=release.seq,
        as_of=release.as_of,
        kind=release.kind,
        dataset_fingerprint=release.dataset_fingerprint,
        artifacts=len(snapshot.artifacts),
        released_start=min((ref.start for ref in snapshot.artifacts), default=None),
        released_end=end,
        lag_seconds=None if end is None else now - end,
    )
