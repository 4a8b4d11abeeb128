"""Scans: the bars of adjoining artifacts, with what their manifests say of the bars that are not there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.releases.artifact import Manifest


@dataclass(frozen=True, slots=True)
class Scan:
    """Verified bars of artifacts in ascending order, their gaps (ascending) and conformance flags."""

    bars: pa.Table = field(repr=False)
    gaps: tuple[Gap, ...]
    flags: Mapping[str, int]


def scan_of(manifests: Sequence[Manifest], bars: pa.Table) -> Scan:
    """The scan of adjoining artifacts, of their manifests in order and of their bars together."""
    gaps = _chained(sorted((*manifest.absent, *manifest.missing)) for manifest in manifests)
    return Scan(bars, gaps, _total(manifest.conformance_flags for manifest in manifests))


def gaps_within(gaps: Sequence[Gap], window: Segment) -> tuple[Gap, ...]:
    """What ascending disjoint `gaps` leave open of `window`."""
    first = bisect_right(gaps, window.start, key=lambda gap: gap.end)
    last = bisect_left(gaps, window.end, key=lambda gap: gap.start)
    inside = [] if window.is_empty else list(gaps[first:last])
    if inside:
        inside[0] = Gap(max(inside[0].start, window.start), *inside[0][1:])
        inside[-1] = Gap(inside[-1].start, min(inside[-1].end, window.end), inside[-1].reason)
    return tuple(inside)


def _chained(parts: Iterable[Sequence[Gap]]) -> tuple[Gap, ...]:
    """The gaps of adjoining ranges, one gap where a hole goes on for the same reason."""
    gaps: list[Gap] = []
    for part in parts:
        last = gaps[-1] if gaps else None
        if last and part and last.end == part[0].start and last.reason == part[0].reason:
            gaps[-1] = Gap(last.start, part[0].end, last.reason)
            part = part[1:]
        gaps += part
    return tuple(gaps)


def _total(flags: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for counts in flags:
        total.update(counts)
    return dict(total)
