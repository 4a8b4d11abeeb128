"""What a read has gathered of its window before it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from seamless_assets.core.bars.table import empty_bars, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Coverage, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef

Source = Literal["artifacts", "storage", "blended", "none"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Bars of `window`, sorted, and what is known of those that are not there."""

    window: Segment
    bars: pa.Table = field(repr=False)
    coverage: Coverage
    flags: Mapping[str, int]
    refs: tuple[ArtifactRef, ...]
    source: Source


def nothing_gathered(node: NodeId, window: Segment) -> Gathered:
    """What is known of a window whose stores did not answer: nothing."""
    whole = coverage_of(node.timeframe, window, timestamps(empty_bars()), ())
    return Gathered(window, empty_bars(), whole, {}, (), "none")
