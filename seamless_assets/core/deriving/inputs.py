"""What a derived artifact was made of, and which of its bars that explains.

The manifest lists the inputs. Whether something is to be derived anew is decided by their content: the bars
that were read, and what was known of those that were not there. Who released them when, in which files,
decides nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import canonical_json, sha256_text
from seamless_assets.core.coverage.coverage import MISSING, RETENTION, Gap, holes
from seamless_assets.core.deriving.recipes import UNKNOWN
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import InputVersion
from seamless_assets.core.releases.fingerprint import fingerprint


@dataclass(frozen=True, slots=True)
class DerivationInput:
    """One input as it was read: its version, and its ascending disjoint gaps."""

    version: InputVersion
    gaps: Sequence[Gap] = field(repr=False)

    @classmethod
    def of(
        cls,
        node: NodeId,
        window: Segment,
        bars: pa.Table,
        gaps: Sequence[Gap],
        *,
        conformance_version: str,
        as_of: str,
        dataset_fingerprint: str,
    ) -> DerivationInput:
        """The input whose `bars` of `window` were read from a release, `gaps` being what was not there."""
        version = InputVersion(
            node_id=str(node),
            start=window.start,
            end=window.end,
            rows=bars.num_rows,
            fingerprint=fingerprint(
                bars, node_id=node, interval=node.timeframe, conformance_version=conformance_version
            ),
            gaps=sha256_text(canonical_json({"gaps": [list(gap) for gap in _joined(gaps)]})),
            as_of=as_of,
            dataset_fingerprint=dataset_fingerprint,
        )
        return cls(version, tuple(gaps))


def derived_gaps(
    timeframe: Timeframe,
    window: Segment,
    opens: np.ndarray,
    inputs: Sequence[DerivationInput],
    *,
    needs_all: bool = False,
    held_bars: int = 0,
) -> tuple[Gap, ...]:
    """What of `window` is not among the sorted `opens` of derived bars, and why; ascending, disjoint.

    A bar is absent, for the reason that the first input gives, where every input proves all of its time
    absent; out of retention where any part of that is. Where a bar `needs_all` inputs it is absent too where
    one of them proves all of its time absent and nothing of the others is unknown; if the last of an input's
    `held_bars` before it may stand in, only where nothing of these is unknown either. Else it is missing.
    """
    found = []
    for hole in holes(timeframe, window, opens):
        for start in timeframe.opens_array(*hole).tolist():
            bar = Segment(start, timeframe.shift(start, 1))
            gaps = [_gaps_of(one, bar) for one in inputs]
            before = Segment(timeframe.shift(start, -held_bars), start)
            reason = _lacked_by_one(inputs, gaps, bar, before) if needs_all else None
            found.append(Gap(*bar, reason or _lacked_by_all(gaps, bar) or MISSING))
    return tuple(_joined(found))


def _gaps_of(one: DerivationInput, bar: Segment) -> list[Gap]:
    """What of a bar's time an input does not have; outside of what was read of it nothing is known."""
    first = bisect_right(one.gaps, bar.start, key=lambda gap: gap.end)
    end = bisect_left(one.gaps, bar.end, key=lambda gap: gap.start)
    unread = [Gap(*part, MISSING) for part in outside(bar, [Segment(one.version.start, one.version.end)])]
    return sorted([*one.gaps[first:end], *unread])


def _lacked_by_one(
    inputs: Sequence[DerivationInput], gaps: Sequence[Sequence[Gap]], bar: Segment, before: Segment
) -> str | None:
    """The reason of the first input that proves a bar absent; None where anything of the bar is unknown.

    Or of that input `before` it. `gaps` are those of the inputs in the bar.
    """
    if any(_is_unknown(own) for own in gaps):
        return None
    for one, own in zip(inputs, gaps, strict=True):
        if (reason := _reason(own, bar)) and not _is_unknown(_gaps_of(one, before)):
            return reason
    return None


def _is_unknown(gaps: Sequence[Gap]) -> bool:
    return any(gap.reason in UNKNOWN for gap in gaps)


def _lacked_by_all(inputs: Sequence[Sequence[Gap]], bar: Segment) -> str | None:
    """Why every input lacks all of a bar's time; None where any does not."""
    reasons = [_reason(gaps, bar) for gaps in inputs]
    if not reasons or not all(reasons):
        return None
    return RETENTION if RETENTION in reasons else reasons[0]


def _reason(gaps: Sequence[Gap], bar: Segment) -> str | None:
    """Why all of a bar's time is absent; None where some of it is there or missing.

    That of the first gap, unless there may have been bars in another.
    """
    if any(gap.reason == MISSING for gap in gaps) or outside(bar, [gap.segment for gap in gaps]):
        return None
    return RETENTION if any(gap.reason == RETENTION for gap in gaps) else gaps[0].reason


def _joined(gaps: Iterable[Gap]) -> list[Gap]:
    """Gaps of which none goes on where the one before it ends for the same reason."""
    joined: list[Gap] = []
    for gap in gaps:
        if joined and joined[-1].end == gap.start and joined[-1].reason == gap.reason:
            joined[-1] = Gap(joined[-1].start, gap.end, gap.reason)
        else:
            joined.append(gap)
    return joined
