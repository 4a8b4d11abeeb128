"""The public face with real ccxt on the local exchange: what a strategy author and an operator meet."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seamless_assets as sa
from seamless_assets import errors
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
NAIVE = datetime(2025, 1, 1)  # noqa: DTZ001
VENUES = {"binance": "ADA/BTC", "bybit": "ADA/BTC", "coinbase": "XRP/USD", "okx": "BTC/USDT:USDT"}
SettingsFor = Callable[..., Settings]


def venue(url: str, *symbols: str, timeframes: tuple[str, ...] = ("1m",), **more: Any) -> dict[str, Any]:
    return {
        "base_url": url,
        "symbols": list(symbols),
        "timeframes": list(timeframes),
        "start": "2025-01-01",
        **more,
    }


@pytest.fixture
def pipeline(exchange: Sandbox, settings_for: SettingsFor) -> Any:
    with sa.connect(settings_for({"binance": venue(exchange.url, "BTC/USDT")})) as opened:
        yield opened


@pytest.mark.parametrize(("name", "symbol"), VENUES.items())
def test_what_is_read_is_what_the_market_did(
    exchange: Sandbox, settings_for: SettingsFor, name: str, symbol: str
) -> None:
    node = f"ohlcv:{name}:{symbol}:1m"
    with sa.connect(settings_for({name: venue(exchange.url, symbol)})) as s:
        report = s.materialize(node, "2025-01-02", "2025-01-04")
        assert report.problems == () and report.released
        read = s.read(node, "2025-01-02", "2025-01-04")
    truth = exchange.book.candles(symbol, sa.Timeframe("1m"), START + DAY, START + 3 * DAY)
    frame = read.to_pandas()
    assert frame.columns.tolist() == ["ts", "open", "high", "low", "close", "volume"]
    assert [str(kind) for kind in frame.dtypes] == ["int64", *["float64"] * 5]
    for column in frame.columns:
        np.testing.assert_array_equal(frame[column], truth[column])
    assert read.metadata.verdict == "PASS" and read.metadata.coverage_ratio == 1.0
    assert report.coverage.absent == 2880 - len(truth) and report.coverage.missing == 0


def test_kraken_says_what_its_retention_no_longer_holds(exchange: Sandbox, settings_for: SettingsFor) -> None:
    with sa.connect(settings_for({"kraken": venue(exchange.url, "BTC/USD")})) as s:
        report = s.backfill("ohlcv:kraken:BTC/USD:1m", "2025-01-05", "2025-01-11")
    assert report.problems == () and report.coverage.missing == 0
    (gap,) = report.coverage.gaps
    assert (gap.start, gap.reason) == (START + 4 * DAY, "retention")
    assert report.coverage.present == 720 - 1


def test_a_read_tells_everything_about_itself(pipeline: sa.Seamless) -> None:
    report = pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
    context = sa.ComputeContext(world_id="w1", domain="backtest", as_of=report.as_of)
    result = pipeline.read(
        NODE, START, datetime(2025, 1, 1, 12, tzinfo=UTC), context=context, columns=["ts", "close"]
    )
    facts = result.metadata
    assert result.to_arrow().column_names == ["ts", "close"]
    assert (facts.node_id, facts.interval, facts.start, facts.end) == (
        NODE,
        60,
        START,
        START + DAY // 2,
    )
    assert facts.rows == result.to_polars().height == 720 - sum((g.end - g.start) // 60 for g in facts.gaps)
    assert facts.coverage_bounds is not None and START <= facts.coverage_bounds[0] < facts.coverage_bounds[1]
    assert (facts.as_of, facts.requested_as_of, facts.dataset_fingerprint) == (
        report.as_of,
        report.as_of,
        report.dataset_fingerprint,
    )
    assert (facts.world_id, facts.domain, facts.source, facts.conformance_version) == (
        "w1",
        "backtest",
        "artifacts",
        "v2",
    )
    assert all(Path(uri).is_file() for uri in facts.manifest_uris) and len(facts.manifest_uris) == 1
    assert {gap.reason for gap in facts.gaps} <= {"no_trades"}


def test_an_old_as_of_reads_as_before_after_a_correction(pipeline: sa.Seamless, exchange: Sandbox) -> None:
    exchange.clock.set(START + 3 * 3600)
    first = pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
    exchange.clock.set(START + 10 * DAY)
    second = pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
    log = pipeline.releases(NODE)
    assert [entry.as_of for entry in log] == [first.as_of, second.as_of]
    assert log[1].previous == log[0].hash
    window = (START, START + 2 * 3600)
    old = pipeline.read(NODE, *window, context=sa.ComputeContext(as_of=first.as_of))
    assert old.metadata.dataset_fingerprint == first.dataset_fingerprint
    for early in ("2020-01-01", "0999-01-01"):
        with pytest.raises(errors.NothingReleased, match="its first release is of"):
            pipeline.read(NODE, *window, context=sa.ComputeContext(as_of=early))


def test_forming_and_unsettled_bars_are_never_released(pipeline: sa.Seamless, exchange: Sandbox) -> None:
    exchange.clock.set(START + 3600 + 59)
    report = pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
    assert report.coverage.expected == 58
    frame = pipeline.read(NODE, START, START + 58 * 60).to_pandas()
    assert frame["ts"].max() < START + 58 * 60


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.read("binance:BTC/USDT", 0, 60), errors.InvalidNodeId, "ohlcv:{exchange}"),
        (lambda s: s.read(NODE, NAIVE, 60), errors.InvalidTimestamp, "no time zone"),
        (
            lambda s: s.read(NODE, "2025-01-01T00:00:00", "2025-01-02"),
            errors.InvalidTimestamp,
            "no time zone",
        ),
        (lambda s: s.read(NODE, "yesterday", 60), errors.InvalidTimestamp, "ISO 8601"),
        (lambda s: s.read(NODE, 120, 60), errors.InvalidSegment, "swap the two"),
        (lambda s: s.read(NODE, 0, 60, strategy="seamless"), errors.InvalidChoice, "SEAMLESS"),
        (lambda s: s.read(NODE, 0, 60, columns=["vwap"]), errors.InvalidChoice, "vwap"),
        (lambda s: s.read(NODE, 0, 60, context=sa.ComputeContext()), errors.AsOfRequired, "as_of"),
        (lambda s: sa.ComputeContext(domain="prod"), errors.InvalidChoice, "backtest, dryrun, live"),
        (
            lambda s: s.materialize("ohlcv:gemini:BTC/USD:1m", 0, 60),
            errors.InvalidChoice,
            "not in the settings",
        ),
        (lambda s: s.materialize("ohlcv:binance:BTC/USDX:1m", 0, 60), errors.UnknownSymbol, "BTC/USD"),
        (lambda s: s.materialize("ohlcv:binance:BTC/USDT:7m", 0, 60), errors.UnsupportedTimeframe, "5m"),
        (lambda s: s.release(NODE, reason=" "), errors.InvalidInput, "reason"),
        (lambda s: s.manifest(NODE, "2025-01-01"), errors.InvalidInput, "snapshot"),
    ],
)
def test_bad_input_is_a_typed_value_error_with_a_way_out(
    pipeline: sa.Seamless, call: Callable[[sa.Seamless], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        call(pipeline)
    assert isinstance(refused.value, ValueError) and isinstance(refused.value, sa.SeamlessError)


def test_empty_windows_mean_nothing(pipeline: sa.Seamless) -> None:
    assert pipeline.materialize(NODE, START, START).partitions == ()
    assert pipeline.backfill(NODE, START, START).fetched == ()
    pipeline.materialize(NODE, START, START + 60)
    assert pipeline.read(NODE, START, START).to_arrow().num_rows == 0


def test_backfill_alone_fills_the_hot_store_and_nothing_else(
    pipeline: sa.Seamless, exchange: Sandbox
) -> None:
    report = pipeline.backfill(NODE, START, START + 7200)
    assert report.added == report.coverage.present > 100 and pipeline.releases(NODE) == []
    exchange.requests.clear()
    assert pipeline.backfill(NODE, START, START + 7200).fetched == ()
    assert not [request for request in exchange.requests if "klines" in request.path]
    sealed = pipeline.publish(NODE, START, START + 7200)
    assert [item.ref.partition for item in sealed] == ["2025-01-01"]
    assert pipeline.releases(NODE) == []
    assert pipeline.release(NODE, reason="half a day is enough for me").seq == 1


async def test_both_faces_work_inside_a_running_event_loop(pipeline: sa.Seamless) -> None:
    pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
    sync = pipeline.read(NODE, START, START + 3600)
    twice = await asyncio.gather(*(pipeline.aio.read(NODE, START, START + 3600) for _ in range(2)))
    assert [result.to_arrow() for result in twice] == [sync.to_arrow()] * 2


async def test_who_reads_in_a_loop_lets_other_tasks_run(pipeline: sa.Seamless) -> None:
    pipeline.materialize(NODE, START, START + 3600)
    other = asyncio.create_task(asyncio.sleep(0))
    while not other.done():
        await pipeline.aio.read(NODE, START, START + 1800)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", path="klines", code=429, retry_after=0.01, times=2),
        Fault("status", path="klines", code=418, times=1),
        Fault("status", path="klines", code=503, times=2),
        Fault("reset", path="klines", times=2),
        Fault("truncated", path="klines", times=2),
        Fault("html", path="klines", times=2),
        Fault("empty", path="klines", times=1),
        Fault("short_page", path="klines", times=1, rows=40),
        Fault("ignore_since", path="klines", times=1),
    ],
    ids=lambda fault: f"{fault.kind} {fault.code if fault.kind == 'status' else ''}".strip(),
)
def test_a_passing_fault_costs_nothing_but_time(
    pipeline: sa.Seamless, exchange: Sandbox, fault: Fault
) -> None:
    exchange.faults.add(fault)
    report = pipeline.materialize(NODE, "2025-01-02", "2025-01-03")
    truth = exchange.book.candles("BTC/USDT", sa.Timeframe("1m"), START + DAY, START + 2 * DAY)
    assert report.released and report.coverage.present == len(truth) and report.coverage.missing == 0


@pytest.mark.parametrize("kind", ["inverted", "null_fields"])
def test_a_spoiled_bar_blocks_the_release_and_names_it(
    pipeline: sa.Seamless, exchange: Sandbox, kind: Any
) -> None:
    exchange.faults.add(Fault(kind, path="klines", times=None))
    report = pipeline.materialize(NODE, "2025-01-02", "2025-01-03")
    assert not report.released and pipeline.releases(NODE) == []
    assert ("ohlc_inconsistent" if kind == "inverted" else "non_finite") in report.problems[0]
    exchange.faults.clear()
    assert pipeline.materialize(NODE, "2025-01-02", "2025-01-03").released


def replayed(path: Path, series: str) -> Replay:
    replay = Replay()
    replay.add_file(f"{series}={path}")
    return replay


def test_a_month_of_a_real_market_comes_back_bar_for_bar(
    market_data: Path, settings_for: SettingsFor
) -> None:
    path = market_data / "perp_BTC-USD_1m.parquet"
    with Sandbox(replay=replayed(path, "BTC/USD:1m")).running() as exchange:
        declared = {"coinbase": venue(exchange.url, "BTC/USD") | {"start": "2022-01-01"}}
        with sa.connect(settings_for(declared)) as s:
            node = "ohlcv:coinbase:BTC/USD:1m"
            report = s.materialize(node, "2022-01-01", "2022-02-01")
            assert report.released and len(report.partitions) == 31
            context = sa.ComputeContext(as_of=report.as_of)
            read = s.read(node, "2022-01-01", "2022-02-01", context=context).to_arrow()
    table = pq.read_table(path)
    start, end = 1_640_995_200, 1_643_673_600
    ts = table["ts"].to_numpy()
    truth = table.filter(pa.array((ts >= start) & (ts < end)))
    assert read.num_rows == 44_640
    for column in read.column_names:
        assert read[column].to_pylist() == truth[column].to_pylist()


@pytest.mark.parametrize("name", ["ADA", "WAX"])
def test_a_real_market_with_holes_comes_back_with_its_holes(
    market_data: Path, settings_for: SettingsFor, name: str
) -> None:
    path = market_data / f"bittrex_{name}-BTC_1m.parquet"
    table = pq.read_table(path)
    ts = table["ts"].to_numpy()
    first, last = (int(ts[0]) // DAY + 1) * DAY, int(ts[-1]) // DAY * DAY
    with Sandbox(replay=replayed(path, f"{name}/BTC:1m")).running() as exchange:
        declared = {"binance": venue(exchange.url, f"{name}/BTC") | {"start": "2018-07-01"}}
        with sa.connect(settings_for(declared)) as s:
            node = f"ohlcv:binance:{name}/BTC:1m"
            report = s.materialize(node, first, last)
            assert report.problems == () and report.released and report.coverage.missing == 0
            read = s.read(node, first, last).to_arrow()
    truth = table.filter(pa.array((ts >= first) & (ts < last)))
    for column in read.column_names:
        assert read[column].to_pylist() == truth[column].to_pylist()
    assert report.coverage.absent == (last - first) // 60 - truth.num_rows > 0


KILLED = """
import os, sys
import seamless_assets as sa
from seamless_assets.adapters.artifacts.storage.folder import FolderFiles

