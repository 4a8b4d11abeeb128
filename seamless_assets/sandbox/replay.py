"""Recorded bars served as if the exchange sent them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seamless_assets.core.timeframe import Timeframe
from seamless_assets.errors import InvalidFrame, InvalidInput
from seamless_assets.sandbox.generator import BAR


class Replay:
    """Recorded series by symbol and timeframe. Coarser ones are made of the finest where not recorded."""

    def __init__(self) -> None:
        self._series: dict[str, dict[str, np.ndarray]] = {}

    def add(self, symbol: str, timeframe: str, bars: np.ndarray) -> None:
        """Serve `bars` (a `BAR` array, sorted by `ts`) for `symbol`."""
        self._series.setdefault(symbol, {})[str(Timeframe(timeframe))] = bars

    def add_file(self, argument: str) -> str:
        """Serve a file named as `BTC/USD:1m=path.parquet`; returns the symbol. Raises `InvalidInput`."""
        series, _, path = argument.partition("=")
        symbol, _, timeframe = series.rpartition(":")
        if not symbol or not path:
            raise InvalidInput(f"{argument!r} is not SYMBOL:TIMEFRAME=FILE, such as BTC/USD:1m=bars.parquet")
        self.add(symbol, timeframe, read_bars(Path(path)))
        return symbol

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols it holds."""
        return tuple(self._series)

    def series(self, symbol: str, timeframe: Timeframe) -> tuple[np.ndarray, bool]:
        """Bars to serve a timeframe from, and whether they are of that timeframe already."""
        held = self._series[symbol]
        if str(timeframe) in held:
            return held[str(timeframe)], True
        finest = min(held, key=lambda text: Timeframe(text).approximate_seconds)
        return held[finest], False


def read_bars(path: Path) -> np.ndarray:
    """Bars of a Parquet file with ts, open, high, low, close, volume; `ts` in epoch seconds."""
    if not path.is_file():
        raise InvalidInput(f"{path} is no file; give a Parquet file of bars to replay")
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise InvalidFrame(f"{path} is not a Parquet file: {error}") from error
    lacking = [name for name in BAR.names or () if name not in table.column_names]
    if lacking:
        raise InvalidFrame(f"{path} lacks {', '.join(lacking)}; it has {', '.join(table.column_names)}")
    bars = np.empty(table.num_rows, dtype=BAR)
    for name in BAR.names or ():
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("s")).cast(pa.int64())
        bars[name] = column.to_numpy()
    return np.sort(bars, order="ts")
