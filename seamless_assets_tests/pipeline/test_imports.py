"""Imports: bars of files and frames become releases whole, or leave nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

import seamless_assets as sa
from seamless_assets.core.canonical import sha256_text
from seamless_assets.errors import (
    CoverageMissing,
    ImportRefused,
    InvalidFrame,
    InvalidInput,
    NothingReleased,
    ReleasePinned,
    RevisionsUnconfirmed,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, make_bars, random_walk

NODE = "ohlcv:binance:BTC/USDT:1m"
HOUR = 3_600
END = START + 2 * DAY


def pipeline_of(bars: dict[int, Any] | None = None, now: int = START + 40 * DAY) -> Any:
    return connect_in_memory(InMemoryExchange.serving({NODE: bars or {}}, now))


@pytest.fixture
def pipeline() -> Iterator[sa.Seamless]:
    with pipeline_of() as opened:
        yield opened


def frame(start: int = START, end: int = END, **how: Any) -> pd.DataFrame:
    made: pd.DataFrame = make_bars(start, end, **how).to_pandas()
    return made


def backtest(pipeline: sa.Seamless, start: int = START, end: int = END, as_of: Any = None) -> Any:
    as_of = as_of or pipeline.releases(NODE)[-1].as_of
    return pipeline.read(NODE, start, end, context=sa.ComputeContext(domain="backtest", as_of=as_of))


def test_bars_are_released_by_one_record_with_the_files_as_evidence(
    pipeline: sa.Seamless, tmp_path: Path
) -> None:
    days = {f"day{at}.csv": frame(START + at * DAY, START + (at + 1) * DAY, seed=at + 1) for at in (0, 1)}
    for name, bars in days.items():
        bars.to_csv(tmp_path / name, index=False)
    (tmp_path / "notes.md").write_text("no data")
    report = pipeline.ingest(tmp_path / "*.csv", NODE, by="ann@desk", note="from the old laptop")
    (entry,) = pipeline.releases(NODE)
    assert report.released and report.release == entry and report.as_of == entry.as_of
    assert (report.rows, report.added, report.revised, report.problems) == (2_880, 2_880, 0, ())
    assert entry.kind == "import" and all(entry.checks.values()) and len(entry.checks) == 4
    assert "day0.csv, day1.csv by ann@desk: from the old laptop" in entry.reason
    assert backtest(pipeline).to_pandas().equals(pd.concat(days.values(), ignore_index=True))
    for at, ref in enumerate(entry.added):
        manifest = pipeline.manifest(NODE, ref)
        assert manifest.producer["name"] == "import"
        (record,) = manifest.imports
        payload = (tmp_path / f"day{at}.csv").read_bytes()
        file = {"name": f"day{at}.csv", "sha256": sha256_text(payload), "bytes": len(payload)}
        assert record["files"] == [file] and record["by"] == "ann@desk" and record["added"] == 1_440
    assert pipeline.verify(NODE).is_sound


@pytest.mark.parametrize("kind", ["pandas", "index", "time", "named", "arrow", "polars"])
def test_frames_of_every_kind_give_equal_fingerprints(pipeline: sa.Seamless, kind: str) -> None:
    bars = frame()
    times = pd.to_datetime(bars["ts"], unit="s", utc=True)
    made: dict[str, Callable[[], Any]] = {
        "pandas": lambda: bars,
        "index": lambda: bars.set_index("ts"),
        "time": lambda: bars.drop(columns="ts").set_index(pd.DatetimeIndex(times, name="time")),
        "named": lambda: bars.rename(columns={"ts": "When", "volume": "Vol. BTC"}),
        "arrow": lambda: make_bars(START, END),
        "polars": lambda: pl.from_arrow(make_bars(START, END)),
    }
    given = made[kind]()
    rename = {"When": "ts", "Vol. BTC": "volume"} if kind == "named" else None
    before = given.copy() if isinstance(given, pd.DataFrame) else None
    report = pipeline.ingest(given, NODE, rename=rename)
    assert report.released
    assert sa.fingerprint(backtest(pipeline).to_arrow(), node_id=NODE, interval=60) == sa.fingerprint(
        bars, node_id=NODE, interval=60
    )
    if before is not None:
        pd.testing.assert_frame_equal(given, before)


def test_what_is_there_already_is_not_released_again(pipeline: sa.Seamless) -> None:
    first = pipeline.ingest(frame(), NODE)
    again = pipeline.ingest(frame(), NODE)
    assert again.released and again.release is None and again.partitions == ()
    assert (again.as_of, again.added) == (first.as_of, 0) and len(pipeline.releases(NODE)) == 1


def test_a_dry_run_says_what_an_import_then_does(pipeline: sa.Seamless) -> None:
    bars = frame().drop(index=range(5, 9))
    would = pipeline.ingest(bars, NODE, dry_run=True)
    assert would.is_dry_run and not would.released and would.as_of is None
    assert pipeline.releases(NODE) == [] and pipeline.coverage(NODE, START, END).present == 0
    does = pipeline.ingest(bars, NODE)
    for name in ("rows", "bars", "added", "revised", "flags", "coverage", "problems"):
        assert getattr(would, name) == getattr(does, name), name
    assert [part.key for part in would.partitions] == [part.key for part in does.partitions]


def test_differences_are_revisions_that_a_person_confirms() -> None:
    with pipeline_of(random_walk(START, END)) as pipeline:
        pipeline.materialize(NODE, START, END)
        before = pipeline.releases(NODE)
        theirs = frame()
        theirs.loc[[3, 2_000], "volume"] += 1
        with pytest.raises(RevisionsUnconfirmed, match="2025-01-01T00:03:00Z") as refused:
            pipeline.ingest(theirs, NODE)
        assert (refused.value.count, refused.value.opens) == (2, (START + 180, START + 120_000))
        assert pipeline.ingest(theirs, NODE, dry_run=True).revised == 2
        assert pipeline.releases(NODE) == before
        report = pipeline.ingest(theirs, NODE, revisions="confirm")
        entry = pipeline.releases(NODE)[-1]
        assert report.revised == 2 and report.released and report.examples == refused.value.opens
        assert [one.changed for one in entry.revisions] == [1, 1]
        assert backtest(pipeline).to_pandas().equals(theirs)
        assert backtest(pipeline, as_of=before[-1].as_of).to_pandas().equals(frame())
        flags = [pipeline.manifest(NODE, ref).conformance_flags for ref in entry.added]
        assert [flag["revised"] for flag in flags] == [1, 1]


def test_bars_of_the_hot_store_alone_are_known_too() -> None:
    with pipeline_of(random_walk(START, END)) as pipeline:
        pipeline.backfill(NODE, START, END)
        theirs = frame()
        theirs.loc[7, "close"] = theirs.loc[7, "high"]
        with pytest.raises(RevisionsUnconfirmed):
            pipeline.ingest(theirs, NODE)
        assert pipeline.ingest(frame(START, START + DAY), NODE).added == 0
        assert pipeline.ingest(theirs, NODE, revisions="confirm").released
        assert backtest(pipeline).to_pandas().equals(theirs)
        live = pipeline.read(NODE, START, END, strategy="FAIL_FAST")
        assert live.to_pandas().equals(theirs)


def test_holes_are_missing_unless_the_files_are_complete() -> None:
    with pipeline_of() as pipeline:
        bars = frame().drop(index=[*range(100, 110), *range(1_500, 1_503)])
        pipeline.ingest(bars, NODE)
        assert pipeline.coverage(NODE, START, END).missing == 13
        assert {gap.reason for gap in backtest(pipeline).metadata.gaps} == {"missing"}
        report = pipeline.ingest(bars, NODE, complete=True, by="ann", note="the vendor says so")
        assert report.released and report.coverage.declared == 13 and report.coverage.missing == 0
        known = pipeline.coverage(NODE, START, END)
        assert (known.missing, known.declared, known.present) == (0, 13, 2_867)
        assert {gap.reason for gap in backtest(pipeline).metadata.gaps} == {"declared"}
        said = pipeline.declarations(NODE, START, END)
        assert [(one.reason, one.by, one.note, one.contradicted) for one in said] == [
            ("no_trades", "ann", "the vendor says so", 0)
        ] * 2
        (declared,) = pipeline.manifest(NODE, pipeline.releases(NODE)[-1].added[0]).declared
        assert (declared.start, declared.by) == (START + 6_000, "ann")
        pipeline.revoke(NODE, START, START + DAY, by="ben")
        assert pipeline.coverage(NODE, START, END).missing == 10
        assert pipeline.ingest(bars, NODE, complete=True, by="cat").released
        assert pipeline.coverage(NODE, START, END).missing == 0


def test_flat_bars_count_as_the_settings_say() -> None:
    bars = frame()
    bars.loc[7, ["open", "high", "low", "close"]] = bars.loc[7, "close"]
    bars.loc[7, "volume"] = 0.0
    for keeps in (True, False):
        with pipeline_of() as pipeline:
            policy = pipeline.aio.ports.policy
            if not keeps:
                object.__setattr__(policy, "drops_flat_bars", frozenset({"binance"}))
            assert pipeline.ingest(bars, NODE).released
            known = pipeline.coverage(NODE, START, END)
            assert (known.present, known.absent) == ((2_880, 0) if keeps else (2_879, 1))
            assert len(pipeline.ledger(NODE, START, END)) == (not keeps)
            assert pipeline.ingest(bars, NODE).release is None


def test_a_flat_bar_that_counts_as_none_says_nothing_of_a_bar_that_is_known() -> None:
    bars = frame()
    flat = bars.copy()
    for row in (7, 8):
        flat.loc[row, ["open", "high", "low", "close"]] = flat.loc[row, "close"]
        flat.loc[row, "volume"] = 0.0
    with pipeline_of() as pipeline:
        object.__setattr__(pipeline.aio.ports.policy, "drops_flat_bars", frozenset({"binance"}))
        assert pipeline.ingest(bars.drop(index=[8]), NODE).released
        assert pipeline.ingest(flat, NODE).released
        assert backtest(pipeline).to_pandas()["ts"].tolist() == bars["ts"].drop(index=8).tolist()
        assert [(fact.start, fact.end) for fact in pipeline.ledger(NODE, START, END)] == [
            (START + 480, START + 540)
        ]
        assert pipeline.coverage(NODE, START, END).absent == 1
        assert pipeline.ingest(flat, NODE).release is None


def test_a_window_says_what_files_are_whole_for(pipeline: sa.Seamless) -> None:
    bars = frame(START + 600, END - 600)
    report = pipeline.ingest(bars, NODE, START, START + DAY, complete=True)
    assert (report.left_out, report.coverage.declared) == (1_430, 10)
    assert [part.key for part in report.partitions] == ["2025-01-01"]
    for bounds in ((START, None), (None, END)):
        with pytest.raises(InvalidInput, match="or neither"):
            pipeline.ingest(bars, NODE, *bounds)


def test_a_part_of_a_partition_is_released_and_joined_by_what_comes_later() -> None:
    with pipeline_of(random_walk(START, END)) as pipeline:
        whole = frame()
        noon = whole[(whole["ts"] >= START + 12 * HOUR) & (whole["ts"] < START + 18 * HOUR)]
        assert pipeline.ingest(noon, NODE).released
        window = (START + 12 * HOUR, START + 18 * HOUR)
        assert backtest(pipeline, *window).to_pandas().equals(noon.reset_index(drop=True))
        evening = whole[(whole["ts"] >= START + 17 * HOUR) & (whole["ts"] < START + DAY)]
        assert pipeline.ingest(evening, NODE).added == 6 * 60
        (ref,) = pipeline.snapshot(NODE).artifacts
        assert (ref.start, ref.end) == (START + 12 * HOUR, START + DAY)
        assert pipeline.materialize(NODE, START, END).released
        assert backtest(pipeline).to_pandas().equals(whole)
        kept = pipeline.manifest(NODE, pipeline.snapshot(NODE).artifacts[0])
        assert kept.producer["name"] == "seamless-assets" and len(kept.imports) == 2


def test_what_an_exchange_no_longer_serves_stays_when_it_is_asked_anew() -> None:
    later = {ts: row for ts, row in random_walk(START, END).items() if ts >= START + DAY}
    with pipeline_of(later) as pipeline:
        pipeline.ingest(frame(START, START + DAY), NODE)
        pipeline.materialize(NODE, START, END)
        assert backtest(pipeline).to_pandas().equals(frame())


def test_bars_that_may_still_change_are_left_out() -> None:
    with pipeline_of(now=START + DAY + 6 * HOUR + 30) as pipeline:
        report = pipeline.ingest(frame(), NODE)
        assert report.released and report.unsettled == 18 * 60 + 2
        assert pipeline.released_window(NODE).end == START + DAY + 6 * HOUR - 120
    with pipeline_of(now=START + 60) as pipeline:
        report = pipeline.ingest(frame(), NODE)
        assert not report.released and report.problems == ("nothing of it is settled yet",)


def test_a_partition_that_fails_its_checks_waits_for_a_release_by_hand(pipeline: sa.Seamless) -> None:
    bars = frame().drop(index=range(200, 800))
    report = pipeline.ingest(bars, NODE)
    assert not report.released and "2025-01-01" in report.problems[0]
    assert [(part.key, part.released) for part in report.partitions] == [
        ("2025-01-01", False),
        ("2025-01-02", True),
    ]
    with pytest.raises(CoverageMissing):
        backtest(pipeline, START, START + 60)
    pipeline.release(NODE, reason="known", partition="2025-01-01")
    assert backtest(pipeline, START, START + 60).metadata.rows == 1


def test_a_rollback_holds_its_range_against_imports(pipeline: sa.Seamless) -> None:
    pipeline.ingest(frame(), NODE)
    pipeline.withdraw(NODE, "2025-01-01", reason="wrong")
    before = pipeline.releases(NODE)
    with pytest.raises(ReleasePinned):
        pipeline.ingest(frame(seed=3), NODE, revisions="confirm")
    assert pipeline.releases(NODE) == before


def test_a_compacted_month_takes_imports(pipeline: sa.Seamless) -> None:
    last = START + 29 * DAY, START + 31 * DAY
    pipeline.ingest(frame(*last).drop(index=range(2_000, 2_010)), NODE)
    pipeline.compact(NODE, "month")
    (merged,) = pipeline.snapshot(NODE).artifacts
    assert len(pipeline.manifest(NODE, merged).imports) == 2
    report = pipeline.ingest(frame(*last), NODE)
    assert report.added == 10 and [part.key for part in report.partitions] == ["2025-01-31"]
    assert backtest(pipeline, *last).metadata.rows == 2 * 1_440
    assert pipeline.verify(NODE).is_sound


REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception]]] = {
    "no frame": (7, {}, InvalidFrame),
    "an empty list": ([], {}, InvalidFrame),
    "no names": ((), {}, InvalidFrame),
    "no such file": ("nowhere.csv", {}, InvalidInput),
    "no match": ("*.nothing", {}, InvalidInput),
    "revisions": (frame(), {"revisions": "yes"}, InvalidInput),
    "by": (frame(), {"by": "a b"}, InvalidInput),
    "a note": (frame(), {"note": "x" * 501}, InvalidInput),
    "an empty frame": (frame().iloc[:0], {}, ImportRefused),
    "columns": (frame().rename(columns={"close": "last"}), {}, ImportRefused),
    "bars": (frame().assign(high=1.0), {}, ImportRefused),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(pipeline: sa.Seamless, name: str) -> None:
    data, how, error = REFUSED[name]
    with pytest.raises(error):
        pipeline.ingest(data, NODE, **how)
    assert pipeline.releases(NODE) == []
    with pytest.raises(NothingReleased):
        pipeline.snapshot(NODE)


@pytest.mark.parametrize("name", ["", "none.csv", "*.none", "x" * 5_000, "*" + "x" * 5_000, "a\0b.csv", "."])
def test_names_that_no_file_has_are_refused(pipeline: sa.Seamless, name: str) -> None:
    with pytest.raises(InvalidInput):
        pipeline.ingest(name, NODE)


def test_an_exchange_of_no_settings_is_refused(pipeline: sa.Seamless) -> None:
    with pytest.raises(InvalidInput, match="not in the settings"):
        pipeline.ingest(frame(), NODE.replace("binance", "kraken"))


def test_imports_and_fetches_of_one_node_at_once_are_all_there() -> None:
    with pipeline_of(random_walk(START, END)) as pipeline:
        whole = make_bars(START, END)

        async def together() -> list[Any]:
            parts = [pipeline.aio.ingest(whole.slice(at * 400, 700), NODE) for at in range(6)]
            return await asyncio.gather(*parts, pipeline.aio.materialize(NODE, START, END))

        assert all(report.released for report in asyncio.run(together()))
        assert backtest(pipeline).to_arrow().equals(whole) and pipeline.verify(NODE).is_sound


class Died(BaseException):
    """As if the process had been killed."""


@contextmanager
def dying(ports: Ports, before_call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the stores do so many calls that change something, and none after that."""
    made: list[str] = []

    def counted(store: Any, name: str) -> None:
        call = getattr(store, name)

        async def count(*args: Any, **more: Any) -> Any:
            if len(made) >= before_call:
                raise Died
            made.append(name)
            return await call(*args, **more)

        patched.setattr(store, name, count)

    with monkeypatch.context() as patched:
        counted(ports.artifacts.files, "create")
        counted(ports.hot, "write_bars")
        yield made


