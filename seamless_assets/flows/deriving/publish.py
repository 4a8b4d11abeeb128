"""Derive: seal and release bars that were made of released bars, with what they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from seamless_assets.core.bars.conformance.conform import Report, conform
from seamless_assets.core.bars.frames import column_names, column_of
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, empty_bars, timestamps, within
from seamless_assets.core.calendar.instant import epoch_micros, seconds_text
from seamless_assets.core.calendar.partition import Partition
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Gap, counted
from seamless_assets.core.deriving.inputs import DerivationInput, derived_gaps
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, inputs_record
from seamless_assets.errors import (
    ArtifactDiscarded,
    InvalidFrame,
    InvalidInput,
    ReleaseOutdated,
    ReleaseRefused,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import instant_micros
from seamless_assets.flows.releasing.materialize import UNSETTLED, PartitionReport, release_checked
from seamless_assets.flows.releasing.publish import Sealed, put_sealed
from seamless_assets.flows.releasing.sealing import sealed_artifact

DERIVED = "derived"
"""The reason of a release of derived bars."""


async def publish_derived(
    ports: Ports,
    node: NodeId,
    partition: Partition,
    until: int,
    frame: Any,
    inputs: Sequence[DerivationInput],
    *,
    since: int = 0,
    needs_all: bool = False,
    held_bars: int = 0,
) -> PartitionReport:
    """Seal the bars of a partition from `since` up to `until` (epoch seconds), and release what passes.

    `frame` (pandas, Arrow or polars) holds the six columns of bars; those outside of that time are left out.
    `inputs` are what it was made of: they enter the manifest, explain the bars that are not there, and the
    release is dated after theirs. A bar that `needs_all` of them is absent where one is proven absent, for as
    long as none of its `held_bars` before may stand in. The same bars of the same inputs change nothing.

    Raises `InvalidInput` without an input, `InvalidFrame` for other columns, and `ReleaseOutdated` where what
    is in force was made of later releases of its inputs than these.
    """
    if not inputs:
        raise InvalidInput(
            f"{node}: the bars of {partition.key} were made of no node; take a node as an input", value=()
        )
    start, end = max(partition.window.start, since), min(partition.window.end, until)
    window = Segment(start, max(start, end))
    window = window.whole_bars(node.timeframe.grid)
    if window.is_empty:
        nothing = (f"{partition.key}: {UNSETTLED}",)
        return PartitionReport(partition, False, None, None, None, nothing, is_settled=False)
    bars, report = _conformed(ports, node, frame)
    if report.blocking:
        problems = tuple(f"{partition.key}: {problem}" for problem in report.problems)
        return PartitionReport(partition, False, None, None, None, problems)
    bars = within(bars, *window)
    gaps = derived_gaps(
        node.timeframe, window, timestamps(bars), inputs, needs_all=needs_all, held_bars=held_bars
    )
    while True:
        sealed, dated = await _sealed(ports, node, partition, window, bars, report, inputs, gaps)
        try:
            released = await release_checked(ports, node, partition, sealed, reason=DERIVED, dated=dated)
            return replace(released, problems=(*released.problems, *_outlived(partition, window, sealed)))
        except (ArtifactDiscarded, ReleaseOutdated):
            continue
        except ReleaseRefused as refused:
            # Of an input less is in force than before: what was made of that stays until it is withdrawn too.
            return PartitionReport(partition, False, sealed, None, None, (str(refused),))


def _outlived(partition: Partition, window: Segment, sealed: Sealed) -> list[str]:
    """What there is to say where what is in force reaches beyond all that the inputs have by now."""
    end = min(max((ref.end for ref in sealed.in_force), default=0), partition.window.end)
    if end <= window.end:
        return []
    reaches, made_of = seconds_text(end), seconds_text(window.end)
    said = f"what is in force reaches to {reaches}, and what it is made of to {made_of} by now"
    return [f"{partition.key}: {said}; withdraw it too, if that is meant"]


def _conformed(ports: Ports, node: NodeId, frame: Any) -> tuple[pa.Table, Report]:
    others = [name for name in column_names(frame) if name not in COLUMNS]
    if others:
        raise InvalidFrame(
            f"{node}: a node holds {', '.join(COLUMNS)}, and the frame holds {', '.join(others)} too; drop "
            "these, or keep the asset by an IO manager of its own",
            columns=others,
        )
    bars, report = conform(frame, node.timeframe, severities=ports.policy.severities)
    if report.blocking:
        return empty_bars(), report
    columns = [column_of(bars, name).to_numpy() for name in COLUMNS]
    return pa.table([pa.array(column) for column in columns], BARS_SCHEMA), report


async def _sealed(
    ports: Ports,
    node: NodeId,
    partition: Partition,
    window: Segment,
    bars: pa.Table,
    report: Report,
    inputs: Sequence[DerivationInput],
    gaps: Sequence[Gap],
) -> tuple[Sealed, int]:
    """The stored artifact, and the instant (epoch microseconds) by which its release is dated."""
    began, before = ports.clock.now(), await ports.artifacts.load_snapshot(node)
    in_force = before.overlapping(window)
    await _refuse_outdated(ports, node, in_force, inputs)
    flags = {name: count for name, count in report.flags.items() if name != "gap"}
    dated = await _dated(ports, inputs)
    artifact = await sealed_artifact(
        ports,
        node,
        bars,
        partition=partition.key,
        window=window,
        gaps=gaps,
        flags=flags,
        watermark=window.end,
        after=before.release,
        conformance_version=ports.policy.conformance_version,
        volume=None,
        decisions=inputs_record(one.version for one in inputs),
        dated=dated,
    )
    ref = await put_sealed(ports, artifact, before, began, len(report.warnings))
    sealed = Sealed(
        ref=ref,
        coverage=counted(node.timeframe, node.timeframe.count(*window), gaps),
        flags=flags,
        blocking=report.blocking,
        manifest_uri=ports.artifacts.file_uri(node, ref.manifest_path),
        artifact_uri=ports.artifacts.file_uri(node, ref.file_path),
        in_force=in_force,
    )
    return sealed, dated


async def _dated(ports: Ports, inputs: Sequence[DerivationInput]) -> int:
    """Now, as far as no exchange of the inputs contradicts it, and not before their releases."""
    nodes = sorted({NodeId.parse(one.version.node_id) for one in inputs})
    now = min([await instant_micros(ports, node) for node in nodes])
    return max(now, *(epoch_micros(one.version.as_of, "as_of") for one in inputs))


async def _refuse_outdated(
    ports: Ports, node: NodeId, in_force: Sequence[ArtifactRef], inputs: Sequence[DerivationInput]
) -> None:
    """Raise `ReleaseOutdated` where artifacts in force were made of later releases of the same inputs."""
    mine = {one.version.node_id: one.version for one in inputs}
    for ref in in_force:
        for held in (await ports.artifacts.load_manifest(node, ref)).inputs:
            own = mine.get(held.node_id)
            if own is not None and own.content != held.content and own.as_of < held.as_of:
                raise ReleaseOutdated(
                    f"{node}: {ref.partition} is in force as derived from {held.node_id} as of {held.as_of}, "
                    f"and this was derived as of {own.as_of}; derive it anew, or roll back to go back",
                    node_id=str(node),
                )
