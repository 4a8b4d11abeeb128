"""Equal bars, equal fingerprints, and nothing else."""

from __future__ import annotations

import hashlib
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.frames import plain_cells
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.errors import InvalidFrame, InvalidInput, InvalidNodeId, InvalidTimeframe

START = 1_735_689_600
NODE = "ohlcv:binance:BTC/USDT:1m"
GOLDEN = "sha256:e238b02cf659f9ba904adeb11821713cf56816ca326de19a889985c532af135a"


def bars(rows: int = 4) -> pd.DataFrame:
    steps = np.arange(rows)
    return pd.DataFrame(
        {
            "ts": START + 60 * steps,
            "open": 10.0 + steps,
            "high": 12.0 + steps,
            "low": 9.5 + steps,
            "close": 11.25 + steps,
            "volume": 0.0 + steps,
        }
    )


def of(frame: Any, **changed: Any) -> str:
    return fingerprint(frame, **{"node_id": NODE, "interval": 60, **changed})


def by_hand_header(rows: int, interval: str = "60", version: str = "v2") -> bytes:
    types = "ts:int64,open:float64,high:float64,low:float64,close:float64,volume:float64"
    parts = (NODE, interval, version, types, str(rows))
    return b"seamless-assets bars 1\n" + b"".join(f"{len(part)}:{part}".encode() for part in parts)


def by_hand(rows: list[tuple[Any, ...]], interval: str = "60", version: str = "v2") -> str:
    """The published form, byte by byte."""
    payload = by_hand_header(len(rows), interval, version)
    ordered = sorted(rows)
    payload += b"".join(struct.pack("<q", row[0]) for row in ordered)
    for column in range(1, 6):
        for row in ordered:
            value = row[column]
            payload += bytes.fromhex("000000000000f87f") if value != value else struct.pack("<d", value + 0.0)
    return f"sha256:{hashlib.sha256(payload).hexdigest()}"


def test_the_form_is_the_published_one() -> None:
    frame = bars()
    assert of(frame) == by_hand([tuple(row) for row in frame.itertuples(index=False)])
    assert of(frame.iloc[:0]) == by_hand([])


@pytest.mark.parametrize("rows", [131_071, 131_072, 131_073, 262_144])
def test_long_bars_hash_as_short_ones_do(rows: int) -> None:
    """However many parts they are hashed in, an odd value counts and an infinity is found in the last one."""
    frame = bars(rows)
    frame.loc[rows - 1, "volume"], frame.loc[rows - 2, "open"] = -0.0, np.nan
    columns = [frame[name].to_numpy() + (0.0 if name != "ts" else 0) for name in COLUMNS]
    header = by_hand_header(rows)
    expected = (
        f"sha256:{hashlib.sha256(header + b''.join(column.tobytes() for column in columns)).hexdigest()}"
    )
    shuffled = frame.sample(frac=1, random_state=1)
    assert of(frame) == of(shuffled) == of(pa.Table.from_pandas(shuffled, preserve_index=False)) == expected
    with pytest.raises(InvalidFrame, match="volume holds infinities"):
        of(frame.assign(volume=np.where(frame["ts"] == frame["ts"].max(), np.inf, 1.0)))


def test_the_form_never_changes() -> None:
    assert of(bars()) == GOLDEN


@given(
    st.dictionaries(
        st.integers(-(10**9), 4 * 10**9),
        st.tuples(*[st.floats(allow_infinity=False)] * 5),
        max_size=8,
    ),
    st.randoms(),
)
def test_any_bars_in_any_order_hash_as_written_by_hand(rows: dict[int, Any], random: Any) -> None:
    shuffled = [(ts, *values) for ts, values in rows.items()]
    random.shuffle(shuffled)
    frame = (
        pd.DataFrame(shuffled, columns=list(COLUMNS))
        .astype({"ts": "int64"})
        .astype(dict.fromkeys(COLUMNS[1:], "float64"))
    )
    expected = by_hand(shuffled)
    assert of(frame) == expected
    assert of(pa.Table.from_pandas(frame, preserve_index=False)) == expected


