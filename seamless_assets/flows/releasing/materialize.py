"""Materialize: fetch anew, conform, seal and release, partition by partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from seamless_assets.core.bars.conformance.conform import Report, conform
from seamless_assets.core.bars.conformance.flags import without_zero_rows
from seamless_assets.core.bars.sorted_sets import distinct
from seamless_assets.core.bars.table import stack, timestamps, within
from seamless_assets.core.calendar.instant import OLDEST_MARKET, seconds_text
from seamless_assets.core.calendar.partition import Partition, partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import settled, watermark
from seamless_assets.core.coverage.coverage import MISSING, Coverage, Gap, counted
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.gate import check_release
from seamless_assets.core.releases.scan import gaps_within
from seamless_assets.errors import (
    ArtifactDiscarded,
    ExchangeUnavailable,
    ReleaseLosesBars,
    ReleaseOutdated,
    ReleasePinned,
    SealRefused,
)
from seamless_assets.flows.filling.backfill import (
    CHUNKS_AT_ONCE,
    FillCall,
    FillResult,
    fill,
    pieces,
    touched,
)
from seamless_assets.flows.filling.clocks import ready_now, refuse_derived, refuse_unserved, settled_now
from seamless_assets.flows.filling.history import NO_OPENS, coverage
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import dated_ahead
from seamless_assets.flows.releasing.publish import Sealed, release, seal, total_coverage

OF_THE_WIRE = frozenset({"gap", "ts_cast"})
"""Flags of a fetch that say nothing of the bars: exchanges write ms, and gaps are judged of the result."""
UNSETTLED = "nothing is settled yet"
NO_MARKET = "there was no market before 2009-01-03, so nothing before that is materialized"
NOTHING = Coverage(0, 0, 0, 0, ())


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What became of one partition.

    `sealed` is None where nothing of it is settled yet, where bars cannot be sealed, and where the exchange
    gave no answer and nothing else is known of it; `away` is why it gave none. `unsealed` is the coverage of
    what is settled and not sealed.
    """

    partition: Partition
    released: bool
    sealed: Sealed | None
    as_of: str | None
    dataset_fingerprint: str | None
    problems: tuple[str, ...]
    is_settled: bool = True
    away: ExchangeUnavailable | None = None
    unsealed: Coverage = NOTHING

    @property
    def coverage(self) -> Coverage:
        """Coverage of its settled part."""
        return self.sealed.coverage if self.sealed else self.unsealed


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
    """Materialize every partition that `window` touches, from the first market on.

    Raises `ExchangeRefused` and `StoreError`; what an exchange withholds ends in `problems`.
    """
    return report_of(node, window, [report async for report in materialize_each(ports, node, window)])


def report_of(node: NodeId, window: Segment, done: Sequence[PartitionReport]) -> MaterializeReport:
    """What became of a window, of which each partition's report is given."""
    last = next((report for report in reversed(done) if report.as_of), None)
    settled_parts = [report for report in done if report.is_settled]
    return MaterializeReport(
        node_id=str(node),
        released=bool(settled_parts) and all(report.released for report in settled_parts),
        as_of=last.as_of if last else None,
        dataset_fingerprint=last.dataset_fingerprint if last else None,
        coverage=total_coverage([report.coverage for report in done]),
        problems=(
            *((NO_MARKET,) if window.start < min(OLDEST_MARKET, window.end) else ()),
            *(problem for report in done for problem in report.problems),
        ),
        partitions=tuple(done),
    )


async def materialize_each(
    ports: Ports, node: NodeId, window: Segment
) -> AsyncGenerator[PartitionReport, None]:
    """The same, handing over each partition's report as soon as it is done."""
    away: ExchangeUnavailable | None = None
    window = Segment(max(window.start, min(OLDEST_MARKET, window.end)), window.end)
    if window.end <= OLDEST_MARKET:
        await refuse_unserved(ports, node)
        return
    try:
        now = await ready_now(ports, node)
    except ExchangeUnavailable as error:
        now, away = ports.clock.now(), error
    unit = ports.policy.partition_unit(node.timeframe)
    bars = ports.policy.stabilization_bars
    every = [
        (partition, settled(partition.window, node.timeframe, now, bars))
        for partition in partitions(node.timeframe, unit, window)
    ]
    asked = [part for _, part in every if not part.is_empty and not away]
    unknown = _Unknown(ports, node, every[-1][1].end if every else 0)
    async with _Refetching(ports, node, asked, watermark(node.timeframe, now, 0)) as refetched:
        for partition, part in every:
            if part.is_empty:
                problems = (f"{partition.key}: {UNSETTLED}",)
                yield PartitionReport(partition, False, None, None, None, problems, is_settled=False)
            else:
                filled = (
                    [FillResult(problems=(str(away),), away=away)] if away else await refetched.part(part)
                )
                nothing = await unknown.coverage(part, filled)
                if nothing is not None:
                    yield _withheld(partition, filled, nothing)
                else:
                    yield await _materialize_partition(ports, node, partition, now, filled)


