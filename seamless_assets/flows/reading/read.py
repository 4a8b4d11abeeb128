"""Read released bars as they were known at an `as_of`."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from seamless_assets.core.bars.table import COLUMNS, between
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.calendar.timeframe import grid_of
from seamless_assets.core.coverage.coverage import MISSING, Coverage, Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.reading import ReadMetadata, ReadResult
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import Snapshot
from seamless_assets.core.releases.scan import Scan, gaps_within
from seamless_assets.errors import AsOfRequired, CoverageMissing, InvalidChoice, NothingReleased
from seamless_assets.flows.ports import Ports

ARTIFACTS = "artifacts"


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
    refs = snapshot.overlapping(bounds)
    _refuse_missing(node, bounds, refs)
    scan = await ports.artifacts.load_scan(node, refs)
    bars = between(scan.bars, *bounds)
    metadata = _metadata(ports, node, bounds, context, snapshot, refs, scan, bars)
    return ReadResult(bars.select(chosen), metadata)


async def bind_snapshot(ports: Ports, node: NodeId, context: ComputeContext) -> Snapshot:
    """The snapshot of the context's `as_of` or `dataset_fingerprint`. Raises `NothingReleased`."""
    snapshot = await ports.artifacts.load_snapshot(node, context.as_of, context.dataset_fingerprint)
    if snapshot.release is None or not snapshot.artifacts:
        log = await ports.artifacts.list_releases(node)
        first = f"; its first release is of {log[0].as_of}" if log else "; materialize it first"
        at = f" at or before {context.as_of}" if context.as_of else ""
        of = f" of the dataset {context.dataset_fingerprint}" if context.dataset_fingerprint else ""
        raise NothingReleased(f"{node} has no release{of}{at}{first}", node_id=str(node), as_of=context.as_of)
    return snapshot


async def snapshot_files(ports: Ports, node: NodeId, context: ComputeContext) -> list[str]:
    """URIs of the Parquet files of a snapshot, ascending. Raises `NothingReleased`."""
    snapshot = await bind_snapshot(ports, node, context)
    folder = ports.artifacts.file_uri(node, "")
    return [folder + ref.file_path for ref in snapshot.artifacts]


def require_as_of(context: ComputeContext) -> None:
    """Raise `AsOfRequired` where a backtest does not say as of when it reads."""
    if context.domain == "backtest" and context.as_of is None and context.dataset_fingerprint is None:
        raise AsOfRequired(
            "a backtest needs as_of: pass one of releases(node)[i].as_of, an ISO instant or epoch seconds "
            "in ComputeContext(as_of=...), or a release's dataset_fingerprint"
        )


def choose_columns(columns: Sequence[str] | None) -> list[str]:
    """The asked columns in the asked order, each once, all by default. Raises `InvalidChoice`."""
    asked = list(COLUMNS) if columns is None else [columns] if isinstance(columns, str) else list(columns)
    for name in asked:
        if name not in COLUMNS:
            raise InvalidChoice(
                f"column {name!r} is not one of {', '.join(COLUMNS)}", value=name, choices=COLUMNS
            )
    if len(set(asked)) < len(asked):
        raise InvalidChoice(
            f"columns {', '.join(asked)} name one twice; ask for each once", value=asked, choices=COLUMNS
        )
    return asked


def _refuse_missing(node: NodeId, window: Segment, refs: Sequence[ArtifactRef]) -> None:
    """Bars that a released artifact itself lists as missing were let through its gate; others were not."""
    gaps = [Gap(*part, "not released") for part in outside(window, ((ref.start, ref.end) for ref in refs))]
    if gaps:
        named = ", ".join(f"[{seconds_text(gap.start)}, {seconds_text(gap.end)})" for gap in gaps[:3])
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        raise CoverageMissing(
            f"released artifacts of {node} do not hold {named}{more} of the asked "
            f"[{seconds_text(window.start)}, {seconds_text(window.end)}); materialize them or ask for less",
            node_id=str(node),
            gaps=tuple(gaps),
        )


def _coverage(node: NodeId, window: Segment, scan: Scan, present: int) -> Coverage:
    """Coverage of a window that released artifacts hold whole; their manifests explain every hole."""
    gaps = gaps_within(scan.gaps, window)
    expected = node.timeframe.count(*window)
    missing = sum(node.timeframe.count(gap.start, gap.end) for gap in gaps if gap.reason == MISSING)
    return Coverage(expected, present, expected - present - missing, missing, gaps)


def _metadata(
    ports: Ports,
    node: NodeId,
    window: Segment,
    context: ComputeContext,
    snapshot: Snapshot,
    refs: Sequence[ArtifactRef],
    scan: Scan,
    bars: pa.Table,
) -> ReadMetadata:
    coverage = _coverage(node, window, scan, bars.num_rows)
    ts, missing = bars.column("ts"), coverage.missing
    folder = ports.artifacts.file_uri(node, "")
    last = node.timeframe.shift(ts[-1].as_py(), 1) if len(ts) else None
    return ReadMetadata(
        node_id=str(node),
        interval=node.timeframe.seconds or str(node.timeframe),
        start=window.start,
        end=window.end,
        rows=bars.num_rows,
        coverage_bounds=(ts[0].as_py(), last) if last is not None else None,
        coverage_ratio=coverage.ratio,
        gaps=coverage.gaps,
        conformance_flags=dict(scan.flags),
        conformance_version=ports.policy.conformance_version,
        dataset_fingerprint=snapshot.dataset_fingerprint,
        as_of=snapshot.release.as_of if snapshot.release else None,
        requested_as_of=context.as_of,
        manifest_uris=tuple([folder + ref.manifest_path for ref in refs]),
        world_id=context.world_id,
        domain=context.domain,
        verdict="PARTIAL" if missing else "PASS",
        reasons=(f"{missing} bars were released as missing",) if missing else (),
        source=ARTIFACTS,
        staleness_seconds=None,
    )
