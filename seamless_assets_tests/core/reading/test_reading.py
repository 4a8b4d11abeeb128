"""A result's frames: what Arrow's own conversion gives, and the caller's to change."""

from __future__ import annotations

import copy
import gc
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.artifacts import sealed

from seamless_assets.core.bars.cells import bars_of, empty_cells
from seamless_assets.core.bars.frames import _LARGE
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.carry import carry_previous_close
from seamless_assets.core.reading.context import ComputeContext, choose_strategy
from seamless_assets.core.reading.request import ReadRequest, choose_columns
from seamless_assets.core.reading.result import ManifestUris, ReadMetadata, ReadResult
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import PRESETS, UNBOUNDED
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.errors import InvalidChoice, InvalidInput
from seamless_assets.testing import START, bars_table, random_walk

NO_METADATA: Any = None


@pytest.mark.parametrize("columns", [[field.name for field in BARS_SCHEMA], ["ts"], ["close", "ts", "open"]])
def test_a_pandas_frame_is_arrows_own_and_a_copy(columns: list[str]) -> None:
    rows = [(ts, *values) for ts, values in random_walk(START, START + 3_600).items()]
    rows[7] = (*rows[7][:5], None)  # type: ignore[assignment]
    whole = pa.Table.from_pylist(
        [dict(zip(BARS_SCHEMA.names, row, strict=True)) for row in rows], BARS_SCHEMA
    )
    for bars in (whole, pa.concat_tables([whole.slice(0, 7), whole.slice(7, 9), whole.slice(16)]), whole[:0]):
        result = ReadResult(bars.select(columns), NO_METADATA)
        frame = result.to_pandas()
        pd.testing.assert_frame_equal(frame, bars.select(columns).to_pandas())
        if frame.size:
            frame.loc[0, columns[0]] = 1
            frame.columns.name = "bars"
            again = result.to_pandas()
            assert again.loc[0, columns[0]] != 1
            assert again.columns.name is None