left = int(sys.argv[2])
create = FolderFiles.create

async def dying(self, path, payload):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return await create(self, path, payload)

FolderFiles.create = dying
with sa.connect(sys.argv[1]) as s:
    s.materialize("ohlcv:binance:BTC/USDT:1m", "2025-01-01", "2025-01-03")
"""


def test_killed_before_any_write_and_run_again_it_ends_the_same(exchange: Sandbox, tmp_path: Path) -> None:
    def settings(name: str) -> Path:
        path = tmp_path / name / "seamless.yaml"
        path.parent.mkdir()
        path.write_text(
            "seamless:\n  artifact: {object_store_uri: ./artifacts}\n"
            "  hot_store: {dsn: sqlite:///./hot.sqlite}\n  state_dir: ./state\n"
            f"exchanges:\n  binance:\n    base_url: {exchange.url}\n"
            "    symbols: [BTC/USDT]\n    start: 2025-01-01\n"
        )
        return path

    with sa.connect(settings("unharmed")) as s:
        expected = s.materialize(NODE, "2025-01-01", "2025-01-03").dataset_fingerprint
    for step in range(6):
        path = settings(f"killed-{step}")
        ended = subprocess.run([sys.executable, "-c", KILLED, str(path), str(step)], check=False)
        assert ended.returncode == -9
        with sa.connect(path) as s:
            for entry in s.releases(NODE):
                for ref in entry.added:
                    s.read(NODE, ref.start, ref.end, context=sa.ComputeContext(as_of=entry.as_of))
            again = s.materialize(NODE, "2025-01-01", "2025-01-03")
            assert again.dataset_fingerprint == expected
            assert len(s.releases(NODE)) == 2
