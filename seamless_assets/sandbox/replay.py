"""Recorded bars served as if the exchange sent them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import BLOCKING
from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.frames import column_names
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidFrame, InvalidInput
from seamless_assets.sandbox.generator import BAR
from seamless_assets.sandbox.market import LISTED, Market

DAY = 86_400
TRADE = np.dtype([("at", "f8"), ("price", "f8"), ("amount", "f8"), ("side", "U4")])


class Replay:
    """Recorded series by symbol and timeframe, and recorded trades.

    A timeframe that was not recorded is made of the coarsest one that was and that it holds whole bars of;
    where there is none, it has no bars.
    """

    def __init__(self) -> None:
        self._series: dict[str, dict[str, np.ndarray]] = {}
        self._trades: dict[str, np.ndarray] = {}

    def add(self, symbol: str, timeframe: str, bars: np.ndarray) -> None:
        """Serve `bars`, a `BAR` array that ascends by `ts` without repeats, for `symbol`.

        Raises `InvalidFrame`, `InvalidTimeframe` and, for a symbol that cannot be traded, `InvalidInput`.
        """
        Market(symbol, 1.0)
        is_bars = isinstance(bars, np.ndarray) and bars.dtype == BAR and bars.ndim == 1
        if not is_bars or not (bars["ts"][1:] > bars["ts"][:-1]).all():
            raise InvalidFrame(f"bars of {symbol} are no BAR array that ascends by ts; sort them first")
        self._series.setdefault(symbol, {})[str(Timeframe(timeframe))] = bars

    def add_trades(self, argument: str) -> None:
        """Serve the trades of a file named as `XRP/ETH=trades.parquet`. Raises `InvalidInput`."""
        symbol, _, path = argument.partition("=")
        if not symbol or not path:
            raise InvalidInput(f"{argument!r} is not SYMBOL=FILE, such as XRP/ETH=trades.parquet")
        self._trades[Market(symbol, 1.0).symbol] = read_trades(Path(path))

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

    def markets(self) -> list[Market]:
        """A market for each symbol that bars were recorded of, listed no later than the first of them."""
        made = []
        for symbol, held in self._series.items():
            firsts = [bars[0] for bars in held.values() if len(bars)]
            listed = min(int(bar["ts"]) for bar in firsts) if firsts else LISTED
            price = float(firsts[0]["open"]) if firsts else 1.0
            made.append(Market(symbol, price, listed=min(LISTED, listed)))
        return made

    @property
    def traded(self) -> tuple[str, ...]:
        """The symbols that trades were recorded of."""
        return tuple(self._trades)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols it holds."""
        return tuple(self._series)

    def series(self, symbol: str, timeframe: Timeframe) -> tuple[np.ndarray, bool]:
        """Bars to serve a timeframe from, and whether they are of that timeframe already.

        No bars where those that were recorded are longer, or none of them lie whole within its own.
        """
        held = self._series[symbol]
        if str(timeframe) in held:
            return held[str(timeframe)], True
        whole = [part for part in map(Timeframe, held) if _is_made_of(timeframe, part)]
        return (held[str(max(whole))] if whole else np.empty(0, dtype=BAR)), False


def read_bars(path: Path) -> np.ndarray:
    """Bars of a Parquet file with ts, open, high, low, close and volume, as a `BAR` array sorted by `ts`.

    Times and numbers may be of any kind that `conform` reads: epochs of any unit, datetimes, dates or texts.
    Raises `InvalidInput` for what is no file, and `InvalidFrame` for what conforming would not let pass.
    """
    wanted = BAR.names or ()
    table, report = conform(_read(path, wanted), None, severities={"non_finite": BLOCKING})
    if report.blocking:
        raise InvalidFrame(f"{path} cannot be replayed: {'; '.join(report.problems)}", path=str(path))
    bars = np.empty(table.num_rows, dtype=BAR)
    for name in wanted:
        bars[name] = table.column(name).to_numpy()
    return bars


def read_trades(path: Path) -> np.ndarray:
    """Trades of a Parquet file with timestamp, price, amount and side, as a `TRADE` array sorted by time.

    `timestamp` is in epoch milliseconds or an Arrow timestamp, `side` is `buy` or `sell`. Raises
    `InvalidInput` for what is no file and `InvalidFrame` for what is no trade.
    """
    table = _read(path, ("timestamp", "price", "amount", "side"))
    trades = np.empty(table.num_rows, dtype=TRADE)
    try:
        time = table.column("timestamp")
        if pa.types.is_timestamp(time.type):
            time = time.cast(pa.timestamp("us", time.type.tz)).cast(pa.int64()).cast(pa.float64())
            trades["at"] = time.to_numpy() / 1e6
        else:
            trades["at"] = time.cast(pa.float64()).to_numpy() / 1e3
        for name in ("price", "amount"):
            trades[name] = table.column(name).cast(pa.float64()).to_numpy()
        trades["side"] = table.column("side").cast(pa.string()).to_numpy(zero_copy_only=False).astype("U4")
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidFrame(f"{path} holds no trades: {error}", path=str(path)) from error
    _refuse_impossible(path, trades)
    # Those of one instant stay as they are; a sort by field would order them by their prices.
    return trades[np.argsort(trades["at"], kind="stable")]


def _refuse_impossible(path: Path, trades: np.ndarray) -> None:
    """Raise `InvalidFrame` where some are no trades; a null is NaN here."""
    rules = {
        "a timestamp that is no time in epoch milliseconds": (trades["at"] >= OLDEST_MARKET)
        & (trades["at"] <= SECONDS_LIMIT),
        "a price that is not above zero": (trades["price"] > 0) & (trades["price"] < np.inf),
        "an amount that is not above zero": (trades["amount"] > 0) & (trades["amount"] < np.inf),
        "a side other than buy and sell": np.isin(trades["side"], ("buy", "sell")),
    }
    for wrong, is_right in rules.items():
        if not is_right.all():
            row = int(np.argmin(is_right))
            raise InvalidFrame(f"{path} cannot be replayed: row {row} has {wrong}", path=str(path), row=row)


def _read(path: Path, wanted: tuple[str, ...]) -> pa.Table:
    if not path.is_file():
        raise InvalidInput(f"{path} is no file; give a Parquet file to replay", path=str(path))
    try:
        file = pq.ParquetFile(path)
        names = column_names(file.schema_arrow.empty_table())
        lacking = [name for name in wanted if name not in names]
        if not lacking:
            return file.read(columns=list(wanted))
    except (pa.ArrowException, OSError) as error:
        raise InvalidFrame(f"{path} is not a Parquet file: {error}", path=str(path)) from error
    there = ", ".join(names) or "no column"
    raise InvalidFrame(f"{path} lacks {', '.join(lacking)}; it has {there}", path=str(path))


def _is_made_of(timeframe: Timeframe, part: Timeframe) -> bool:
    """Whether each bar of a timeframe holds whole bars of another."""
    if part.seconds is None:
        return timeframe.seconds is None and timeframe.approximate_seconds % part.approximate_seconds == 0
    # Months and weeks begin at a midnight.
    length = timeframe.seconds or DAY
    return length % part.seconds == 0 and (timeframe.floor(0) - part.floor(0)) % part.seconds == 0
