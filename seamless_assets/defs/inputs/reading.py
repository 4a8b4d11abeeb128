"""From what is asked of an input to its bars: stretches of time, each read at one `as_of`, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.core.reading.sla import SLAPolicy, resolve_sla
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.defs.inputs.instructions import PREFIX, Instructions
from seamless_assets.defs.inputs.windows import Asked
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.wiring.policy import read_settings

NOT_ASKED = "not asked for"
"""Why there are no bars between two stretches."""


def read_asked(pipeline: Seamless, node: NodeId, asked: Asked, told: Instructions) -> ReadResult:
    """The bars that partitions and instructions ask for. Raises what a read raises, and `InvalidInput`."""
    if (told.start is not None and told.end is not None) or (asked.stretches is None and told.fills):
        return _read(pipeline, node, told, told.start, told.end)
    stretches = asked.stretches
    now = pipeline.aio.ports.clock.now()
    if stretches is None or (asked.is_open_ended and any(part.end > now for part in stretches)):
        snapshot = _snapshot(pipeline, node, told)
        released = join_segments(ref.segment for ref in snapshot.artifacts)
        stretches = tuple(released if stretches is None else _until_released(stretches, released, now))
        # What is released now is read as of now, whatever is released meanwhile.
        told = told if told.fills else _bound(told, snapshot.release.as_of if snapshot.release else None)
    parts = _bounded(stretches, told)
    if not parts:
        return _nothing(pipeline, node, told)
    results = [_read(pipeline, node, told, *part) for part in parts]
    newest = max((result.metadata.as_of or "" for result in results), default="")
    if any(result.metadata.as_of != newest for result in results) and not _is_session(told):
        at_one = _bound(replace(told, strategy=None), newest)
        results = [_read(pipeline, node, at_one, *part) for part in parts]
    return _joined(node.timeframe, results)


def _is_session(told: Instructions) -> bool:
    return told.context is not None and told.context.domain != "backtest"


def _read(
    pipeline: Seamless, node: NodeId, told: Instructions, start: int | None, end: int | None
) -> ReadResult:
    result = pipeline.read(
        node, start, end, context=told.context, strategy=told.strategy, sla=_sla(pipeline, told)
    )
    if told.context is None and told.world_id is not None:
        return replace(result, metadata=replace(result.metadata, world_id=told.world_id))
    return result


def _sla(pipeline: Seamless, told: Instructions) -> SLAPolicy | Mapping[str, Any] | str | None:
    """The service level of a read; without a context it is what knows the least coverage."""
    if told.context is not None or told.min_coverage is None:
        return told.sla
    settings = read_settings(pipeline.settings)
    return replace(resolve_sla(told.sla, settings.past_sla, settings.presets), min_coverage=told.min_coverage)


def _snapshot(pipeline: Seamless, node: NodeId, told: Instructions) -> Snapshot:
    context = _context(told)
    return pipeline.snapshot(node, context.as_of, dataset_fingerprint=context.dataset_fingerprint)


def _context(told: Instructions) -> ComputeContext:
    return told.context or ComputeContext(world_id=told.world_id or "default", min_coverage=told.min_coverage)


def _bound(told: Instructions, as_of: str | None) -> Instructions:
    """The instructions, bound to a release unless they say themselves what they are bound to."""
    return told if told.context is not None else replace(told, context=replace(_context(told), as_of=as_of))


def _until_released(stretches: Sequence[Segment], released: Sequence[Segment], now: float) -> list[Segment]:
    """Stretches of which those that are not over yet end where what is released of them does."""
    cut = []
    for stretch in stretches:
        ends = [part.end for part in map(stretch.intersect, released) if not part.is_empty]
        cut.append(Segment(stretch.start, ends[-1]) if stretch.end > now and ends else stretch)
    return cut


def _bounded(stretches: Sequence[Segment], told: Instructions) -> list[Segment]:
    """Stretches with the start or the end that was told instead of theirs."""
    start, end = told.start, told.end
    if start is None and end is None:
        return list(stretches)
    if not stretches:
        missing = "end" if end is None else "start"
        raise InvalidInput(
            f"the input is mapped to no partition, so that nothing says where its window has its {missing}; "
            f"say {PREFIX}{missing} too, or neither",
            value=start if end is None else end,
        )
    if start is not None:
        later = [part for part in stretches if part.end > start] or [stretches[-1]]
        return [Segment(start, later[0].end), *later[1:]]
    earlier = [part for part in stretches if part.start < (end or 0)] or [stretches[0]]
    return [*earlier[:-1], Segment(earlier[-1].start, end)]


def _nothing(pipeline: Seamless, node: NodeId, told: Instructions) -> ReadResult:
    """No bars, for an input that is mapped to no partition."""
    context = _context(told)
    metadata = ReadMetadata(
        node_id=str(node),
        interval=node.timeframe.seconds or str(node.timeframe),
        start=0,
        end=0,
        rows=0,
        coverage_bounds=None,
        coverage_ratio=1.0,
        gaps=(),
        conformance_flags={},
        conformance_version=pipeline.settings.seamless.conformance.version,
        dataset_fingerprint=None,
        as_of=None,
        requested_as_of=context.as_of,
        manifest_uris=(),
        world_id=context.world_id,
        domain=context.domain,
        verdict="PASS",
        reasons=("not_asked: the input is mapped to no partition",),
        source="none",
        staleness_seconds=None,
    )
    return ReadResult(empty_bars(), metadata)


def _joined(timeframe: Timeframe, results: Sequence[ReadResult]) -> ReadResult:
    """Reads of ascending windows as one, what lies between them among its gaps."""
    if len(results) == 1:
        return results[0]
    told = [result.metadata for result in results]
    between = [Gap(left.end, right.start, NOT_ASKED) for left, right in pairwise(told)]
    missing = sum(
        timeframe.count(gap.start, gap.end) for one in told for gap in one.gaps if gap.reason == MISSING
    )
    bounds = [one.coverage_bounds for one in told if one.coverage_bounds]
    rows = sum(one.rows for one in told)
    flags: dict[str, int] = {}
    for one in told:
        for name, count in one.conformance_flags.items():
            flags[name] = flags.get(name, 0) + count
    metadata = replace(
        told[-1],
        start=told[0].start,
        rows=rows,
        coverage_bounds=(bounds[0][0], bounds[-1][1]) if bounds else None,
        coverage_ratio=rows / (rows + missing) if rows + missing else 1.0,
        gaps=tuple(sorted((*between, *(gap for one in told for gap in one.gaps)))),
        conformance_flags=flags,
        requested_as_of=told[0].requested_as_of,
        manifest_uris=tuple(dict.fromkeys(uri for one in told for uri in one.manifest_uris)),
        verdict=_worst([one.verdict for one in told]),
        reasons=tuple(dict.fromkeys(reason for one in told for reason in one.reasons)),
    )
    return ReadResult(pa.concat_tables([result.bars for result in results]), metadata)


def _worst(verdicts: Sequence[Any]) -> Any:
    return max(verdicts, key=("PASS", "PARTIAL", "HOLD", "REJECT").index)
