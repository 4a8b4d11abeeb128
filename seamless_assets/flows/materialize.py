"""Materialize: fetch anew, conform, seal and release, partition by partition."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from seamless_assets.core.coverage import Coverage
from seamless_assets.core.gate import check_release
from seamless_assets.core.node import NodeId
from seamless_assets.core.partition import Partition, partitions
from seamless_assets.core.segment import Segment
from seamless_assets.core.watermark import settled, watermark
from seamless_assets.errors import ArtifactDiscarded, ReleasePinned
from seamless_assets.flows.backfill import refill, settled_now
from seamless_assets.flows.fetch import Fetched
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.publish import Sealed, release, seal, total_coverage

OF_THE_WIRE = frozenset({"gap", "ts_cast"})
"""Flags of a fetch that say nothing of the bars: exchanges write ms, and gaps are judged of the result."""
NOTHING = Coverage(0, 0, 0, 0, ())


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What became of one partition. `sealed` is None where nothing of it is settled yet."""

    partition: Partition
    released: bool
    sealed: Sealed | None
    as_of: str | None
    dataset_fingerprint: str | None
    problems: tuple[str, ...]

    @property
    def coverage(self) -> Coverage:
        """Coverage of its settled part."""
        return self.sealed.coverage if self.sealed else NOTHING


@dataclass(frozen=True, slots=True)
class MaterializeReport:
    """What became of a node's window, widened to whole partitions.

    `released`: everything settled passed its blocking checks and is in the release log, by this call or
    before it. `as_of` and `dataset_fingerprint` are those of the node's dataset afterwards.
    """

    node_id: str
    released: bool
    as_of: str | None
    dataset_fingerprint: str | None
    coverage: Coverage
    problems: tuple[str, ...]
    partitions: tuple[PartitionReport, ...]


async def materialize(ports: Ports, node: NodeId, window: Segment) -> MaterializeReport:
    """Materialize every partition that `window` touches.

    Raises `ExchangeRefused` and `StoreError`; what an exchange withholds ends in `problems`.
    """
    done = [report async for report in materialize_each(ports, node, window)]
    last = next((report for report in reversed(done) if report.as_of), None)
    settled_parts = [report for report in done if report.sealed]
    return MaterializeReport(
        node_id=str(node),
        released=bool(settled_parts) and all(report.released for report in settled_parts),
        as_of=last.as_of if last else None,
        dataset_fingerprint=last.dataset_fingerprint if last else None,
        coverage=total_coverage([report.coverage for report in done]),
        problems=tuple(problem for report in done for problem in report.problems),
        partitions=tuple(done),
    )


async def materialize_each(ports: Ports, node: NodeId, window: Segment) -> AsyncIterator[PartitionReport]:
    """The same, handing over each partition's report as soon as it is done."""
    await ports.source.check_node(node)
    now = await settled_now(ports, node)
    for partition in partitions(node.timeframe, ports.policy.partition_unit(node.timeframe), window):
        yield await _materialize_partition(ports, node, partition, now)


async def _materialize_partition(
    ports: Ports, node: NodeId, partition: Partition, now: float
) -> PartitionReport:
    window = settled(partition.window, node.timeframe, now, ports.policy.stabilization_bars)
    if window.is_empty:
        return PartitionReport(
            partition, False, None, None, None, (f"{partition.key}: nothing is settled yet",)
        )
    fetched, _ = await refill(ports, node, window, watermark(node.timeframe, now, 0))
    flags = {name: count for name, count in fetched.report.flags.items() if name not in OF_THE_WIRE}
    while True:
        sealed = await seal(ports, node, partition, now, flags)
        if sealed is None:
            raise AssertionError(
                f"{node} {partition.key}: settled bars vanished between two looks at one clock"
            )
        try:
            return await _release_checked(ports, node, partition, sealed, fetched)
        except ArtifactDiscarded:
            continue


async def _release_checked(
    ports: Ports, node: NodeId, partition: Partition, sealed: Sealed, fetched: Fetched
) -> PartitionReport:
    """Release what passes its checks and no rollback holds; a clean-up that is quicker is the caller's."""
    blocking = tuple(dict.fromkeys((*fetched.report.blocking, *sealed.blocking)))
    checked = check_release(
        partition.key, blocking, sealed.flags, sealed.coverage, ports.policy.coverage_ratio_threshold
    )
    problems = (*checked.problems, *(f"{partition.key}: {problem}" for problem in fetched.problems))
    entry = None
    if checked.passed:
        try:
            entry = await release(ports, node, [sealed.ref], checked.checks, "materialized")
        except ReleasePinned as held:
            problems = (str(held), *problems)
    return PartitionReport(
        partition=partition,
        released=entry is not None,
        sealed=sealed,
        as_of=entry.as_of if entry else None,
        dataset_fingerprint=entry.dataset_fingerprint if entry else None,
        problems=problems,
    )


async def publish(ports: Ports, node: NodeId, window: Segment) -> list[Sealed]:
    """Seal what is settled of the partitions that `window` touches; nothing is released."""
    now = await settled_now(ports, node)
    parts = partitions(node.timeframe, ports.policy.partition_unit(node.timeframe), window)
    sealed = [await seal(ports, node, partition, now) for partition in parts]
    return [item for item in sealed if item is not None]