@pytest.mark.parametrize("columns", [[field.name for field in BARS_SCHEMA], ["volume", "ts", "open"], ["ts"]])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_large_pandas_frame_is_a_copy_of_every_cell(columns: list[str], pieces: int) -> None:
    rows = _LARGE // 8
    ts = pa.array(np.arange(START, START + rows))
    values = np.arange(rows, dtype=np.float64)
    whole = pa.table([ts, *(pa.array(values + at) for at in range(5))], BARS_SCHEMA)
    bars = pa.concat_tables(
        [whole.slice(at * rows // pieces, rows // pieces + 1) for at in range(pieces)]
    ).select(columns)
    frame = ReadResult(bars, NO_METADATA).to_pandas()
    for name in columns:
        assert np.array_equal(frame[name].to_numpy(), bars[name].to_numpy())
    frame.loc[0, columns[0]] = -1
    assert bars[columns[0]][0].as_py() != -1


def _written_to_a_part(frame: pd.DataFrame) -> pd.DataFrame:
    part = frame[["close", "open"]]
    del frame
    part.iloc[0, 0] = 3.0
    return part


def _written_to_a_series(frame: pd.DataFrame) -> pd.DataFrame:
    series = frame["close"]
    del frame
    gc.collect()
    series.iloc[0] = 3.0
    series.iloc[1] = 4.0
    return series.to_frame()


def _written_to_rows(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.iloc[10:20]
    del frame
    rows.iloc[0, 0] = 3
    return rows


def _written_to_cells(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[3, "close"] = frame.iloc[4, 4] = frame.at[5, "close"] = 1.0
    frame.iat[6, 0] = 7
    frame.iloc[7:9] = 0
    frame.loc[frame["open"] > 5, "open"] = 1.0
    return frame


def _written_in_place(frame: pd.DataFrame) -> pd.DataFrame:
    frame.mask(frame > 50, 5, inplace=True)
    frame.clip(3, 40, inplace=True)
    frame.replace(3, 4, inplace=True)
    frame.fillna(0.0, inplace=True)
    frame += 1
    frame["volume"] -= 2.0
    frame.loc[:, "high"] = 0.0
    frame.update(pd.DataFrame({"low": [1.0]}))
    frame.insert(1, "more", 1.0)
    return frame


def _written_to_twins(frame: pd.DataFrame) -> pd.DataFrame:
    twins = [
        frame.rename(columns=str.upper),
        frame.reset_index(drop=True),
        frame.set_index("ts"),
        frame.copy(),
    ]
    for twin in twins:
        twin.iloc[0, 0] = 5
    return pd.concat(twins)


CHANGES = [
    _written_to_a_part,
    _written_to_a_series,
    _written_to_rows,
    _written_to_cells,
    _written_in_place,
    _written_to_twins,
]


# Before pandas 3 a part of a frame warns of whatever is written to it.
@pytest.mark.filterwarnings(r"ignore:\s*A value is trying to be set on a copy")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.removeprefix("_"))
def test_a_large_frame_is_its_holders_to_change_and_the_bars_stay(
    change: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    """As a copy would be, though pandas copies a column only before it is changed first."""
    cells = empty_cells(_LARGE // 48 + 1)
    cells[0] = np.arange(START, START + cells.shape[1])
    for at in range(1, 6):
        cells[at] = (np.arange(cells.shape[1]) + at).astype("<f8").view("<i8")
    before = cells.copy()
    copied = bars_of(before).to_pandas().copy()
    changed = change(ReadResult(bars_of(cells), NO_METADATA).to_pandas())
    assert np.array_equal(cells, before)
    pd.testing.assert_frame_equal(changed, change(copied))


def test_a_large_frame_takes_no_memory_until_it_is_changed_and_keeps_no_more_than_it_shows() -> None:
    rows = _LARGE // 48 + 1
    bars = bars_of(empty_cells(4 * rows))
    shared, copied = (ReadResult(bars.slice(0, count), NO_METADATA).to_pandas() for count in (4 * rows, rows))
    is_late = int(pd.__version__.partition(".")[0]) >= 3
    for frame, expected in ((shared, is_late), (copied, False)):
        at = frame["close"].to_numpy().__array_interface__["data"][0]
        held = bars.column("close").chunk(0).buffers()[1]
        assert (held.address <= at < held.address + held.size) is expected


@pytest.mark.parametrize("columns", [["ts", "close"], ["open", "ts", "volume"]])
def test_a_time_index_stands_in_place_of_ts(columns: list[str]) -> None:
    bars = bars_table(random_walk(START, START + 600)).select(columns)
    frame = ReadResult(bars, NO_METADATA).to_pandas(index="time")
    assert list(frame.columns) == [name for name in columns if name != "ts"]
    assert str(frame.index.dtype) == "datetime64[ns, UTC]" and frame.index.name == "time"
    assert [int(at.timestamp()) for at in frame.index] == bars.column("ts").to_pylist()
    assert frame["volume" if "volume" in columns else "close"].tolist() == bars.column(-1).to_pylist()


def test_what_is_left_without_ts_may_be_the_index_alone() -> None:
    bars = bars_table(random_walk(START, START + 600)).select(["ts"])
    frame = ReadResult(bars, NO_METADATA).to_pandas(index="time")
    assert frame.shape == (10, 0) and frame.index.name == "time"


def test_an_index_that_cannot_be_made_is_refused() -> None:
    bars = bars_table(random_walk(START, START + 600))
    with pytest.raises(InvalidChoice, match="time"):
        ReadResult(bars, NO_METADATA).to_pandas(index="ts")
    with pytest.raises(InvalidInput, match="read it too"):
        ReadResult(bars.select(["close"]), NO_METADATA).to_pandas(index="time")


def test_made_bars_are_marked_and_carry_the_close_before_them() -> None:
    real = bars_table({START: (1.0, 3.0, 0.5, 2.0, 7.0), START + 180: (2.0, 2.5, 1.5, 2.25, 4.0)})
    made = carry_previous_close(real, Timeframe("1m"), Segment(START - 120, START + 300))
    frame = ReadResult(made, NO_METADATA).to_pandas()
    assert frame["ts"].tolist() == [START + minute * 60 for minute in range(5)]
    assert frame["filled"].tolist() == [False, True, True, False, True]
    assert frame.loc[2, ["open", "high", "low", "close", "volume"]].tolist() == [2.0, 2.0, 2.0, 2.0, 0.0]
    assert frame.loc[4, "close"] == 2.25 and frame.loc[3, "volume"] == 4.0
    nothing = carry_previous_close(real[:0], Timeframe("1m"), Segment(START, START + 300))
    assert nothing.num_rows == 0 and nothing.column_names[-1] == "filled"


def test_a_pickled_result_is_its_bars_and_not_the_block_they_were_cut_from() -> None:
    block = bars_table(random_walk(START, START + 600 * 60))
    result = ReadResult(block.slice(10, 5).select(["ts", "close"]), NO_METADATA)
    pickled = pickle.dumps(result)
    assert pickle.loads(pickled) == result and len(pickled) < 2_000
    assert copy.deepcopy(result) == result
    empty = ReadResult(block.slice(0, 0), NO_METADATA)
    assert pickle.loads(pickle.dumps(empty)) == empty


def test_manifests_are_a_tuple_that_is_put_together_when_it_is_asked_for() -> None:
    artifacts = [ArtifactRef.of(sealed(rows).manifest) for rows in range(1, 6)]
    lazy = ManifestUris("s3://bucket/node/", tuple(artifacts))
    whole = tuple(f"s3://bucket/node/{ref.manifest_path}" for ref in artifacts)
    assert lazy == whole and whole == lazy and tuple(lazy) == whole and len(lazy) == 5
    assert lazy[1] == whole[1] and lazy[-1] == whole[-1] and lazy[1:3] == whole[1:3]
    assert whole[2] in lazy and list(reversed(lazy)) == list(reversed(whole)) and lazy.index(whole[3]) == 3
    assert repr(lazy) == repr(whole) and lazy != whole[:4] and lazy != "s3"
    assert type(pickle.loads(pickle.dumps(lazy))) is tuple and copy.deepcopy(lazy) == whole
    with pytest.raises(IndexError):
        lazy[5]


def test_metadata_of_any_size_fits_a_screen() -> None:
    many = 50_000
    gaps = tuple(Gap(START + n * 120, START + n * 120 + 60, "no_trades") for n in range(many))
    metadata = ReadMetadata(
        node_id="ohlcv:binance:BTC/USDT:1m",
        interval=60,
        start=START,
        end=START + many * 120,
        rows=many,
        coverage_bounds=(START, START + many * 120),
        coverage_ratio=1.0,
        gaps=gaps,
        conformance_flags={"gap": many},
        conformance_version="v2",
        dataset_fingerprint="sha256:" + "0" * 64,
        as_of="2025-01-01T00:00:00.000000Z",
        requested_as_of=None,
        manifest_uris=("s3://bucket/" + "x" * 200,) * 4_000,
        world_id="w1",
        domain="live",
        verdict="HOLD",
        # The third is a page of HTML that an exchange sent.
        reasons=tuple(f"code_{n}: sentence" + "\n<p>away</p>" * (n == 2) * 4_000 for n in range(40)),
        source="artifacts",
        staleness_seconds=None,
    )
    lines = repr(metadata).splitlines()
    assert len(lines) < 15 and max(len(line) for line in lines) < 160
    assert "HOLD: ohlcv:binance:BTC/USDT:1m [2025-01-01T00:00:00Z" in lines[0] and "50000 gaps" in repr(
        metadata
    )
    assert "code_2: sentence <p>away</p>" in repr(metadata)
    assert repr(ReadResult(bars_table({}), metadata)).count("\n") < 15


@pytest.mark.parametrize("columns", [5, 2.5, object(), True])
def test_columns_that_are_none_are_refused(columns: Any) -> None:
    with pytest.raises(InvalidInput, match="columns is"):
        choose_columns(columns)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("seamless", "SEAMLESS"), ("Auto_Backfil", "AUTO_BACKFILL"), ("fail-fast", "FAIL_FAST")],
)
def test_the_nearest_choice_is_told_whatever_its_case(name: str, nearest: str) -> None:
    with pytest.raises(InvalidChoice, match=f"did you mean {nearest}"):
        choose_strategy(name)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf, -5, 0, "60", True, [1]])
def test_limits_that_nothing_can_be_held_against_are_refused(limit: Any) -> None:
    with pytest.raises(InvalidInput, match="max_lag is"):
        ComputeContext(domain="live", max_lag=limit)
    if limit not in (0, True):
        with pytest.raises(InvalidInput, match="min_coverage is"):
            ComputeContext(domain="live", min_coverage=limit)


@pytest.mark.parametrize("domain", [None, "backtest", "dryrun"])
def test_a_greatest_lag_is_refused_where_nothing_ages(domain: Any) -> None:
    with pytest.raises(InvalidInput, match="max_lag is for live reads"):
        ComputeContext(**{"max_lag": 60.0} if domain is None else {"domain": domain, "max_lag": 60.0})
    context = domain and ComputeContext(domain=domain, as_of="2026-01-01")
    sla = {"max_lag": 60.0, "total_deadline_ms": 5_000}
    with pytest.raises(InvalidInput, match="max_lag is for live reads"):
        ReadRequest.parse("ohlcv:binance:BTC/USDT:1m", context=context, sla=sla, default_sla=UNBOUNDED)
    # A policy is of every domain, and what it says of ages is for those that are live.
    named = ReadRequest.parse(
        "ohlcv:binance:BTC/USDT:1m", context=context, sla="baseline", default_sla=UNBOUNDED
    )
    assert named.sla == PRESETS["baseline"]
    live = ReadRequest.parse(
        "ohlcv:binance:BTC/USDT:1m",
        context=ComputeContext(domain="live", max_lag=60.0),
        sla=sla,
        default_sla=UNBOUNDED,
    )
    assert live.sla.max_lag == 60.0


DECLARED = ("binance:BTC/USDT:1m", "binance:BTC/USDT:1h", "okx:ETH/USDT:USDT:1m", "kraken:ETH/BTC:1d")


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("binance:BTC/USTD:1m", "binance:BTC/USDT:1m"),
        ("binanse:BTC/USDT:1h", "binance:BTC/USDT:1h"),
        ("okx:ETH/USDT:1m", "okx:ETH/USDT:USDT:1m"),
        ("kraken:ETH/BTC:1m", "kraken:ETH/BTC:1d"),
        ("binance:BTC/USDT:1m", None),
        ("binance:XYZ/EUR:1m", None),
        ("bybit:SOL/USD:3m", None),
    ],
)
def test_an_undeclared_node_may_have_been_meant_as_one_that_differs_in_one_part(
    misspelt: str, meant: str | None
) -> None:
    settings = ReadSettings(starts={f"ohlcv:{node}": START for node in DECLARED})
    for _ in range(2):
        found = settings.nearest(NodeId.parse(f"ohlcv:{misspelt}"))
        assert found == (meant and f"ohlcv:{meant}")
