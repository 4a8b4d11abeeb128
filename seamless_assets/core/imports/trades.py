"""Trades of files as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.columns import OHLCV, read_column
from seamless_assets.core.bars.epochs import in_zone, read_epochs
from seamless_assets.core.bars.frames import column_of
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.bars.trades import bars_of_trades
from seamless_assets.core.calendar.instant import OLDEST_MARKET, zone_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.imports.rows import ReadingOptions, Rows, readable
from seamless_assets.errors import ImportRefused

MAX_TRADES = 50_000_000
_UNITS = (1.0, 1e3, 1e6, 1e9)
_SECONDS_LIMIT = 4.1e9


@dataclass(frozen=True, slots=True)
class _Trades:
    """Trades of one table, all of shape `(trades,)`: whole seconds, finer ones, and ids (None: none)."""

    rows: Rows
    seconds: np.ndarray
    instants: np.ndarray
    prices: np.ndarray
    amounts: np.ndarray
    ids: np.ndarray | None

    def at(self, order: np.ndarray) -> _Trades:
        ids = None if self.ids is None else self.ids[order]
        return _Trades(
            self.rows,
            self.seconds[order],
            self.instants[order],
            self.prices[order],
            self.amounts[order],
            ids,
        )


def bars_of_trade_files(
    tables: Sequence[Rows], timeframe: Timeframe, options: ReadingOptions
) -> tuple[pa.Table, list[Segment], int]:
    """The bars of all trades together, the times that each table is about, and how many trades are left out.

    What is left out lies outside of the window that was named, or, where none was, in the first and the last
    bar, of which the files may hold a part alone. Raises `ImportRefused`.
    """
    if sum(rows.table.num_rows for rows in tables) > MAX_TRADES:
        raise ImportRefused(f"more than {MAX_TRADES} trades at once; import fewer files together")
    read = [_read(rows, options) for rows in tables]
    extents = [_extent(trades) for trades in read]
    every = _joined(read, extents)
    if len(every.seconds) == 0:
        return empty_bars(), extents, 0
    window = options.window or _whole(every.seconds, timeframe)
    is_inside = (every.seconds >= window.start) & (every.seconds < window.end)
    kept = every.at(np.flatnonzero(is_inside))
    bars = bars_of_trades(kept.seconds, kept.prices, kept.amounts, timeframe)
    return bars, extents, int(np.count_nonzero(~is_inside))


def _extent(trades: _Trades) -> Segment:
    seconds = trades.seconds
    return Segment(int(seconds[0]), int(seconds[-1]) + 1) if len(seconds) else Segment(0, 0)


def _whole(seconds: np.ndarray, timeframe: Timeframe) -> Segment:
    """Between the bar of the first trade and that of the last one."""
    start, end = timeframe.shift(int(seconds[0]), 1), timeframe.floor(int(seconds[-1]))
    return Segment(start, max(start, end))


def _read(rows: Rows, options: ReadingOptions) -> _Trades:
    table = readable(rows, options.time_format, ("price", "amount"))
    epochs = read_epochs(column_of(table, "ts"))
    epochs = epochs if options.tz is None else in_zone(epochs, zone_of(options.tz))
    price, amount = (read_column(column_of(table, name), OHLCV["open"]) for name in ("price", "amount"))
    wrong = {
        "no readable ts": ~epochs.readable,
        "a ts before any market, 2009-01-03": epochs.readable & (epochs.seconds < OLDEST_MARKET),
        "a price that is not above zero": ~(price.values > 0),
        "an amount that is below zero or none": ~(amount.values >= 0),
    }
    for what, mask in wrong.items():
        if mask.any():
            at = int(np.flatnonzero(mask)[0])
            raise ImportRefused(
                f"{rows.where}: {int(mask.sum())} trades have {what}, the first is row {at + 1}",
                path=rows.where,
            )
    ids = _ids(table.column("id")) if "id" in table.column_names else None
    trades = _Trades(
        rows, epochs.seconds, _instants(table.column("ts"), epochs.seconds), price.values, amount.values, ids
    )
    if len(trades.seconds) and trades.seconds[0] > trades.seconds[-1]:
        trades = trades.at(np.arange(len(trades.seconds))[::-1])
    return trades.at(np.argsort(trades.instants, kind="stable"))


def _joined(read: Sequence[_Trades], extents: Sequence[Segment]) -> _Trades:
    """Trades of all tables in the order in which they were made, each once."""
    ordered = sorted(zip(extents, read, strict=True), key=lambda pair: pair[0])
    parts = [trades for _, trades in ordered]
    have_ids = all(part.ids is not None for part in parts)
    for (earlier, one), (later, other) in pairwise(ordered):
        if later.start < earlier.end - 1 and not have_ids:
            raise ImportRefused(
                f"{one.rows.where} and {other.rows.where} are about the same time, and their trades have no "
                "ids by which a trade in both is seen; import one of them alone"
            )
    every = _Trades(
        parts[0].rows,
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.instants for part in parts]),
        np.concatenate([part.prices for part in parts]),
        np.concatenate([part.amounts for part in parts]),
        np.concatenate([part.ids for part in parts if part.ids is not None]) if have_ids else None,
    )
    every = every.at(np.argsort(every.instants, kind="stable"))
    return every if every.ids is None else _once(every, every.ids)


def _once(every: _Trades, ids: np.ndarray) -> _Trades:
    """Each trade once, by its id; ids that are numbers order trades of one instant."""
    if ids.dtype.kind in "iu":
        order = np.lexsort((ids, every.instants))
        every, ids = every.at(order), ids[order]
    _, first, same = np.unique(ids, return_index=True, return_inverse=True)
    if len(first) == len(ids):
        return every
    twin = first[same]
    differs = np.logical_or.reduce(
        [values != values[twin] for values in (every.seconds, every.prices, every.amounts)]
    )
    if differs.any():
        raise ImportRefused(f"two different trades have the id {ids[int(np.flatnonzero(differs)[0])]}")
    return every.at(np.sort(first))


def _ids(column: pa.ChunkedArray) -> np.ndarray | None:
    """Ids as integers where they are, else as texts; None where one is missing."""
    if column.null_count:
        return None
    texts = column.cast(pa.large_string()) if not pa.types.is_integer(column.type) else column
    try:
        ids: np.ndarray = texts.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        ids = np.array(texts.to_pylist())
    return ids


def _instants(column: pa.ChunkedArray, seconds: np.ndarray) -> np.ndarray:
    """Seconds as fine as they were told, for the order of trades within one."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return seconds.astype(np.float64)
    values = column.to_numpy().astype(np.float64)
    size = np.abs(values)
    unit = np.select([size <= _SECONDS_LIMIT * unit for unit in _UNITS], _UNITS, 1.0)
    found: np.ndarray = values / unit
    return found
