"""Panels: one tick for each bar time, complete or at its deadline, and nothing lost between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from support.live import HOUR, LiveMarket, request, shown

from seamless_assets.core.live import panel as panels
from seamless_assets.core.live.events import Bar, Event, Gap
from seamless_assets.core.live.panel import LATE, Panel, Tick, timeframe_of
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.live import known
from seamless_assets.flows.live.panel import subscribe_panel
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.testing import START, run_on_virtual_time

NODES = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(3)]
BEGIN, END = START + 6 * HOUR - 1_200, START + 6 * HOUR + 1_200


async def ticks_of(market: LiveMarket, asked: StreamRequest, deadline: float = 10.0) -> list[Tick]:
    found = [event async for event in subscribe_panel(market.process(), asked, deadline)]
    return [event for event in found if isinstance(event, Tick)]


def events_of(ticks: list[Tick], node: NodeId) -> list[Event]:
    """All that a reader of the ticks knows of a node, in order."""
    return [
        event
        for tick in ticks
        for event in (*tick.late, *([tick.bars[str(node)]] if str(node) in tick.bars else []))
        if event.node_id == str(node)
    ]


def test_each_bar_time_is_one_tick_with_all_nodes_accounted_for() -> None:
    market = LiveMarket(NODES, skip=0.2)

    async def work() -> None:
        # The last bar of each is followed by one, so that nothing stays open.
        ticks = await ticks_of(market, request(NODES, BEGIN, END), deadline=3_600.0)
        assert [tick.ts for tick in ticks] == list(range(BEGIN, END, 60))
        assert all(tick.bars.keys() | tick.missing.keys() == set(map(str, NODES)) for tick in ticks)
        assert all(not tick.bars.keys() & tick.missing.keys() for tick in ticks)
        assert {reason for tick in ticks for reason in tick.missing.values()} == {"no_trades"}
        for node in NODES:
            assert shown(events_of(ticks, node), node) == market.truth(node, BEGIN, END)
        for at in range(0, len(ticks), 9):
            again = await ticks_of(market, request(NODES, ticks[at].cursor, END), deadline=3_600.0)
            assert again == ticks[at + 1 :]

    run_on_virtual_time(work)


def test_at_the_deadline_the_missing_are_named_and_come_with_a_later_tick() -> None:
    market = LiveMarket(NODES)
    slow = NODES[1]
    late = dict(market.exchange.series[slow])

    async def work() -> None:
        async def serve() -> None:
            for ts in sorted(ts for ts in late if ts >= START + 6 * HOUR + 300):
                await asyncio.sleep(max(0.0, ts + 75 - market.clock.now()))
                market.exchange.series[slow][ts] = late[ts]

        for ts in [ts for ts in late if ts >= START + 6 * HOUR + 300]:
            del market.exchange.series[slow][ts]
        serving = asyncio.create_task(serve())
        ticks = await ticks_of(market, request(NODES, None, END), deadline=5.0)
        serving.cancel()
        assert [left.end == right.ts for left, right in pairwise(ticks)] == [True] * (len(ticks) - 1)
        behind = [tick for tick in ticks if tick.missing]
        assert len(behind) > 10 and all(tick.missing == {str(slow): LATE} for tick in behind)
        for node in NODES[::2]:
            assert shown(events_of(ticks, node), node) == market.truth(node, START + 6 * HOUR, END)
        emitted = shown(sorted(events_of(ticks, slow), key=lambda event: event.place.own.upto), slow)
        # What is late at the very end has no tick that it could come with.
        assert set(market.truth(slow, START + 6 * HOUR, END)) - set(emitted) <= {END - 60}
        # A cursor of a tick that went without it resumes with what is late.
        rest = await ticks_of(market, request(NODES, behind[3].cursor, END), deadline=3_600.0)
        assert behind[3].ts in {event.ts for event in events_of(rest, slow)}  # type: ignore[attr-defined]

    run_on_virtual_time(work)


@pytest.mark.parametrize(("frame", "deadline"), [("1m", 10.0), ("1m", 45.0), ("1m", 150.0), ("5m", 400.0)])
def test_no_tick_is_told_later_than_its_deadline_however_long_that_is(frame: str, deadline: float) -> None:
    nodes = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:{frame}") for number in range(2)]
    market, silent = LiveMarket(nodes), nodes[1]
    length = silent.timeframe.seconds or 0

    async def work() -> None:
        market.exchange.series[silent] = market.truth(silent, START, market.now - length)
        panel = subscribe_panel(market.process(), request(nodes, None), deadline)
        after = []
        async for event in panel:
            if isinstance(event, Tick):
                assert event.missing == {str(silent): LATE}
                after.append(market.clock.now() - event.end)
                if len(after) == 6:
                    break
        await panel.aclose()
        assert deadline <= min(after) and max(after) < deadline + 2.0

    run_on_virtual_time(work)


def test_whatever_a_panel_tells_has_a_cursor_that_loses_no_bar_and_repeats_none() -> None:
    """That of what tells of one node's clock, and of the bars in a tick, too."""
    market = LiveMarket(NODES, skip=0.2)

    async def work() -> None:
        asked = request(NODES, BEGIN, START + 6 * HOUR)
        told = [event async for event in subscribe_panel(market.process(), asked, 3_600.0)]
        assert {type(event).__name__ for event in told} == {"Tick", "CaughtUp"}
        for at, event in enumerate(told):
            rest = [one for one in told[at + 1 :] if isinstance(one, Tick)]
            inside = [*event.bars.values(), *event.late] if isinstance(event, Tick) else []
            for cursor in {event.cursor, *(one.cursor for one in inside)}:
                assert await ticks_of(market, request(NODES, cursor, START + 6 * HOUR), 3_600.0) == rest

    run_on_virtual_time(work)


def test_nodes_of_several_timeframes_make_no_panel() -> None:
    with pytest.raises(InvalidInput, match="1m, 1h"):
        timeframe_of([NODES[0], NodeId.parse("ohlcv:binance:C1/USDT:1h")])


def test_no_more_is_loaded_of_a_node_that_is_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_BARS", 20)
    market = LiveMarket(NODES)
    ahead, read = NODES[0], Counter[str]()

    def has_room(node: NodeId) -> bool:
        return node != ahead or read[str(node)] < 100 or read[str(NODES[1])] >= 300

    async def work() -> None:
        asked = request(NODES, START, START + 6 * HOUR)
        stream = subscribe(market.process(), asked, has_room)
        async for event in stream:
            if isinstance(event, Bar | Gap):
                read[event.node_id] += 1
                if read[str(NODES[1])] < 300:
                    assert read[str(ahead)] <= 100 + known.MAX_BARS

    run_on_virtual_time(work)
    assert len(set(read.values())) == 1


def test_a_panel_has_no_room_for_a_node_whose_events_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "MAX_AHEAD", 20)
    market, positions = LiveMarket(NODES), {str(node): Position(START) for node in NODES}
    panel = Panel(NODES, positions)

    async def work() -> None:
        events = [
            event
            async for event in subscribe(market.process(), request(NODES[:1], START, START + HOUR))
            if isinstance(event, Bar)
        ]
        for event in events[:20]:
            assert panel.has_room(NODES[0])
            panel.add(event, 0.0)
        assert not panel.has_room(NODES[0])
        assert panel.has_room(NODES[1])
        panel.tick()
        assert panel.has_room(NODES[0])

    run_on_virtual_time(work)
