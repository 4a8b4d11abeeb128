"""One's own Parquet files in the local exchange: read rightly, or refused with the reason."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidFrame, InvalidInput
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import BAR, aggregate
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.replay import Replay, read_bars, read_trades

START = 1_735_689_600  # 2025-01-01
DAY = 86_400
DAYS = [START, START + DAY]
MOMENTS = [datetime.fromtimestamp(ts, UTC) for ts in DAYS]
REST: dict[str, Any] = {"open": [1.0, 1.0], "high": [2.0, 2.0], "low": [0.5, 0.5], "close": [1.5, 1.5]}
REST["volume"] = [3.0, 0.0]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes columns to a Parquet file."""

    def write(**columns: Any) -> Path:
        path = tmp_path / "bars.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        [ts * 1_000 for ts in DAYS],
        [ts * 1_000_000 for ts in DAYS],
        [ts * 10**9 for ts in DAYS],
        [DAYS[0], DAYS[1] * 1_000],
        [float(ts) for ts in DAYS],
        [str(ts) for ts in DAYS],
        ["2025-01-01T00:00:00Z", "2025-01-02"],
        [date(2025, 1, 1), date(2025, 1, 2)],
        pa.array(MOMENTS, pa.timestamp("s")),
        pa.array(MOMENTS, pa.timestamp("ns", "Asia/Tokyo")),
        pa.array([moment.replace(tzinfo=None) for moment in MOMENTS], pa.timestamp("ms")),
        pa.array([date(2025, 1, 1), date(2025, 1, 2)], pa.date64()),
        pa.array(DAYS).dictionary_encode(),
        pa.array(DAYS, pa.uint64()),
        pa.array(DAYS, pa.int64())[::-1],
    ],
    ids=lambda times: str(getattr(times, "type", times)),
)
def test_times_of_any_kind_are_the_same_bars(written: Any, times: Any) -> None:
    bars = read_bars(written(ts=times, **REST))
    assert bars.dtype == BAR and bars["ts"].tolist() == DAYS


@pytest.mark.parametrize(
    "volume",
    [
        [3, 0],
        ["3", "0.0"],
        [Decimal("3.0"), Decimal(0)],
        [True, False],
        pa.array([3.0, 0.0], pa.float32()),
        pa.array([3, 0], pa.uint8()).dictionary_encode(),
        pa.array([Decimal(3), Decimal(0)], pa.decimal256(40, 8)),
    ],
    ids=lambda values: str(getattr(values, "type", values)),
)
def test_numbers_of_any_kind_are_numbers(written: Any, volume: Any) -> None:
    bars = read_bars(written(ts=DAYS, **{**REST, "volume": volume}))
    assert bars["volume"].tolist() in ([3.0, 0.0], [1.0, 0.0])


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("ts", [START, None], "invalid_timestamp: 1"),
        ("ts", [None, None], "invalid_timestamp: 2"),
        ("ts", ["yesterday", "2025-01-02"], "first is 'yesterday'"),
        ("ts", [20250101, 20250102], "before any market"),
        ("ts", [2**63 - 1, START], "invalid_timestamp"),
        ("ts", [True, False], "invalid_timestamp"),
        ("ts", [{"a": 1}, {"a": 2}], "invalid_timestamp"),
        ("open", [1.0, None], "non_finite"),
        ("open", ["one", "1"], "dtype_mismatch"),
        ("open", [[1.0], [1.0]], "dtype_mismatch"),
        ("open", [date(2025, 1, 1), None], "dtype_mismatch"),
        ("volume", [float("nan"), 1.0], "volume 1"),
        ("close", [0.0, 1.5], "non_positive_price"),
        ("high", [0.1, 2.0], "ohlc_inconsistent"),
    ],
)
def test_what_is_no_bar_is_refused_with_the_file_and_the_reason(
    written: Any, column: str, values: Any, reason: str
) -> None:
    path = written(**{"ts": DAYS, **REST, column: values})
    with pytest.raises(InvalidFrame, match=f"(?s)bars.parquet cannot be replayed.*{reason}"):
        read_bars(path)


def test_a_column_that_is_not_there_is_named_beside_those_that_are(written: Any) -> None:
    with pytest.raises(InvalidFrame, match=r"lacks ts, volume; it has Date, open, high, low, close"):
        read_bars(written(Date=DAYS, **{name: REST[name] for name in list(REST)[:-1]}))
    with pytest.raises(InvalidFrame, match="it has no column"):
        read_bars(written())