def test_whoever_dies_on_the_way_leaves_nothing_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = frame().drop(index=range(2_000, 2_004))
    theirs.loc[3, "volume"] += 1
    ended = False
    for before_call in range(20):
        with pipeline_of(random_walk(START, START + DAY)) as pipeline:
            pipeline.materialize(NODE, START, START + DAY)
            before = pipeline.coverage(NODE, START, END), pipeline.releases(NODE)
            with dying(pipeline.aio.ports, before_call, monkeypatch) as made:
                try:
                    pipeline.ingest(theirs, NODE, complete=True, revisions="confirm")
                    ended = True
                except Died:
                    pass
            log = pipeline.releases(NODE)
            if log == before[1]:
                assert pipeline.coverage(NODE, START, END) == before[0]
                assert not pipeline.materialize(NODE, START, START + DAY).problems
                assert pipeline.releases(NODE) == log, made
            else:
                assert log[:-1] == before[1] and backtest(pipeline, START + DAY).metadata.rows == 1_436
            assert pipeline.ingest(theirs, NODE, complete=True, revisions="confirm").released
            assert len(pipeline.declarations(NODE, START, END)) == 1
            assert pipeline.verify(NODE).is_sound
        if ended:
            break
    assert ended and before_call >= 6


RECORDED = ["binance_XRP-ETH_5m", "bittrex_ADA-BTC_1h"]
LONGER = ["binance_XRP-ETH_1m", "bittrex_WAX-BTC_1m", "bittrex_WAX-BTC_5m", "perp_BTC-USD_1m"]


