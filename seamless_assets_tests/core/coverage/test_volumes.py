"""Volumes as witnesses: what a row without one leaves unknown, and whose bars count of neighbours."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page, page_of
from seamless_assets.core.coverage.witnesses import Volumes, volumes_of
from seamless_assets.core.node import NodeId

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
MINUTE = Timeframe("1m")


def sent(volumes: dict[int, float]) -> Page:
    """A page of bars of an hour, by their opens."""
    prices = [1.0] * len(volumes)
    columns = [[ts * 1000 for ts in volumes], prices, prices, prices, prices, list(volumes.values())]
    return page_of(NODE, Segment(0, 3_600), pa.table(dict(zip(COLUMNS, columns, strict=True))))


def bars(volumes: dict[int, float], *complete: Segment) -> Volumes:
    opens = np.array(list(volumes), dtype=np.int64)
    return Volumes(MINUTE, opens, np.array(list(volumes.values())), complete)


@pytest.mark.parametrize("volume", [math.nan, -1.0])
def test_nothing_is_complete_where_a_row_has_no_volume_that_can_be(volume: float) -> None:
    told = volumes_of([sent({0: 1.0, 60: volume, 120: 2.0})], MINUTE)
    assert told.opens.tolist() == [0, 120]
    assert told.complete == (Segment(0, 60), Segment(120, 180))
    again = volumes_of([sent({0: 1.0, 60: volume, 120: 2.0}), sent({60: 3.0})], MINUTE)
    assert again.complete == (Segment(0, 180),)


def test_inside_its_bounds_a_pieces_own_bars_count_and_outside_those_that_were_just_sent() -> None:
    own = bars({0: 1.0, 120: 1.0, 180: 9.0}, Segment(0, 180))
    others = bars({60: 5.0, 180: 2.0, 240: 3.0}, Segment(60, 300))
    both = own.with_others(others, Segment(0, 180))
    assert dict(zip(both.opens.tolist(), both.traded.tolist(), strict=True)) == {
        0: 1.0,
        120: 1.0,
        180: 2.0,
        240: 3.0,
    }
    assert both.complete == (Segment(0, 300),)