def test_repeated_columns_and_bars_are_no_riddle(tmp_path: Path, written: Any) -> None:
    table = pa.Table.from_arrays([pa.array(DAYS)] * 7, ["ts", *REST, "ts"])
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(InvalidFrame, match="ts appear twice"):
        read_bars(tmp_path / "twice.parquet")
    bars = read_bars(written(ts=[START, START], **REST))
    assert bars["volume"].tolist() == [0.0], "the last one wins"


def test_a_file_without_rows_is_a_market_without_candles(written: Any) -> None:
    path = written(**{name: pa.array([], pa.float64()) for name in ("ts", *REST)})
    replay = Replay()
    replay.add_file(f"NEW/USDT:1d={path}")
    book = Book(SandboxClock(), replay=replay)
    assert book.markets["NEW/USDT"].price == 1.0
    for frame in ("1m", "1d", "1w", "1M"):
        assert len(book.candles("NEW/USDT", Timeframe(frame), 0, 2**31)) == 0


@pytest.mark.parametrize("make", ["nothing", "a folder", "a pipe", "text", "half a file", "NUL"])
def test_what_is_no_parquet_file_is_refused_at_once(tmp_path: Path, written: Any, make: str) -> None:
    path = tmp_path / "odd"
    if make == "a folder":
        path.mkdir()
    elif make == "a pipe":
        os.mkfifo(path)
    elif make == "text":
        path.write_text("ts,open\n1,2\n")
    elif make == "half a file":
        whole = written(ts=DAYS, **REST).read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + whole[-8:])
    elif make == "NUL":
        path = Path("a\0b")
    for read in (read_bars, read_trades):
        with pytest.raises(InvalidInput, match="no file" if make not in ("text", "half a file") else "not a"):
            read(path)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("BTC/USD", "SYMBOL:TIMEFRAME=FILE"),
        ("=x", "SYMBOL:TIMEFRAME=FILE"),
        ("BTC:1m={}", "BASE/QUOTE"),
        ("BTC/USD:1q={}", "not a timeframe"),
        ("BTC/USDT:USDT-251226-100000-C:1m={}", "option"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(written: Any, argument: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Replay().add_file(argument.format(written(ts=DAYS, **REST)))


@pytest.mark.parametrize(
    "bars",
    [
        np.zeros(2, dtype=BAR),
        np.zeros(3),
        [(START, 1, 1, 1, 1, 1)],
        np.array([(START + 60, 1, 1, 1, 1, 1), (START, 1, 1, 1, 1, 1)], dtype=BAR),
    ],
    ids=["repeats", "floats", "list", "descending"],
)
def test_bars_in_another_order_or_shape_are_refused(bars: Any) -> None:
    with pytest.raises(InvalidFrame, match="ascends by ts"):
        Replay().add("A/B", "1m", bars)


def steady(step: int, count: int) -> np.ndarray:
    bars = np.ones(count, dtype=BAR)
    bars["ts"] = START + step * np.arange(count)
    return bars


@pytest.mark.parametrize(
    ("recorded", "asked", "source"),
    [
        (("1m", "1h"), "1d", "1h"),
        (("1m", "1h"), "5m", "1m"),
        (("1h",), "1m", None),
        (("1d",), "1w", "1d"),
        (("1w",), "1M", None),
        (("5d",), "1M", None),
        (("3d",), "1w", None),
        (("1w",), "1d", None),
        (("1h", "1d"), "1M", "1d"),
        (("7h",), "1d", None),
        (("1M",), "1y", "1M"),
        (("1y",), "1M", None),
    ],
)
def test_coarser_bars_are_made_of_whole_recorded_ones_or_not_at_all(
    recorded: tuple[str, ...], asked: str, source: str | None
) -> None:
    replay, made = Replay(), {}
    for frame in recorded:
        made[frame] = steady(Timeframe(frame).approximate_seconds, 40)
        replay.add("A/B", frame, made[frame])
    book = Book(SandboxClock(START + 3_000 * DAY), replay=replay)
    served = book.candles("A/B", Timeframe(asked), START - 400 * DAY, START + 2_000 * DAY)
    expected = aggregate(made[source], Timeframe(asked)) if source else np.empty(0, dtype=BAR)
    assert served["ts"].tolist() == expected["ts"].tolist()
    assert served["volume"].sum() == (40 if source else 0)


def test_a_replayed_market_is_listed_with_its_first_bar() -> None:
    replay = Replay()
    bars = steady(DAY, 3)
    bars["ts"] -= 4_000 * DAY
    bars["open"] = 7.0
    replay.add("OLD/USD", "1d", bars)
    market = Book(SandboxClock(), replay=replay).markets["OLD/USD"]
    assert (market.listed, market.price) == (START - 4_000 * DAY, 7.0)


TRADES: dict[str, Any] = {
    "timestamp": [START * 1_000 + 500, START * 1_000],
    "price": [2.0, 1.0],
    "amount": [0.5, 0.25],
    "side": ["sell", "buy"],
}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"timestamp": pa.array([START * 1_000 + 500, START * 1_000], pa.timestamp("ms"))},
        {"timestamp": pa.array([(START * 1_000 + 500) * 10**6, START * 10**9], pa.timestamp("ns", "UTC"))},
        {"timestamp": [str(START * 1_000 + 500), str(START * 1_000)]},
        {"price": ["2", "1"], "amount": [Decimal("0.5"), Decimal("0.25")]},
        {"side": pa.array(["sell", "buy"]).dictionary_encode()},
    ],
    ids=["as is", "ms", "ns", "texts", "decimals", "dictionary"],
)
def test_recorded_trades_come_in_order(written: Any, changed: dict[str, Any]) -> None:
    trades = read_trades(written(**{**TRADES, **changed}))
    assert trades.tolist() == [(START, 1.0, 0.25, "buy"), (START + 0.5, 2.0, 0.5, "sell")]


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("timestamp", [START, START], "epoch milliseconds"),
        ("timestamp", [START * 10**6, None], "epoch milliseconds"),
        ("timestamp", [START * 1_000, None], "row 1 has a timestamp"),
        ("timestamp", ["yesterday", "today"], "holds no trades"),
        ("timestamp", [[1], [2]], "holds no trades"),
        ("price", [0.0, 1.0], "row 0 has a price"),
        ("price", [1.0, float("inf")], "row 1 has a price"),
        ("amount", [1.0, None], "row 1 has an amount"),
        ("amount", [-1.0, 1.0], "row 0 has an amount"),
        ("side", ["buy", None], "row 1 has a side"),
        ("side", ["B", "S"], "row 0 has a side"),
        ("side", [1, 2], "row 0 has a side"),
    ],
)
def test_what_is_no_trade_is_refused_with_its_row(
    written: Any, column: str, values: Any, reason: str
) -> None:
    with pytest.raises(InvalidFrame, match=reason):
        read_trades(written(**{**TRADES, column: values}))


