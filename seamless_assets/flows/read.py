"""Read released bars as they were known at an `as_of`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef, Manifest
from seamless_assets.core.bars import COLUMNS, between, join, timestamps
from seamless_assets.core.context import ComputeContext
from seamless_assets.core.coverage import Coverage, Gap, coverage_of
from seamless_assets.core.instant import seconds_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading import ReadMetadata, ReadResult
from seamless_assets.core.release import Snapshot, snapshot_at
from seamless_assets.core.segment import Segment
from seamless_assets.core.timeframe import grid_of
from seamless_assets.errors import AsOfRequired, CoverageMissing, InvalidChoice, NothingReleased
from seamless_assets.flows.ports import Ports

ARTIFACTS = "artifacts"


@dataclass(frozen=True, slots=True)
class _Part:
    ref: ArtifactRef
    manifest: Manifest
    bars: pa.Table


async def read_released(
    ports: Ports, node: NodeId, window: Segment, context: ComputeContext, *, columns: Sequence[str] | None
) -> ReadResult:
    """The whole bars of `window` from released artifacts; the same `as_of` always gives the same bars.

    Without an `as_of` the newest release is bound, and the metadata says which. Raises `NothingReleased`
    and `CoverageMissing`, and `ArtifactCorrupt` rather than serve bytes that do not match the log.
    """
    chosen = choose_columns(columns)
    snapshot = await bind_snapshot(ports, node, context)
    bounds = window.whole_bars(grid_of(node.timeframe))
    refs = [ref for ref in snapshot.artifacts if not ref.segment.intersect(bounds).is_empty]
    parts = await asyncio.gather(*(_load(ports, node, ref) for ref in refs))
    bars = between(join([part.bars for part in parts]), *bounds)
    absent = [gap for part in parts for gap in part.manifest.absent]
    coverage = coverage_of(node.timeframe, bounds, timestamps(bars), absent)
    _refuse_missing(node, bounds, coverage, parts)
    return ReadResult(
        bars.select(chosen), _metadata(ports, node, bounds, context, snapshot, parts, bars, coverage)
    )


async def bind_snapshot(ports: Ports, node: NodeId, context: ComputeContext) -> Snapshot:
    """The snapshot at the context's `as_of`. Raises `NothingReleased`."""
    log = await ports.artifacts.list_releases(node)
    snapshot = snapshot_at(str(node), log, context.as_of)
    if snapshot.release is None:
        first = f"; its first release is of {log[0].as_of}" if log else "; materialize it first"
        at = f" at or before {context.as_of}" if context.as_of else ""
        raise NothingReleased(f"{node} has no release{at}{first}", node_id=str(node), as_of=context.as_of)
    return snapshot


def require_as_of(context: ComputeContext) -> None:
    """Raise `AsOfRequired` where a backtest does not say as of when it reads."""
    if context.domain == "backtest" and context.as_of is None:
        raise AsOfRequired(
            "a backtest needs as_of: pass one of releases(node)[i].as_of, an ISO instant or epoch seconds "
            "in ComputeContext(as_of=...)"
        )


def choose_columns(columns: Sequence[str] | None) -> list[str]:
    """The asked columns in the asked order, all by default. Raises `InvalidChoice`."""
    asked = list(COLUMNS) if columns is None else [columns] if isinstance(columns, str) else list(columns)
    for name in asked:
        if name not in COLUMNS:
            raise InvalidChoice(
                f"column {name!r} is not one of {', '.join(COLUMNS)}", value=name, choices=COLUMNS
            )
    return asked


async def _load(ports: Ports, node: NodeId, ref: ArtifactRef) -> _Part:
    manifest, bars = await asyncio.gather(
        ports.artifacts.load_manifest(node, ref), ports.artifacts.load_artifact(node, ref)
    )
    return _Part(ref, manifest, bars)


def _refuse_missing(node: NodeId, window: Segment, coverage: Coverage, parts: Sequence[_Part]) -> None:
    """Bars that a released artifact itself lists as missing were let through its gate; others were not."""
    admitted = [part.ref.segment for part in parts]
    gaps = [
        Gap(start, end, "not released")
        for gap in coverage.missing_gaps
        for start, end in _outside(gap.segment, admitted)
    ]
    if gaps:
        named = ", ".join(f"[{seconds_text(gap.start)}, {seconds_text(gap.end)})" for gap in gaps[:3])
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        raise CoverageMissing(
            f"released artifacts of {node} do not hold {named}{more} of the asked "
            f"[{seconds_text(window.start)}, {seconds_text(window.end)}); materialize them or ask for less",
            node_id=str(node),
            gaps=tuple(gaps),
        )


def _outside(gap: Segment, segments: Sequence[Segment]) -> list[Segment]:
    left = gap.start
    outside: list[Segment] = []
    for segment in sorted(segments):
        if segment.end <= left:
            continue
        if segment.start >= gap.end:
            break
        if segment.start > left:
            outside.append(Segment(left, segment.start))
        left = segment.end
    if left < gap.end:
        outside.append(Segment(left, gap.end))
    return outside


def _metadata(
    ports: Ports,
    node: NodeId,
    window: Segment,
    context: ComputeContext,
    snapshot: Snapshot,
    parts: Sequence[_Part],
    bars: pa.Table,
    coverage: Coverage,
) -> ReadMetadata:
    ts = timestamps(bars)
    flags: Counter[str] = Counter()
    for part in parts:
        flags.update(part.manifest.conformance_flags)
    missing = coverage.missing
    return ReadMetadata(
        node_id=str(node),
        interval=node.timeframe.seconds or str(node.timeframe),
        start=window.start,
        end=window.end,
        rows=bars.num_rows,
        coverage_bounds=(int(ts[0]), node.timeframe.shift(int(ts[-1]), 1)) if len(ts) else None,
        coverage_ratio=coverage.ratio,
        gaps=coverage.gaps,
        conformance_flags=dict(flags),
        conformance_version=ports.policy.conformance_version,
        dataset_fingerprint=snapshot.dataset_fingerprint,
        as_of=snapshot.release.as_of if snapshot.release else None,
        requested_as_of=context.as_of,
        manifest_uris=tuple(ports.artifacts.manifest_uri(node, part.ref) for part in parts),
        world_id=context.world_id,
        domain=context.domain,
        verdict="PARTIAL" if missing else "PASS",
        reasons=(f"{missing} bars were released as missing",) if missing else (),
        source=ARTIFACTS,
        staleness_seconds=None,
    )
