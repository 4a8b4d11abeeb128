"""From the window that an input requests to its bars: segments of time, each read at one `as_of`, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.core.reading.sla import SLAPolicy, resolve_sla
from seamless_assets.defs.inputs.instructions import PREFIX, Instructions
from seamless_assets.defs.inputs.joining import join_results
from seamless_assets.defs.inputs.windows import WindowRequest
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.wiring.policy import read_settings


@dataclass(frozen=True)
class InputReader:
    """Reads one input of a step. Raises what a read raises, and `InvalidInput`."""

    pipeline: Seamless
    node: NodeId
    instructions: Instructions

    def read(self, request: WindowRequest) -> ReadResult:
        """The bars that partitions request, as the instructions say."""
        start, end = self.instructions.start, self.instructions.end
        is_open = request.segments is None and self.instructions.fills
        if is_open or (start is not None and end is not None):
            return self._read(start, end)
        reader, segments = self._resolved(request)
        bounded = bound_segments(segments, start, end)
        return reader._read_all(bounded) if bounded else self._nothing()

    def _resolved(self, request: WindowRequest) -> tuple[InputReader, Sequence[Segment]]:
        """The segments to read; where they hang on what is released, a reader that is bound to just that."""
        segments = request.segments
        now = 0.0 if request.ends_with_released else self.pipeline.aio.ports.clock.now()
        is_running = request.is_open_ended and any(part.end > now for part in segments or ())
        if segments is not None and not is_running:
            return self, segments
        context = self._context
        snapshot = self.pipeline.snapshot(
            self.node, context.as_of, dataset_fingerprint=context.dataset_fingerprint
        )
        released = join_segments(ref.segment for ref in snapshot.artifacts)
        reader = self if self.instructions.fills or not snapshot.release else self._at(snapshot.release.as_of)
        return reader, released if segments is None else cut_to_released(segments, released, now)

    def _read_all(self, segments: Sequence[Segment]) -> ReadResult:
        results = [self._read(*segment) for segment in segments]
        newest = max(result.metadata.as_of or "" for result in results)
        if not self._is_session and any(result.metadata.as_of != newest for result in results):
            # A strategy released something between two of them.
            reader = replace(self, instructions=replace(self.instructions, strategy=None))._at(newest)
            results = [reader._read(*segment) for segment in segments]
        return join_results(self.node.timeframe, results)

    def _read(self, start: int | None, end: int | None) -> ReadResult:
        how = self.instructions
        result = self.pipeline.read(
            self.node, start, end, context=how.context, strategy=how.strategy, sla=self._sla
        )
        if how.context is None and how.world_id is not None:
            return replace(result, metadata=replace(result.metadata, world_id=how.world_id))
        return result

    def _at(self, as_of: str) -> InputReader:
        """The reader bound to a release, unless its instructions say what it is bound to."""
        if self.instructions.context is not None:
            return self
        context = replace(self._context, as_of=as_of)
        return replace(self, instructions=replace(self.instructions, context=context))

    @property
    def _context(self) -> ComputeContext:
        how = self.instructions
        return how.context or ComputeContext(how.world_id or "default", min_coverage=how.min_coverage)

    @property
    def _is_session(self) -> bool:
        return self.instructions.context is not None and self._context.domain != "backtest"

    @property
    def _sla(self) -> SLAPolicy | Mapping[str, Any] | str | None:
        """The service level; where there is no context it knows the least coverage too."""
        how = self.instructions
        if how.context is not None or how.min_coverage is None:
            return how.sla
        settings = read_settings(self.pipeline.settings)
        policy = resolve_sla(how.sla, settings.past_sla, settings.presets, "backtest")
        return replace(policy, min_coverage=how.min_coverage)

    def _nothing(self) -> ReadResult:
        """No bars, for an input that is mapped to no partition."""
        context, timeframe = self._context, self.node.timeframe
        metadata = ReadMetadata(
            node_id=str(self.node),
            interval=timeframe.seconds or str(timeframe),
            start=0,
            end=0,
            rows=0,
            coverage_bounds=None,
            coverage_ratio=1.0,
            gaps=(),
            conformance_flags={},
            conformance_version=self.pipeline.settings.seamless.conformance.version,
            dataset_fingerprint=None,
            as_of=None,
            requested_as_of=context.as_of,
            manifest_uris=(),
            world_id=context.world_id,
            domain=context.domain,
            verdict="PASS",
            reasons=("not_requested: the input is mapped to no partition",),
            source="none",
            staleness_seconds=None,
        )
        return ReadResult(empty_bars(), metadata)


def cut_to_released(
    segments: Sequence[Segment], released: Sequence[Segment], now: float
) -> Sequence[Segment]:
    """Segments of which those that are not over at `now` end where what is released of them does.

    One of which nothing is released stays as it is: reading it says so.
    """
    cut = []
    for segment in segments:
        ends = [part.end for part in map(segment.intersect, released) if not part.is_empty]
        cut.append(Segment(segment.start, ends[-1]) if segment.end > now and ends else segment)
    return cut


def bound_segments(segments: Sequence[Segment], start: int | None, end: int | None) -> Sequence[Segment]:
    """Segments that start at `start`, or end at `end`, instead. Raises `InvalidInput` for none."""
    if start is None and end is None:
        return segments
    if not segments:
        missing = "end" if end is None else "start"
        raise InvalidInput(
            f"the input is mapped to no partition, so that nothing says where its window has its {missing}; "
            f"say {PREFIX}{missing} too, or neither",
            value=start if end is None else end,
        )
    if start is not None:
        later = [part for part in segments if part.end > start] or [segments[-1]]
        return [Segment(start, later[0].end), *later[1:]]
    earlier = [part for part in segments if end is not None and part.start < end] or [segments[0]]
    return [*earlier[:-1], Segment(earlier[-1].start, end)]