@pytest.mark.parametrize(
    "name", [*RECORDED, *(pytest.param(name, marks=pytest.mark.deep) for name in LONGER)]
)
def test_recorded_bars_come_out_as_they_went_in(market_data: Path, tmp_path: Path, name: str) -> None:
    path = market_data / f"{name}.parquet"
    _, symbol, timeframe = name.split("_")
    node = f"ohlcv:binance:{symbol.replace('-', '/')}:{timeframe}"
    bars = pq.read_table(path)
    with connect_in_memory(InMemoryExchange.serving({node: {}}, 1_790_000_000)) as pipeline:
        report = pipeline.ingest(path, node, complete=True)
        assert report.released and report.added == bars.num_rows
        made = pipeline.export(node, tmp_path / "out.parquet")
    interval = sa.NodeId.parse(node).timeframe
    assert made.sidecar.bars_fingerprint == sa.fingerprint(bars, node_id=node, interval=interval)


def test_recorded_trades_give_the_recorded_bars(market_data: Path) -> None:
    bars = pq.read_table(market_data / "binance_XRP-ETH_1m.parquet")
    window = (bars["ts"][0].as_py(), bars["ts"][-1].as_py() + 60)
    node = "ohlcv:binance:XRP/ETH:1m"
    with connect_in_memory(InMemoryExchange.serving({node: {}}, 1_790_000_000)) as pipeline:
        trades = market_data / "binance_XRP-ETH_trades.parquet"
        report = pipeline.ingest(trades, node, *window, trades=True, complete=True)
        assert report.released
        read = pipeline.read(node, *window)
    kept = {name: bars[name] for name in read.to_arrow().column_names}
    assert read.to_arrow().to_pydict() == {name: column.to_pylist() for name, column in kept.items()}


