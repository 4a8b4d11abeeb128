"""What bars must be before they are sealed: whoever handed them over, no other bars get into an artifact."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, PRICES, timestamps
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SealRefused


def refuse_unsound(node: NodeId, window: Segment, bars: pa.Table) -> None:
    """Raise `SealRefused` unless bars ascend on the node's grid inside `window`, with finite prices.

    A volume may be unknown (NaN), but never infinite.
    """
    problem = _unsound(node, window, bars)
    if problem is not None:
        raise SealRefused(
            f"{node}: bars of [{seconds_text(window.start)}, {seconds_text(window.end)}) are not sealed, as "
            f"{problem}; the hot store is damaged: restore it, or remove it and materialize again",
            node_id=str(node),
            segment=window,
        )


def _unsound(node: NodeId, window: Segment, bars: pa.Table) -> str | None:
    if not bars.schema.equals(BARS_SCHEMA) or any(column.null_count for column in bars.columns):
        return "their columns are not those of bars"
    ts = timestamps(bars)
    if bool((ts[1:] <= ts[:-1]).any()):
        return "their opens do not ascend"
    if len(ts) and not window.start <= ts[0] <= ts[-1] < window.end:
        outside = ts[(ts < window.start) | (ts >= window.end)]
        return f"one opens outside, at {int(outside[0])} epoch seconds"
    grid = node.timeframe.opens_array(*window)
    if not bool(np.isin(ts, grid, assume_unique=True).all()):
        return "one opens off the grid"
    if not all(bool(np.isfinite(bars.column(name).to_numpy()).all()) for name in PRICES):
        return "a price is not finite"
    return "a volume is infinite" if bool(np.isinf(bars.column("volume").to_numpy()).any()) else None
