"""What a derived artifact was made of, and which of its bars that explains.

The manifest lists the inputs. Whether something is to be derived anew is decided by their content: the bars
that were read, and what was known of those that were not there. Who released them when, in which files,
decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import canonical_json, sha256_text
from seamless_assets.core.coverage.coverage import MISSING, Gap, holes
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
    timeframe: Timeframe, window: Segment, opens: np.ndarray, inputs: Sequence[DerivationInput]
) -> tuple[Gap, ...]:
    """What of `window` is not among the sorted `opens` of derived bars, and why; ascending, disjoint.

    A bar is absent, for the reason that the first input gives, where every input proves all of its time
    absent; else it is missing.
    """
    absent = [[gap for gap in one.gaps if gap.reason != MISSING] for one in inputs]
    found = []
    for hole in holes(timeframe, window, opens):
        for start in timeframe.opens_array(*hole).tolist():
            bar = Segment(start, timeframe.shift(start, 1))
            reasons = [_reason(gaps, bar) for gaps in absent]
            known = reasons[0] if reasons and all(reasons) else None
            found.append(Gap(*bar, known or MISSING))
    return tuple(_joined(found))


def _reason(gaps: Sequence[Gap], bar: Segment) -> str | None:
    """The reason of the first of the gaps that leave nothing of a bar's time; None where some is left."""
    at, reason = bar.start, None
    for gap in gaps:
        if gap.start <= at < gap.end:
            reason = reason or gap.reason
            at = gap.end
        if at >= bar.end:
            return reason
    return None


def _joined(gaps: Iterable[Gap]) -> list[Gap]:
    """Gaps of which none goes on where the one before it ends for the same reason."""
    joined: list[Gap] = []
    for gap in gaps:
        if joined and joined[-1].end == gap.start and joined[-1].reason == gap.reason:
            joined[-1] = Gap(joined[-1].start, gap.end, gap.reason)
        else:
            joined.append(gap)
    return joined
