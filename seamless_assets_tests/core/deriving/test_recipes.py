"""Resampling and weighing: what a plain loop over the bars makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.table import COLUMNS, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.deriving.inputs import DerivationInput, derived_gaps
from seamless_assets.core.deriving.recipes import (
    LOOK_BACK,
    UNKNOWN,
    SourceBars,
    Synthetic,
    is_made_of,
)
from seamless_assets.core.deriving.resampling import resampled
from seamless_assets.core.deriving.weighing import weighed
from seamless_assets.core.node import NodeId
from seamless_assets.testing import START, bars_table, random_walk

MINUTE, FIVE = Timeframe("1m"), Timeframe("5m")
WINDOW = Segment(START, START + 1_800)
states = st.lists(st.sampled_from(["bar", "absent", "missing", "retention"]), min_size=30, max_size=30)


def source(name: str, known: list[str], seed: int = 7, first: float = 100.0) -> SourceBars:
    walk = random_walk(START, START + 1_800, seed=seed, first=first)
    opens = list(walk)
    bars = {ts: walk[ts] for ts, state in zip(opens, known, strict=True) if state == "bar"}
    gaps = [
        Gap(ts, ts + 60, "no_trades" if state == "absent" else state)
        for ts, state in zip(opens, known, strict=True)
        if state != "bar"
    ]
    return SourceBars(NodeId.parse(f"ohlcv:{name}:BTC/USDT:1m"), bars_table(bars), gaps)


@given(states)
def test_a_longer_bar_is_there_where_all_its_parts_are_known(known: list[str]) -> None:
    made = {bar["ts"]: bar for bar in resampled(source("a", known), FIVE, WINDOW).to_pylist()}
    rows = {bar["ts"]: bar for bar in source("a", known).bars.to_pylist()}
    for at, opened in enumerate(range(*WINDOW, 300)):
        parts, held = known[at * 5 : at * 5 + 5], [
            rows[ts] for ts in range(opened, opened + 300, 60) if ts in rows
        ]  # fmt: skip
        assert (opened in made) == (not UNKNOWN & {*parts} and bool(held))
        if opened in made:
            bar = made[opened]
            assert (bar["open"], bar["close"]) == (held[0]["open"], held[-1]["close"])
            assert bar["high"] == max(one["high"] for one in held)
            assert bar["low"] == min(one["low"] for one in held)
            assert bar["volume"] == float(sum(Decimal(repr(one["volume"])) for one in held))


def test_a_volume_that_is_not_known_makes_that_of_the_whole_unknown() -> None:
    rows = random_walk(START, START + 600)
    rows[START + 60] = (*rows[START + 60][:4], float("nan"))
    bars = SourceBars(NodeId.parse("ohlcv:a:BTC/USDT:1m"), bars_table(rows), [])
    volumes = resampled(bars, FIVE, Segment(START, START + 600))["volume"].to_numpy()
    assert np.isnan(volumes[0]) and np.isfinite(volumes[1])


def held_close(rows: Mapping[int, dict[str, Any]], known: list[str], ts: int) -> float | None:
    for at in range(ts, max(ts - LOOK_BACK * 60, START) - 1, -60):
        if at in rows:
            return float(rows[at]["close"])
        if known[(at - START) // 60] in UNKNOWN:
            return None
    return None


@given(states, states, st.sampled_from(["hold", "reweight", "missing"]), st.floats(0.1, 9.0))
def test_a_synthetic_bar_is_the_weighted_mean_of_what_is_known(
    one: list[str], other: list[str], rule: Any, weight: float
) -> None:
    legs = [source("a", one), source("b", other, seed=3, first=101.0)]
    recipe = Synthetic(tuple(zip([leg.node for leg in legs], [1.0, weight], strict=True)), rule)
    made = {bar["ts"]: bar for bar in weighed(recipe, legs, MINUTE, WINDOW).to_pylist()}
    rows = [{bar["ts"]: bar for bar in leg.bars.to_pylist()} for leg in legs]
    for ts, *both in zip(range(*WINDOW, 60), one, other, strict=True):
        there = [ts in known for known in rows]
        closes = [held_close(held, known, ts) for held, known in zip(rows, (one, other), strict=True)]
        expected = not UNKNOWN & {*both} and any(there)
        if rule == "hold":
            expected = expected and None not in closes
        elif rule == "missing":
            expected = expected and all(there)
        assert (ts in made) == expected
        if not expected:
            continue
        shares = [w for w, here in zip([1.0, weight], there, strict=True)] if rule == "hold" else [
            w if here else 0.0 for w, here in zip([1.0, weight], there, strict=True)
        ]  # fmt: skip
        for name in COLUMNS[1:5]:
            values = [
                known[ts][name] if here else close or 0.0
                for known, here, close in zip(rows, there, closes, strict=True)
            ]
            mean = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
            assert made[ts][name] == pytest.approx(mean, rel=1e-12)
        assert made[ts]["low"] <= min(made[ts]["open"], made[ts]["close"])
        assert made[ts]["high"] >= max(made[ts]["open"], made[ts]["close"])
        assert made[ts]["volume"] == pytest.approx(sum(k[ts]["volume"] for k in rows if ts in k))


@pytest.mark.parametrize("away", [LOOK_BACK - 1, LOOK_BACK, LOOK_BACK + 1, 3 * LOOK_BACK])
def test_where_no_close_is_near_enough_to_stand_in_the_bar_is_absent(away: int) -> None:
    """The bars of a held leg end `away` bars before the window's last one."""
    recipe = Synthetic(
        ((NodeId.parse("ohlcv:a:BTC/USDT:1m"), 1.0), (NodeId.parse("ohlcv:b:BTC/USDT:1m"), 1.0)), "hold"
    )
    read = Segment(START - 4 * LOOK_BACK * 60, START + 60)
    every, last = random_walk(*read), START - away * 60
    gap = Gap(last + 60, read.end, "halted")
    known = {ts: row for ts, row in every.items() if ts <= last}
    sources = [
        SourceBars(recipe.sources[0], bars_table(every), []),
        SourceBars(recipe.sources[1], bars_table(known), [gap]),
    ]
    window = Segment(START, START + 60)
    made = weighed(recipe, sources, MINUTE, window)
    assert made.num_rows == (away <= LOOK_BACK)
    inputs = [
        DerivationInput.of(
            one.node,
            read,
            one.bars,
            one.gaps,
            conformance_version="v2",
            as_of="2025-02-01T00:00:00Z",
            dataset_fingerprint="sha256:" + "0" * 64,
        )
        for one in sources
    ]
    gaps = derived_gaps(
        MINUTE, window, timestamps(made), inputs, needs_all=recipe.needs_all, held_bars=recipe.held_bars
    )
    assert gaps == (() if made.num_rows else (Gap(*window, "halted"),))


@pytest.mark.parametrize(
    ("coarse", "fine", "expected"),
    [("4h", "1h", True), ("1h", "1h", False), ("1h", "4h", False), ("7m", "2m", False), ("1w", "1d", True),
     ("1M", "1d", True), ("1M", "1w", False), ("3M", "1M", True), ("1y", "1M", True), ("1y", "5M", False),
     ("1w", "2d", False), ("90d", "1M", False), ("1M", "7h", False)],
)  # fmt: skip
def test_which_bars_are_made_of_whole_shorter_ones(coarse: str, fine: str, expected: bool) -> None:
    assert is_made_of(Timeframe(coarse), Timeframe(fine)) is expected
