"""Reads of separate windows of one node as one read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.reading.context import Verdict
from seamless_assets.core.reading.result import ReadMetadata, ReadResult

NOT_REQUESTED = "not requested"
"""Why there are no bars between two windows."""
_VERDICTS: tuple[Verdict, ...] = ("PASS", "PARTIAL", "HOLD", "REJECT")


def join_results(timeframe: Timeframe, results: Sequence[ReadResult]) -> ReadResult:
    """One read of ascending windows, with the worst of their verdicts.

    What lies between them is among its gaps, and is not counted in its coverage.
    """
    if len(results) == 1:
        return results[0]
    reads = [result.metadata for result in results]
    rows = sum(read.rows for read in reads)
    missing = sum(_missing(timeframe, read) for read in reads)
    bounds = [read.coverage_bounds for read in reads if read.coverage_bounds]
    between = [Gap(left.end, right.start, NOT_REQUESTED) for left, right in pairwise(reads)]
    flags: Counter[str] = Counter()
    for read in reads:
        flags.update(read.conformance_flags)
    metadata = replace(
        reads[-1],
        start=reads[0].start,
        rows=rows,
        coverage_bounds=(bounds[0][0], bounds[-1][1]) if bounds else None,
        coverage_ratio=rows / (rows + missing) if rows + missing else 1.0,
        gaps=tuple(sorted((*between, *(gap for read in reads for gap in read.gaps)))),
        conformance_flags=dict(flags),
        requested_as_of=reads[0].requested_as_of,
        manifest_uris=tuple(dict.fromkeys(uri for read in reads for uri in read.manifest_uris)),
        verdict=max((read.verdict for read in reads), key=_VERDICTS.index),
        reasons=tuple(dict.fromkeys(reason for read in reads for reason in read.reasons)),
    )
    return ReadResult(pa.concat_tables([result.bars for result in results]), metadata)


def _missing(timeframe: Timeframe, read: ReadMetadata) -> int:
    return sum(timeframe.count(gap.start, gap.end) for gap in read.gaps if gap.reason == MISSING)
