"""Half-open ranges of time, and the arithmetic of what is held and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, Self

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.timeframe import Grid, Timeframe, ceil_to, grid_of, whole_number
from seamless_assets.errors import InvalidSegment


class _Bounds(NamedTuple):
    start: int
    end: int


class Segment(_Bounds):
    """`[start, end)` in epoch seconds; unpacks and compares as a pair.

    Raises `InvalidSegment` where `end` lies before `start` or an end is no whole number.
    """

    __slots__ = ()

    def __new__(cls, start: Any, end: Any) -> Self:
        if type(start) is int and type(end) is int and start <= end:  # what they nearly always are
            return tuple.__new__(cls, (start, end))
        low, high = _whole_seconds(start, "start"), _whole_seconds(end, "end")
        if high < low:
            raise InvalidSegment(
                f"a window ends at {_told(high)}, before it starts at {_told(low)}; swap the two",
                start=low,
                end=high,
            )
        return super().__new__(cls, low, high)

    @classmethod
    def of(cls, pair: Any) -> Segment:
        """A `Segment` from a segment or any pair of whole numbers."""
        if isinstance(pair, cls):
            return pair
        try:
            start, end = pair
        except (TypeError, ValueError) as error:
            raise InvalidSegment(
                f"{pair!r} is not a segment; give a Segment or a (start, end) pair", value=pair
            ) from error
        return cls(start, end)

    @property
    def is_empty(self) -> bool:
        """Whether it holds no time at all."""
        return self.start == self.end

    def intersect(self, other: Segment) -> Segment:
        """What both hold; empty at this segment's side where they do not meet."""
        start = min(max(self.start, other.start), self.end)
        return Segment(start, max(start, min(self.end, other.end)))

    def until(self, end: int) -> Segment:
        """What of it lies before `end`; empty at its start where nothing does."""
        return Segment(self.start, max(self.start, min(self.end, end)))

    def whole_bars(self, grid: Grid) -> Segment:
        """The largest range of whole bars inside, empty where there is none."""
        start = ceil_to(grid, self.start)
        return Segment(start, max(start, grid.open(grid.index(self.end))))


def merge_ranges(segments: Iterable[Any], interval: int | Timeframe, anchor: int = 0) -> list[Segment]:
    """Join overlapping and touching segments, then keep the whole bars of each.

    `segments` are Segments or pairs in any order; the result is sorted, disjoint and on the grid.
    Raises `InvalidSegment` and `InvalidTimeframe`.
    """
    grid = grid_of(interval, _whole_seconds(anchor, "anchor"))
    whole = (segment.whole_bars(grid) for segment in _joined(segments))
    return [segment for segment in whole if not segment.is_empty]


def missing_ranges(
    segments: Iterable[Any], window: Any, interval: int | Timeframe, anchor: int = 0
) -> list[Segment]:
    """Whole bars of `window` that `segments` do not hold whole, as sorted segments.

    Raises `InvalidSegment` and `InvalidTimeframe`.
    """
    grid = grid_of(interval, _whole_seconds(anchor, "anchor"))
    bounds = Segment.of(window).whole_bars(grid)
    held = merge_ranges(segments, interval, anchor)
    if bounds.is_empty:
        return []
    clipped = [part for part in (bounds.intersect(segment) for segment in held) if not part.is_empty]
    edges = [Segment(bounds.start, bounds.start), *clipped, Segment(bounds.end, bounds.end)]
    return [Segment(left.end, right.start) for left, right in pairwise(edges) if left.end < right.start]


def join_segments(segments: Iterable[Any]) -> list[Segment]:
    """Overlapping and touching segments as one each, sorted; no grid is asked for."""
    return list(_joined(segments))


def outside(segment: Segment, others: Iterable[tuple[int, int]]) -> list[Segment]:
    """The parts of `segment` that none of `others` (segments or pairs) holds, ascending."""
    left, parts = segment.start, []
    for start, end in sorted(others):
        if end > left and start < segment.end:
            if start > left:
                parts.append(Segment(left, start))
            left = end
    return [*parts, Segment(left, segment.end)] if left < segment.end else parts


def _joined(segments: Iterable[Any]) -> Iterator[Segment]:
    if not isinstance(segments, Iterable):
        raise InvalidSegment(f"{segments!r} is no list of segments", value=segments)
    current: Segment | None = None
    for segment in sorted(s for s in map(Segment.of, segments) if not s.is_empty):
        if current is None or segment.start > current.end:
            if current is not None:
                yield current
            current = segment
        elif segment.end > current.end:
            current = Segment(current.start, segment.end)
    if current is not None:
        yield current


def _whole_seconds(value: Any, name: str) -> int:
    number = whole_number(value)
    if number is None:
        raise InvalidSegment(
            f"{name} is {value!r}, which is not a whole number of epoch seconds", **{name: value}
        )
    return number


def _told(ts: int) -> str:
    """A date, where the number is one."""
    try:
        return seconds_text(ts)
    except OverflowError:
        return str(ts)
