"""Aliases: which symbol a bar is of, where a window is cut, and prices in another unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.redenomination import redenominated
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.aliases import Alias, alias_records, cut_at_joints, source_at
from seamless_assets.testing import START, bars_table, make_bars

NODE = NodeId.parse("ohlcv:binance:POL/USDT:1m")


@given(
    st.lists(st.integers(1, 60), unique=True, max_size=4).map(sorted), st.integers(0, 60), st.integers(1, 60)
)
def test_every_part_has_one_source_and_the_parts_are_the_window(
    joints: list[int], start: int, length: int
) -> None:
    aliases = [Alias(f"A{at}/USDT", joint) for at, joint in enumerate(joints)]
    window = Segment(start, start + length)
    parts = cut_at_joints(window, aliases)
    assert [at for part in parts for at in range(*part)] == list(range(*window))
    for part in parts:
        assert len({source_at(NODE, aliases, at) for at in range(*part)}) == 1
    told = {
        at: one["symbol"] for one in alias_records(window, aliases) for at in range(one["start"], one["end"])
    }
    for at in range(*window):
        assert told.get(at, NODE.symbol) == source_at(NODE, aliases, at)[0].symbol


@pytest.mark.parametrize("factor", [1_000.0, 0.001, 1e-6, 3.0])
def test_redenominated_bars_are_those_that_the_decimals_say(factor: float) -> None:
    bars = bars_table({START: (0.00001234, 0.00001235, 0.00001233, 0.00001234, 7e9), START + 60: (1.0,) * 5})
    made = redenominated(bars, factor)
    if factor == 1_000.0:
        assert made["open"][0].as_py() == 0.01234 and made["volume"][0].as_py() == 7e6
    np.testing.assert_allclose(made["close"].to_numpy(), bars["close"].to_numpy() * factor, rtol=1e-15)
    np.testing.assert_allclose(made["volume"].to_numpy() * factor, bars["volume"].to_numpy(), rtol=1e-15)
    assert made["ts"].equals(bars["ts"])
    unknown = bars_table({START: (1.0, 1.0, 1.0, 1.0, float("nan"))})
    assert np.isnan(redenominated(unknown, factor)["volume"].to_numpy()).all()


def test_a_factor_of_one_is_the_bars_themselves() -> None:
    bars = make_bars(START, START + 600)
    assert redenominated(bars, 1.0) is bars