def test_trades_of_no_market_are_refused(written: Any) -> None:
    replay = Replay()
    replay.add_trades(f"NEW/USD={written(**TRADES)}")
    with pytest.raises(InvalidInput, match="NEW/USD are replayed, but it is no market"):
        Book(SandboxClock(), replay=replay)
    Book(SandboxClock(), markets=[Market("NEW/USD", 1.0)], replay=replay)


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("BTC/USDT:USDT-251226-100000-C", "is an option"),
        ("BTC/USD:BTC-251226-100000-P", "is an option"),
        ("BTC/USD:BTC", "settles in BTC"),
        ("BTC/USD:BTC-251226", "settles in BTC"),
        ("BTC/USDT:USDT-251340", "no day"),
        ("BTC/USDT:USDT-26DEC25", "not of the form"),
        ("BTC/USDT:USDT-251226-", "not of the form"),
        ("BTC/USDT:", "not of the form"),
        ("BTC", "not of the form"),
        ("/USDT", "not of the form"),
        ("A/B/C", "not of the form"),
        ("A B/C", "not of the form"),
        ("A\0/B", "not of the form"),
        ("\x1b[2J/B", "not of the form"),
        ("", "not of the form"),
        (None, "not of the form"),
        (7, "not of the form"),
    ],
)
def test_a_symbol_that_cannot_be_traded_here_is_refused(symbol: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Market(symbol, 1.0)


@pytest.mark.parametrize("symbol", ["1000PEPE/USDT", "USDC.e/USDT", "币/USDT", "A$&%?#=/USD", "X-Y/USD"])
def test_odd_symbols_are_served(symbol: str) -> None:
    book = Book(SandboxClock(START), markets=[Market(symbol, 5.0)])
    market = book.markets[symbol]
    assert f"{market.base}/{market.quote}" == symbol and not market.is_swap and market.expiry is None
    assert len(book.candles(symbol, Timeframe("1m"), START - 3_600, START)) == 60


def test_kinds_of_contracts_are_kept_apart() -> None:
    swap, future = Market("BTC/USDT:USDT", 1.0), Market("BTC/USDT:USDT-251226", 1.0)
    assert swap.is_swap and swap.expiry is None
    assert not future.is_swap and future.expiry == datetime(2025, 12, 26, 8, tzinfo=UTC)
    assert (future.base, future.quote) == ("BTC", "USDT")
