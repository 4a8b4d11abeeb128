"""Recorded bars served as if the exchange sent them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidFrame, InvalidInput
from seamless_assets.sandbox.generator import BAR

TRADE = np.dtype([("at", "f8"), ("price", "f8"), ("amount", "f8"), ("side", "U4")])


class Replay:
    """Recorded series by symbol and timeframe, and recorded trades.

    A timeframe that was not recorded is made of the coarsest one that was and that it holds whole bars of.
    """

    def __init__(self) -> None:
        self._series: dict[str, dict[str, np.ndarray]] = {}
        self._trades: dict[str, np.ndarray] = {}

    def add(self, symbol: str, timeframe: str, bars: np.ndarray) -> None:
        """Serve `bars` (a `BAR` array, sorted by `ts`) for `symbol`."""
        self._series.setdefault(symbol, {})[str(Timeframe(timeframe))] = bars

    def add_trades(self, argument: str) -> None:
        """Serve the trades of a file named as `XRP/ETH=trades.parquet`. Raises `InvalidInput`."""
        symbol, _, path = argument.partition("=")
        if not symbol or not path:
            raise InvalidInput(f"{argument!r} is not SYMBOL=FILE, such as XRP/ETH=trades.parquet")
        self._trades[symbol] = read_trades(Path(path))

    def trades(self, symbol: str) -> np.ndarray | None:
        """The recorded trades of a symbol, a `TRADE` array sorted by time; None where there are none."""
        return self._trades.get(symbol)

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
        parts = sorted(map(Timeframe, held))
        whole = [part for part in parts if timeframe.approximate_seconds % part.approximate_seconds == 0]
        return held[str((whole or parts)[-1])], False


def read_bars(path: Path) -> np.ndarray:
    """Bars of a Parquet file with ts, open, high, low, close, volume; `ts` in epoch seconds."""
    table = _read(path, BAR.names or ())
    bars = np.empty(table.num_rows, dtype=BAR)
    for name in BAR.names or ():
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("s")).cast(pa.int64())
        bars[name] = column.to_numpy()
    return np.sort(bars, order="ts")


def read_trades(path: Path) -> np.ndarray:
    """Trades of a Parquet file with timestamp (epoch ms), price, amount, side, as a `TRADE` array."""
    table = _read(path, ("timestamp", "price", "amount", "side"))
    trades = np.empty(table.num_rows, dtype=TRADE)
    trades["at"] = table.column("timestamp").to_numpy() / 1000
    for name in ("price", "amount"):
        trades[name] = table.column(name).to_numpy()
    trades["side"] = table.column("side").to_pylist()
    return np.sort(trades, order="at", kind="stable")


def _read(path: Path, wanted: tuple[str, ...]) -> pa.Table:
    if not path.is_file():
        raise InvalidInput(f"{path} is no file; give a Parquet file to replay")
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise InvalidFrame(f"{path} is not a Parquet file: {error}") from error
    lacking = [name for name in wanted if name not in table.column_names]
    if lacking:
        raise InvalidFrame(f"{path} lacks {', '.join(lacking)}; it has {', '.join(table.column_names)}")
    return table