class _Unknown:
    """Tells of which parts of a window that ends at `end` nothing is known where the exchange is away."""

    def __init__(self, ports: Ports, node: NodeId, end: int) -> None:
        self._ports, self._node, self._end = ports, node, end
        self._gaps: tuple[Gap, ...] | None = None

    async def coverage(self, part: Segment, filled: Sequence[FillResult]) -> Coverage | None:
        """Coverage of a part of which every bar is missing, for want of an answer; None of any other.

        Parts that nobody asked for are looked up together.
        """
        if not any(piece.away for piece in filled):
            return None
        if any(piece.asked for piece in filled):
            known = await coverage(self._ports, self._node, part)
        else:
            known = await self._looked_up(part)
        return known if known.missing == known.expected else None

    async def _looked_up(self, part: Segment) -> Coverage:
        frame = self._node.timeframe
        if self._gaps is None:
            known = await coverage(self._ports, self._node, Segment(part.start, self._end))
            self._gaps = known.gaps
        bounds = part.whole_bars(frame.grid)
        return counted(frame, frame.count(*bounds), gaps_within(self._gaps, bounds))


class _Refetching:
    """Fetches the adjoining `parts` anew, some pieces ahead; what is under way ends with its context."""

    def __init__(self, ports: Ports, node: NodeId, parts: Sequence[Segment], closed: int) -> None:
        self._ports, self._node = ports, node
        self._call = FillCall(ports, closed, parts[0].start if parts else 0)
        self._every = pieces(ports, node, Segment(parts[0].start, parts[-1].end)) if parts else []
        self._under_way: dict[int, asyncio.Task[FillResult]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def part(self, part: Segment) -> list[FillResult]:
        """What became of the pieces of a part, once they are done."""
        needed = touched(self._every, [part]) if self._every else []
        ahead = range(needed[0], min(needed[-1] + CHUNKS_AT_ONCE, len(self._every))) if needed else ()
        for at in ahead:
            if at not in self._under_way:
                work = fill(self._ports, self._node, self._every[at], self._call, anew=True)
                self._under_way[at] = asyncio.ensure_future(work)
        filled = [await self._under_way[at] for at in needed]
        for at in needed[:-1]:
            del self._under_way[at]
        return filled


async def _materialize_partition(
    ports: Ports, node: NodeId, partition: Partition, now: float, filled: Sequence[FillResult]
) -> PartitionReport:
    report = await _sealed_and_released(ports, node, partition, now, filled)
    return replace(report, away=_why_away(filled))


def _withheld(partition: Partition, filled: Sequence[FillResult], nothing: Coverage) -> PartitionReport:
    """The report of a partition of which nothing is known and nothing came."""
    problems = dict.fromkeys(f"{partition.key}: {why}" for piece in filled for why in piece.problems)
    return PartitionReport(
        partition, False, None, None, None, tuple(problems), away=_why_away(filled), unsealed=nothing
    )


def _why_away(filled: Sequence[FillResult]) -> ExchangeUnavailable | None:
    return next((piece.away for piece in filled if piece.away), None)


async def _sealed_and_released(
    ports: Ports, node: NodeId, partition: Partition, now: float, filled: Sequence[FillResult]
) -> PartitionReport:
    judged = await _judge_wire(ports, node, partition, filled)
    withheld = dict.fromkeys(problem for piece in filled for problem in piece.problems)
    seen = distinct(np.concatenate([NO_OPENS, *(piece.opens for piece in filled)]))
    losing = ""
    while True:
        try:
            sealed = await seal(ports, node, partition, now, judged.flags, seen)
        except SealRefused as error:
            return PartitionReport(
                partition, False, None, None, None, (f"{partition.key}: {error}", *withheld)
            )
        if sealed is None:
            raise AssertionError(
                f"{node} {partition.key}: settled bars vanished between two looks at one clock"
            )
        if unanswered := _unanswered(partition, sealed, filled):
            return PartitionReport(partition, False, sealed, None, None, (unanswered, *withheld))
        try:
            return await release_checked(
                ports, node, partition, sealed, blocking=judged.blocking, withheld=tuple(withheld)
            )
        except (ArtifactDiscarded, ReleaseOutdated):
            continue
        except ReleaseLosesBars as lost:
            # Another machine may have released more meanwhile; what is sealed anew holds that too.
            if sealed.ref.fingerprint == losing:
                return PartitionReport(partition, False, sealed, None, None, (str(lost), *withheld))
            losing = sealed.ref.fingerprint


def _unanswered(partition: Partition, sealed: Sealed, filled: Sequence[FillResult]) -> str:
    """Why the newest bars of a partition, all missing, are not released so: nobody answered for them.

    A release tells how far a node is known, and whoever goes by that would not ask for them again. Empty
    where it answered for the last of what was `filled`, ascending, and where just this is in force already.
    """
    last = sealed.coverage.gaps[-1] if sealed.coverage.gaps else None
    is_open = last is not None and last.reason == MISSING and last.end == sealed.ref.end
    if last is None or not is_open or _why_away(filled[-1:]) is None or sealed.ref in sealed.in_force:
        return ""
    return f"{partition.key}: the exchange gave no answer for the bars from {seconds_text(last.start)} on"


async def release_checked(
    ports: Ports,
    node: NodeId,
    partition: Partition,
    sealed: Sealed,
    *,
    reason: str = "materialized",
    blocking: Sequence[str] = (),
    withheld: Sequence[str] = (),
    dated: int | None = None,
) -> PartitionReport:
    """Release what passes its checks and no rollback holds, dated now or as `release` says.

    `blocking` are flags that block beside its own, `withheld` problems that are told and block nothing.
    A clean-up or another release that was quicker is the caller's.
    """
    every = tuple(dict.fromkeys((*blocking, *sealed.blocking)))
    checked = check_release(
        partition.key, every, sealed.flags, sealed.coverage, ports.policy.coverage_ratio_threshold
    )
    problems = (*checked.problems, *(f"{partition.key}: {problem}" for problem in withheld))
    entry = None
    if checked.passed:
        try:
            entry = await release(
                ports, node, [sealed.ref], checked.checks, reason, in_force=sealed.in_force, dated=dated
            )
        except ReleasePinned as held:
            problems = (str(held), *problems)
        if ahead := dated_ahead(ports, node, entry):
            problems = (*problems, ahead)
    return PartitionReport(
        partition=partition,
        released=entry is not None,
        sealed=sealed,
        as_of=entry.as_of if entry else None,
        dataset_fingerprint=entry.dataset_fingerprint if entry else None,
        problems=problems,
    )


async def _judge_wire(
    ports: Ports, node: NodeId, partition: Partition, filled: Sequence[FillResult]
) -> Report:
    """What the candles of the partition say of themselves, and how many of its bars were ever revised."""
    low, high = (bound * 1000 for bound in partition.window)
    sent = stack([within(piece.candles, low, high) for piece in filled])
    _, report = conform(without_zero_rows(sent), node.timeframe, severities=ports.policy.severities)
    flags = {name: count for name, count in report.flags.items() if name not in OF_THE_WIRE}
    revisions = await ports.hot.load_revisions(node, partition.window)
    if revisions.num_rows:
        flags["revised"] = len(distinct(timestamps(revisions)))
    return replace(report, flags=flags)


async def release_settled(ports: Ports, node: NodeId, window: Segment) -> list[PartitionReport]:
    """Seal and release what is settled of the partitions that `window` touches, as it is known.

    No candle is asked for. Raises `ExchangeUnavailable` where the exchange's clock cannot be read, and
    `ExchangeRefused` of a derived node.
    """
    refuse_derived(ports, node)
    now = await settled_now(ports, node)
    unit, bars = ports.policy.partition_unit(node.timeframe), ports.policy.stabilization_bars
    return [
        await _sealed_and_released(ports, node, partition, now, ())
        for partition in partitions(node.timeframe, unit, window)
        if not settled(partition.window, node.timeframe, now, bars).is_empty
    ]


async def publish(ports: Ports, node: NodeId, window: Segment) -> list[Sealed]:
    """Seal what is settled of the partitions that `window` touches; nothing is released."""
    now = await settled_now(ports, node)
    parts = partitions(node.timeframe, ports.policy.partition_unit(node.timeframe), window)
    sealed = [await seal(ports, node, partition, now) for partition in parts]
    return [item for item in sealed if item is not None]