def same_bars() -> dict[str, Any]:
    frame = bars()
    import polars

    times = pd.to_datetime(frame["ts"], unit="s", utc=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return {
        "reversed": frame.iloc[::-1],
        "odd index": frame.set_index(pd.Index([5, 5, 6, 6])),
        "columns in another order": frame[list(reversed(COLUMNS))],
        "other columns": frame.assign(trades=7, note="x"),
        "float32": frame.astype(dict.fromkeys(COLUMNS[1:], "float32")),
        "integers": frame.astype({"open": "int64", "volume": "uint8"}),
        "nullable": frame.astype({"ts": "Int64", "open": "Float64", "volume": "Int64"}),
        "arrow-backed": frame.astype("float64[pyarrow]").astype({"ts": "int64[pyarrow]"}),
        "decimals": frame.assign(close=[Decimal(str(value)) for value in frame["close"]]),
        "int32 ts": frame.astype({"ts": "int32"}),
        "ms": frame.assign(ts=frame["ts"] * 1000),
        "ns": frame.assign(ts=frame["ts"] * 10**9),
        "float ts": frame.astype({"ts": "float64"}),
        "utc": frame.assign(ts=times),
        "seoul": frame.assign(ts=times.dt.tz_convert("Asia/Seoul")),
        "naive": frame.assign(ts=times.dt.tz_localize(None).astype("datetime64[ms]")),
        "index": frame.set_index("ts"),
        "time index": frame.drop(columns="ts").set_index(pd.DatetimeIndex(times, name="ts")),
        "negative zero": frame.replace({"volume": {0.0: -0.0}}),
        "big-endian": frame.assign(open=frame["open"].to_numpy().astype(">f8")),
        "arrow": table,
        "arrow chunks": pa.concat_tables([table.slice(2), table.slice(0, 2)]),
        "arrow timestamps": table.set_column(
            0, "ts", table["ts"].cast(pa.timestamp("s")).cast(pa.timestamp("us", "UTC"))
        ),
        "arrow decimal": table.set_column(1, "open", table["open"].cast(pa.decimal128(12, 4))),
        "arrow integers": table.set_column(1, "open", table["open"].cast(pa.int64())),
        "arrow ms": table.set_column(0, "ts", pc.multiply(table["ts"], 1000)),
        "arrow float ts": table.set_column(0, "ts", table["ts"].cast(pa.float64())),
        "polars": polars.from_pandas(frame),
    }


def test_the_same_bars_in_any_dress_have_one_fingerprint() -> None:
    assert {name: of(frame) for name, frame in same_bars().items()} == dict.fromkeys(same_bars(), of(bars()))


def test_plain_cells_of_arrow_are_hashed_where_they_lie() -> None:
    table = pa.Table.from_pandas(bars(), preserve_index=False)
    for name in COLUMNS:
        cells = plain_cells(table, name)
        assert cells is not None
        assert cells.ctypes.data == table[name].chunk(0).buffers()[1].address
    lacking = table.set_column(1, "open", pa.array([1.0, None, 3.0, 4.0]))
    assert plain_cells(lacking, "open") is None
    assert plain_cells(table.set_column(4, "close", table["close"].cast(pa.float32())), "close") is None
    assert plain_cells(bars(), "open") is None


def test_a_null_is_a_nan_and_there_is_one_nan() -> None:
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], dtype="uint64").view("float64")
    expected = of(bars().assign(open=[1.0, np.nan, np.nan, 2.0]))
    assert of(bars().assign(open=[1.0, odd[0], odd[1], 2.0])) == expected
    assert of(bars().assign(open=pd.array([1.0, None, None, 2.0], dtype="Float64"))) == expected
    assert of(bars().assign(open=pd.Series([1, None, None, 2], dtype=object))) == expected
    arrow = pa.Table.from_pandas(bars(), preserve_index=False)
    assert of(arrow.set_column(1, "open", pa.array([1.0, None, None, 2.0]))) == expected
    assert of(bars().assign(open=pd.Series([None] * 4, dtype=object))) == of(bars().assign(open=np.nan))


