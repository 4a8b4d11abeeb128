"""What a stream loads of a bar that has just closed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.live import HOUR, NODE, POLICY, LiveMarket

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.position import Position
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.live.known import load_known
from seamless_assets.testing import START, run_on_virtual_time


@pytest.mark.parametrize("stabilization_bars", [0, 1, 2])
def test_a_bar_that_closes_asks_for_no_release(
    stabilization_bars: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = LiveMarket()
    closed = START + 6 * HOUR

    async def work() -> None:
        policy = replace(POLICY, stabilization_bars=stabilization_bars)
        ports = replace(market.process(), policy=policy)
        await backfill(ports, NODE, Segment(closed - HOUR, closed))
        asked = list[object]()
        monkeypatch.setattr(ports.artifacts, "load_snapshot", asked.append)
        known = await load_known(ports, NODE, Position.begin(closed - 60), closed, closed)
        assert known.bars.num_rows == 1 and not asked

    run_on_virtual_time(work)
