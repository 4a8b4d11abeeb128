"""What bars of files would change of what is known, partition by partition; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.sorted_sets import is_in
from seamless_assets.core.bars.table import between, changes, join, timestamps
from seamless_assets.core.calendar.partition import Partition, partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import settled
from seamless_assets.core.coverage.coverage import DECLARED, Coverage, Gap, bars_of, with_absent
from seamless_assets.core.coverage.declaration import Declaration, declared_fact
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.coverage.proof import subtract
from seamless_assets.core.imports.bars import ImportedBars
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.gate import GateResult, check_release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.filling.history import coverage_of_known, known_bars
from seamless_assets.flows.ports import Ports

QUIET, _COMPLETE = "no_trades", "the files imported are complete"


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What is to be done with the bars of files.

    `is_complete`: nobody traded where the files have no bar; `confirms`: bars that are known by other values
    are revised; `by` and `note` say who knows that, and how.
    """

    imported: ImportedBars
    is_complete: bool
    confirms: bool
    is_dry_run: bool
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class ImportPart:
    """One partition as it would be sealed: its window, all bars known of it then, and how they differ: so
    many were `added`, in these ranges.

    The files tell of `told`, and in its `quiet` parts, where no bar is known, of nobody who traded.
    `is_known`: all that is in force already.
    """

    partition: Partition
    told: Segment
    window: Segment
    bars: pa.Table
    added: int
    added_in: tuple[Segment, ...]
    revisions: pa.Table
    quiet: tuple[Segment, ...]
    declared: tuple[Declaration, ...]
    coverage: Coverage
    checked: GateResult
    is_known: bool

    @property
    def absent(self) -> list[Gap]:
        """What the files say of bars that are not there."""
        declared = [Gap(*one.segment, DECLARED) for one in self.declared]
        return [*(Gap(*one, QUIET) for one in self.quiet), *declared]

    @property
    def is_released(self) -> bool:
        """Whether it is in force once the import is done."""
        return self.is_known or self.checked.passed


async def plan_import(
    ports: Ports, node: NodeId, request: IngestRequest, before: Snapshot, now: float
) -> list[ImportPart]:
    """The partitions that the files are about, ascending, as they would be sealed."""
    unit, bars = ports.policy.partition_unit(node.timeframe), ports.policy.stabilization_bars
    found = []
    for partition in partitions(node.timeframe, unit, request.imported.window):
        whole = settled(partition.window, node.timeframe, now, bars)
        told = request.imported.window.intersect(whole)
        if not told.is_empty:
            found.append(await _part(ports, node, request, before, partition, told, now))
    return found


async def _part(
    ports: Ports,
    node: NodeId,
    request: IngestRequest,
    before: Snapshot,
    partition: Partition,
    told: Segment,
    now: float,
) -> ImportPart:
    in_force = [ref.segment.intersect(partition.window) for ref in before.overlapping(partition.window)]
    bounds = [told, *in_force]
    window = Segment(min(held.start for held in bounds), max(held.end for held in bounds))
    known = await known_bars(ports, node, window)
    brought = between(request.imported.bars, *told)
    new, revisions = changes(known, brought, now)
    kept = known.filter(pa.array(~is_in(timestamps(known), timestamps(brought))))
    bars, report = conform(join([kept, brought]), node.timeframe, severities=ports.policy.severities)
    coverage = await coverage_of_known(ports, node, window, timestamps(bars))
    flat = [part for one in request.imported.quiet if not (part := one.intersect(told)).is_empty]
    # What is known of a bar by other sources weighs more than a flat one that counts as none.
    quiet = tuple(subtract(flat, bars_of(timestamps(bars), node.timeframe), node.timeframe))
    missing = coverage.missing
    coverage = with_absent(coverage, node.timeframe, [Gap(*one, QUIET) for one in quiet])
    explains = coverage.missing < missing
    declared = _declared(request, node, told, coverage, now) if request.is_complete else ()
    coverage = with_absent(coverage, node.timeframe, [Gap(*one.segment, DECLARED) for one in declared])
    is_held = any(held.start <= told.start and told.end <= held.end for held in in_force)
    return ImportPart(
        partition,
        told,
        window,
        # Bars that nothing was done to are held once for all partitions.
        brought if kept.num_rows == 0 and report.flags.keys() <= {"gap"} else bars,
        new.num_rows,
        tuple(bars_of(timestamps(new), node.timeframe)),
        revisions,
        quiet,
        declared,
        coverage,
        check_release(
            partition.key, report.blocking, report.flags, coverage, ports.policy.coverage_ratio_threshold
        ),
        is_known=is_held and not (new.num_rows or revisions.num_rows or declared or explains),
    )


def _declared(
    request: IngestRequest, node: NodeId, told: Segment, known: Coverage, now: float
) -> tuple[Declaration, ...]:
    """What it says of bars missing inside of what the files tell of that the files are complete."""
    holes = [gap.segment.intersect(told) for gap in known.missing_gaps]
    said = [Declaration.of(declared_hole(request, node, hole, now)) for hole in holes if not hole.is_empty]
    return tuple(one for one in said if one is not None)


def declared_hole(request: IngestRequest, node: NodeId, hole: Segment, now: float) -> Fact:
    return declared_fact(node.timeframe, hole, QUIET, request.note or _COMPLETE, request.by, now)