def test_recorded_trades_of_kraken_give_the_bars_that_it_sent(market_data: Path) -> None:
    sent = json.loads((market_data / "kraken_trades.json").read_text())["result"]["XBTUSDT"]
    rows = json.loads((market_data / "kraken_ohlc.json").read_text())["result"]["XBTUSDT"]
    node = "ohlcv:kraken:BTC/USDT:1m"
    trades = pd.DataFrame(
        [(row[2], row[0], row[1], row[6]) for row in sent], columns=["time", "price", "qty", "id"]
    )
    with connect_in_memory(InMemoryExchange.serving({node: {}}, 1_790_000_000)) as pipeline:
        pipeline.ingest(trades, node, trades=True, complete=True)
        made = {row["ts"]: row for row in pipeline.read(node).to_arrow().to_pylist()}
    theirs = {int(row[0]): [float(row[at]) for at in (1, 2, 3, 4, 6)] for row in rows if row[7]}
    both = made.keys() & theirs.keys()
    assert len(both) > 100
    for ts in both:
        assert [made[ts][name] for name in ("open", "high", "low", "close", "volume")] == theirs[ts]


def test_bars_of_imported_trades_are_told_apart_until_others_take_their_place() -> None:
    opens = range(START, START + HOUR, 60)
    trades = pd.DataFrame(
        [(ts + at, 100.0 + at % 3, 1.5, ts + at) for ts in opens for at in (1, 20, 59)],
        columns=["ts", "price", "amount", "id"],
    )
    bars = dict.fromkeys(range(START, START + DAY, 60), (101.0, 102.0, 101.0, 102.0, 4.5))
    exchange = InMemoryExchange.serving({NODE: {}}, START + 40 * DAY)

    def labelled(pipeline: sa.Seamless) -> set[int]:
        """Opens of the bars that the newest manifest says are made of trades."""
        (ref,) = pipeline.snapshot(NODE).artifacts
        manifest = pipeline.manifest(NODE, ref)
        made = {ts for one in manifest.from_trades for ts in range(one.start, one.end, 60)}
        assert manifest.conformance_flags.get("from_trades", 0) == len(made)
        assert all("sha256:" in one.evidence for one in manifest.from_trades)
        return made

    with connect_in_memory(exchange) as pipeline:
        told = (START, START + HOUR)
        assert pipeline.ingest(trades, NODE, *told, trades=True).released
        assert labelled(pipeline) == {*opens}
        assert pipeline.read(NODE).metadata.conformance_flags["from_trades"] == 60
        others = frame(START + 600, START + 1_200)
        assert pipeline.ingest(others, NODE, revisions="confirm").revised == 10
        assert labelled(pipeline) == {*opens} - {*range(START + 600, START + 1_200, 60)}
        assert pipeline.ingest(trades, NODE, *told, trades=True, revisions="confirm").revised == 10
        assert labelled(pipeline) == {*opens}
        exchange.series[sa.NodeId.parse(NODE)] = bars
        assert pipeline.materialize(NODE, START, START + DAY).released
        assert labelled(pipeline) == set()
        assert pipeline.read(NODE, *told).to_arrow().column("close").to_pylist() == [102.0] * 60