@pytest.mark.parametrize(
    "changed",
    [
        {"node_id": "ohlcv:binance:BTC/USDT:5m"},
        {"node_id": "ohlcv:binance:ETH/USDT:1m"},
        {"interval": 300},
        {"interval": Timeframe("1M")},
        {"conformance_version": "v3"},
    ],
)
def test_every_part_of_the_header_counts(changed: dict[str, Any]) -> None:
    assert of(bars(), **changed) != of(bars())


def test_every_cell_counts() -> None:
    seen = {of(bars()), of(bars().iloc[:3]), of(bars(5))}
    for column in COLUMNS:
        for row in range(4):
            frame = bars()
            frame.loc[row, column] = frame[column].max() + (600 if column == "ts" else 1.5)
            seen.add(of(frame))
    swapped = bars().rename(columns={"open": "high", "high": "open"})
    assert len(seen | {of(swapped)}) == 3 + 24 + 1


@pytest.mark.parametrize("interval", [60, np.int32(60), Timeframe("1m"), Timeframe("60s")])
def test_an_interval_has_one_form(interval: Any) -> None:
    assert of(bars(), interval=interval) == of(bars())


def test_a_node_id_may_be_parsed_already() -> None:
    assert of(bars(), node_id=NodeId.parse(NODE)) == of(bars())


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (bars().drop(columns=["low", "volume"]), "lack low, volume"),
        (bars().assign(open=[1.0, np.inf, 1.0, 1.0]), "open holds infinities"),
        (bars().assign(volume=[1.0, -np.inf, 1.0, np.nan]), "volume holds infinities"),
        (bars().assign(ts=START), "repeat a ts"),
        (bars().assign(ts=[START, START + 60, START * 1000, START + 120]), "repeat a ts"),
        (bars().assign(ts=[START, None, START + 60, START + 120]), "1 values of ts"),
        (bars().assign(ts=["x"] * 4), "4 values of ts"),
        (bars().assign(ts=bars()["ts"] + 0.5), "4 values of ts"),
        (bars().assign(open=["1", "2", "3", "4"]), "open holds"),
        (bars().assign(open=pd.Series(["1", "2", "3", "4"], dtype=object)), "open holds"),
        (bars().assign(open=True), "open holds"),
        (bars().assign(open=1j), "open holds"),
        (bars().assign(open=pd.Timestamp("2025-01-01")), "open holds"),
        ([1, 2], "not a frame"),
        (None, "not a frame"),
    ],
)
def test_what_cannot_be_fingerprinted_is_refused(frame: Any, reason: str) -> None:
    with pytest.raises(InvalidFrame, match=reason):
        of(frame)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"node_id": "binance:BTC/USDT"}, InvalidNodeId),
        ({"node_id": None}, InvalidNodeId),
        ({"interval": 0}, InvalidTimeframe),
        ({"interval": None}, InvalidTimeframe),
        ({"conformance_version": ""}, InvalidInput),
        ({"conformance_version": 2}, InvalidInput),
        ({"conformance_version": "\ud800"}, InvalidInput),
    ],
)
def test_bad_arguments_are_typed_value_errors(changed: dict[str, Any], error: type[Exception]) -> None:
    assert issubclass(error, ValueError)
    with pytest.raises(error):
        of(bars(), **changed)


def test_the_callers_bars_stay_as_they_are() -> None:
    frame = bars().iloc[::-1].assign(volume=-0.0)
    before = frame.copy(deep=True)
    of(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert np.signbit(frame["volume"]).all()


def whole(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, BARS_SCHEMA, preserve_index=False)
