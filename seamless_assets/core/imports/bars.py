"""The bars of one node that files or frames hold, of candles or of trades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.flags import flat_bars
from seamless_assets.core.bars.table import timestamps, within
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import bars_of
from seamless_assets.core.imports.candles import bars_of_candles, merged
from seamless_assets.core.imports.rows import ReadingOptions, Rows, Source
from seamless_assets.core.imports.trades import bars_of_trade_files
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ImportRefused

_FEW = 30
"""Of fewer bars nothing is said by how far apart they lie."""


@dataclass(frozen=True, slots=True)
class ImportedBars:
    """Bars of files (`BARS_SCHEMA`, sorted) and the window, in whole bars, that the files are about.

    `rows` and `flags` count rows of the files; `left_out` are those that lie outside of the window, and of
    trades without one those in the first and last bar. `extents` says of which times each file has bars,
    `quiet` where flat bars without volume stood that count as none. `is_of_trades`: bars are made of trades.
    """

    bars: pa.Table
    window: Segment
    flags: Mapping[str, int]
    rows: int
    left_out: int
    extents: tuple[tuple[Source, Segment], ...]
    quiet: tuple[Segment, ...] = ()
    is_of_trades: bool = False

    def sources_of(self, part: Segment) -> list[Source]:
        """The files that have bars in `part`."""
        return list(dict.fromkeys(one for one, held in self.extents if not held.intersect(part).is_empty))


def imported_bars(
    node: NodeId,
    tables: Sequence[Rows],
    options: ReadingOptions,
    severities: Mapping[str, str],
    *,
    drops_flat_bars: bool = False,
) -> ImportedBars:
    """The bars of a node in all tables together; `drops_flat_bars`: those say that nobody traded.

    Raises `ImportRefused` for what cannot be bars of the node and where tables contradict each other.
    """
    frame = node.timeframe
    flags: Counter[str] = Counter()
    if options.is_trades:
        bars, spans, left_out = bars_of_trade_files(tables, frame, options)
        inside = bars
    else:
        parts = []
        for rows in tables:
            part, found = bars_of_candles(rows, frame, options, severities)
            parts.append(part)
            flags.update(found)
        bars, repeated = merged(parts, [rows.where for rows in tables])
        if repeated:
            flags["duplicate_ts"] += repeated
        spans = [_span(node, part) for part in parts]
        inside = within(bars, *options.window) if options.window else bars
        left_out = bars.num_rows - inside.num_rows
    if inside.num_rows == 0:
        raise ImportRefused(_nothing(node, tables, options), node_id=str(node))
    _refuse_coarser(node, timestamps(inside))
    window = options.window.whole_bars(frame.grid) if options.window else _span(node, inside)
    named = [(rows.source, span) for rows, span in zip(tables, spans, strict=True) if not span.is_empty]
    is_flat = flat_bars(inside) if drops_flat_bars else np.zeros(inside.num_rows, dtype=bool)
    return ImportedBars(
        bars=(inside.filter(pa.array(~is_flat)) if is_flat.any() else inside).combine_chunks(),
        window=window,
        flags=dict(flags),
        rows=sum(rows.table.num_rows for rows in tables),
        left_out=left_out,
        extents=tuple(named),
        quiet=tuple(bars_of(timestamps(inside)[is_flat], frame)),
        is_of_trades=options.is_trades,
    )


def _span(node: NodeId, bars: pa.Table) -> Segment:
    if bars.num_rows == 0:
        return Segment(0, 0)
    opens = timestamps(bars)
    return Segment(int(opens[0]), node.timeframe.shift(int(opens[-1]), 1))


def _nothing(node: NodeId, tables: Sequence[Rows], options: ReadingOptions) -> str:
    names = ", ".join(dict.fromkeys(rows.where for rows in tables))
    if options.window:
        when = f" from {seconds_text(options.window.start)} to {seconds_text(options.window.end)}"
    else:
        when = " between its first and its last bar; name the window it is whole for" * options.is_trades
    return f"{names}: no bar of {node}{when}"


def _refuse_coarser(node: NodeId, opens: np.ndarray) -> None:
    """Raise `ImportRefused` where bars lie as far apart as those of a coarser timeframe."""
    step = node.timeframe.seconds
    if step is None or len(opens) < _FEW:
        return
    apart = reduce(gcd, np.unique(np.diff(opens)).tolist())
    if apart > step:
        raise ImportRefused(
            f"its bars lie {apart} seconds apart or a multiple of that, as those of a coarser timeframe than "
            f"that of {node} do; import them as that one",
            node_id=str(node),
            seconds=apart,
        )
