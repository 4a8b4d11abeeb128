"""Recorded markets replayed: what bars of other lengths or trades prove is absent, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from quirks.conftest import Stage

from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.replay import Replay, read_bars

MINUTE, HOUR, DAY = 60, 3_600, 86_400
BITTREX = ["bittrex_WAX-BTC", "bittrex_ADA-BTC"]


def replay_of(folder: Path, name: str, *frames: str) -> tuple[str, Replay]:
    symbol, replay = name.partition("_")[2].replace("-", "/"), Replay()
    for frame in frames:
        replay.add_file(f"{symbol}:{frame}={folder / name}_{frame}.parquet")
    return symbol, replay


def proven_by(coarse: np.ndarray, step: int, minutes: np.ndarray) -> set[int]:
    """Minutes without a bar that bars of `step` seconds account for, minute by minute."""
    volumes = dict(zip(coarse["ts"].tolist(), coarse["volume"].tolist(), strict=True))
    first, last = int(coarse["ts"][0]), int(coarse["ts"][-1])
    inside: dict[int, float] = {}
    for ts, volume in zip(minutes["ts"].tolist(), minutes["volume"].tolist(), strict=True):
        inside[ts // step * step] = inside.get(ts // step * step, 0.0) + volume
    there = set(minutes["ts"].tolist())
    proven = set()
    for cell in range(first, last + step, step):
        volume = volumes.get(cell, 0.0)
        if abs(volume - inside.get(cell, 0.0)) < 1e-7:
            proven |= set(range(cell, cell + step, MINUTE)) - there
    return proven


def absent(stage: Stage, node: str, start: int, end: int) -> set[int]:
    gaps = stage.pipeline.coverage(node, start, end).gaps
    return {ts for g in gaps if g.reason == "no_trades" for ts in range(g.start, g.end, MINUTE)}


@pytest.mark.parametrize("name", BITTREX)
def test_every_recorded_hole_is_proven_once(
    staged: Callable[..., Stage], market_data: Path, name: str
) -> None:
    symbol, replay = replay_of(market_data, name, "1m", "5m", "1h")
    minutes, fives, hours = (read_bars(market_data / f"{name}_{f}.parquet") for f in ("1m", "5m", "1h"))
    start, end = int(minutes["ts"][0]), int(minutes["ts"][-1]) + MINUTE
    stage, node = (
        staged({"binance": [symbol]}, replay=replay, now=end + 30 * DAY),
        f"ohlcv:binance:{symbol}:1m",
    )
    report = stage.backfill(node, start, end)
    holes = set(range(start, end, MINUTE)) - set(minutes["ts"].tolist())
    within = {
        ts for ts in proven_by(fives, 300, minutes) | proven_by(hours, HOUR, minutes) if start <= ts < end
    }
    assert within == holes and len(holes) > 2000
    assert absent(stage, node, start, end) == holes
    assert (report.coverage.present, report.coverage.missing) == (len(minutes), 0)
    asked = stage.asked("klines")
    # Each page of minutes, and at most each of the fives and hours that account for what is no chance, once.
    pages = {step: (end - start) / step / 1000 for step in (MINUTE, 300, HOUR)}
    assert asked <= pages[MINUTE] + 3 + pages[300] + 1 + pages[HOUR] + 1
    again = stage.backfill(node, start, end)
    assert again.fetched == () and stage.asked("klines") == asked


@pytest.mark.parametrize("name", BITTREX)
def test_where_no_page_brackets_a_hole_coarser_bars_decide(
    staged: Callable[..., Stage], market_data: Path, name: str
) -> None:
    """From some minute on the exchange serves no more 1m bars, while 5m and 1h bars go on."""
    symbol, replay = replay_of(market_data, name, "1m", "5m", "1h")
    minutes, fives, hours = (read_bars(market_data / f"{name}_{f}.parquet") for f in ("1m", "5m", "1h"))
    lost_from = int(minutes["ts"][-1]) // HOUR * HOUR - 12 * HOUR
    window = lost_from - DAY, lost_from + 10 * HOUR
    stage, node = (
        staged({"binance": [symbol]}, replay=replay, now=window[1] + 30 * DAY),
        f"ohlcv:binance:{symbol}:1m",
    )
    stage.exchange.faults.add(Fault("hide", symbol="interval=1m", start=lost_from, end=2e9, times=None))
    stage.exchange.faults.add(Fault("empty", path="aggTrades", times=None))
    stage.backfill(node, *window)
    served = minutes[minutes["ts"] < lost_from]
    by_coarser = proven_by(fives, 300, served) | proven_by(hours, HOUR, served)
    bracketed = set(range(window[0], int(served["ts"][-1]), MINUTE)) - set(served["ts"].tolist())
    expected = {ts for ts in bracketed | by_coarser if window[0] <= ts < window[1]}
    assert absent(stage, node, *window) == expected
    assert stage.reasons(node, *window)["missing"] == (window[1] - window[0]) // MINUTE - len(expected) - len(
        served[served["ts"] >= window[0]]
    )
    traded = {int(ts) for ts in minutes["ts"] if lost_from <= ts < window[1]}
    assert traded and not traded & expected


def test_where_there_are_no_coarser_bars_trades_decide(
    staged: Callable[..., Stage], market_data: Path
) -> None:
    name, symbol = "binance_XRP-ETH", "XRP/ETH"
    _, replay = replay_of(market_data, name, "1m")
    replay.add_trades(f"{symbol}={market_data / name}_trades.parquet")
    minutes = read_bars(market_data / f"{name}_1m.parquet")
    times = pq.read_table(market_data / f"{name}_trades.parquet").column("timestamp").to_numpy() // 1000
    end = int(minutes["ts"][-1])
    lost_from = end - 2 * HOUR
    stage, node = (
        staged({"binance": [symbol]}, replay=replay, now=end + 30 * DAY),
        f"ohlcv:binance:{symbol}:1m",
    )
    stage.exchange.faults.add(Fault("hide", path="klines", start=lost_from, end=2e9, times=None))
    stage.backfill(node, lost_from - HOUR, end)
    quiet = set(range(lost_from - HOUR, end, MINUTE)) - set((times // MINUTE * MINUTE).tolist())
    assert absent(stage, node, lost_from - HOUR, end) == quiet
    traded = {int(ts) for ts in minutes["ts"] if lost_from <= ts < end}
    assert stage.reasons(node, lost_from - HOUR, end)["missing"] == len(traded) > 50
    assert quiet == set(range(lost_from - HOUR, end, MINUTE)) - set(minutes["ts"].tolist())
