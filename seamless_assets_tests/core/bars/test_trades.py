"""Bars of trades: what a plain loop over exact decimals makes of them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars import trades as trades_module
from seamless_assets.core.bars.trades import bars_of_trades, decimal_sums
from seamless_assets.core.calendar.timeframe import Timeframe

amounts = st.one_of(
    st.integers(0, 10**9).map(lambda number: number / 1e8),
    st.integers(0, 10**6).map(float),
    st.floats(0, 1e12, allow_nan=False),
)
trades = st.lists(
    st.tuples(st.integers(1_700_000_000, 1_700_004_000), st.floats(1e-9, 1e6), amounts), min_size=1
)


@given(trades, st.sampled_from(["1s", "1m", "7m", "1h", "1w", "1M"]))
def test_bars_are_what_a_plain_loop_makes_of_trades(made: list[tuple[int, float, float]], text: str) -> None:
    timeframe, made = Timeframe(text), sorted(made, key=lambda trade: trade[0])
    expected: dict[int, list[tuple[float, Decimal]]] = {}
    for second, price, amount in made:
        expected.setdefault(timeframe.floor(second), []).append((price, Decimal(repr(amount))))
    seconds, prices, sizes = (np.array(column) for column in zip(*made, strict=True))
    bars = bars_of_trades(seconds, prices, sizes, timeframe).to_pylist()
    assert [bar["ts"] for bar in bars] == list(expected)
    for bar, held in zip(bars, expected.values(), strict=True):
        each = [price for price, _ in held]
        assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (
            each[0],
            max(each),
            min(each),
            each[-1],
        )
        assert bar["volume"] == float(sum(size for _, size in held))


def test_amounts_add_up_as_they_are_written() -> None:
    assert decimal_sums(np.array([0.1, 0.2, 0.7, 0.1]), np.array([0, 2])).tolist() == [0.3, 0.8]
    assert 0.1 + 0.2 != 0.3


def test_one_group_that_floats_cannot_hold_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(*text: str) -> Fraction:
        made.extend(text)
        return Fraction(*text)

    monkeypatch.setattr(trades_module, "Fraction", counted)
    values = np.array([0.1, 0.2, 1e300, 1e-9, 1.5, 2.0, 1e-17, 3e-17, 0.125, 0.3])
    sums = decimal_sums(values, np.array([0, 2, 4, 6, 8]))
    assert sums.tolist() == [0.3, 1e300, 3.5, 4e-17, 0.425]
    assert made == ["1e+300", "1e-09", "1e-17", "3e-17"]


def test_no_trades_are_no_bars() -> None:
    empty = np.empty(0)
    assert bars_of_trades(empty.astype(np.int64), empty, empty, Timeframe("1m")).num_rows == 0
