"""Replays: the same events from history, as released or as they were known, in the order of time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from support.live import HOUR, NODE, LiveMarket, collect, lasting, request, shown

from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.events import Bar, Event, Gap, Revised
from seamless_assets.core.live.position import FOLLOWED_BARS
from seamless_assets.core.live.replay import ReplayRequest, order_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.scan import Scan
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.errors import ArtifactCorrupt, CoverageMissing, InvalidInput
from seamless_assets.flows.live.replay import BATCH, replay, replay_in_batches
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.gather import gather_released
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import START, run_on_virtual_time

ETH = NodeId.parse("ohlcv:binance:ETH/USDT:5m")
BEGIN, END = START + 5 * HOUR, START + 8 * HOUR


async def replayed(
    ports: Ports, nodes: Sequence[NodeId], start: Any, end: Any = END, **more: Any
) -> list[Event]:
    given = {"as_of": None, "speed": None, "knowledge": "final", **more}
    return [event async for event in replay(ports, ReplayRequest.parse(nodes, start, end, **given))]


async def lived(market: LiveMarket, ports: Ports) -> list[Event]:
    """A live stream over corrections that come while it goes on."""

    async def correct() -> None:
        for number in range(12):
            await asyncio.sleep(313)
            closed = int(market.clock.now()) // 60 * 60
            market.correct(NODE, closed - 60 * (2 + number % 5), 100.0 + number)

    for ts in (BEGIN + 600, BEGIN + 660, START + 7 * HOUR):
        market.exchange.series[NODE].pop(ts, None)
    correcting = asyncio.create_task(correct())
    events = await collect(ports, request(market.nodes, BEGIN, END))
    await correcting
    return events


def test_what_was_lived_is_replayed_as_it_was_known_then() -> None:
    market = LiveMarket([NODE, ETH])

    async def work() -> None:
        ports = market.process()
        live = await lived(market, ports)
        assert sum(isinstance(event, Revised) for event in live) >= 10
        await asyncio.sleep(24 * HOUR)
        for node in market.nodes:
            assert (await materialize(ports, node, Segment(START, START + 24 * HOUR))).released
        then = await replayed(ports, market.nodes, BEGIN, knowledge="then")
        assert [order_of(event)[0] for event in then] == sorted(order_of(event)[0] for event in then)
        for node in market.nodes:
            mine = [event for event in lasting(live) if event.node_id == str(node)]
            assert [event for event in then if event.node_id == str(node)] == mine
        final = await replayed(ports, market.nodes, BEGIN)
        assert {type(event) for event in final} == {Bar, Gap}
        for node in market.nodes:
            assert shown(final, node) == shown(then, node) == market.truth(node, BEGIN, END)
        # From any event on, and at any pace.
        for at in range(3, len(then), 170):
            rest = await replayed(ports, market.nodes, then[at].cursor, knowledge="then")
            for node in market.nodes:
                mine = [event for event in then[at + 1 :] if event.node_id == str(node)]
                assert [event for event in rest if event.node_id == str(node)] == mine

    run_on_virtual_time(work)


def test_each_correction_of_a_long_window_is_told_once() -> None:
    market = LiveMarket(now=START + 20 * HOUR + 600)

    async def work() -> None:
        ports = market.process()
        window = Segment(START, START + 20 * HOUR)
        await materialize(ports, NODE, window)
        corrected = range(START + 300, START + 20 * HOUR - 600, 7 * 60)
        for ts in corrected:
            row = (ts, *market.exchange.series[NODE][ts][:4], 77.0)
            bar = table_of([row], BARS_SCHEMA)
            await ports.hot.write_bars(NODE, bar, (), recorded_at=ts + 200.0)
        await materialize(ports, NODE, window)
        then = await replayed(ports, [NODE], *window, knowledge="then")
        assert Counter(e.ts for e in then if isinstance(e, Revised)) == dict.fromkeys(corrected, 1)
        assert len(corrected) > 150 and window.end - window.start > 2 * FOLLOWED_BARS * 60
        rest = await replayed(ports, [NODE], then[700].cursor, window.end, knowledge="then")
        assert rest == then[701:]

    run_on_virtual_time(work)


def test_corrections_that_only_releases_know_are_told_when_they_were_released() -> None:
    market = LiveMarket(now=START + 30 * HOUR)

    async def work() -> None:
        ports = market.process()
        day = Segment(START, START + 24 * HOUR)
        await materialize(ports, NODE, day)
        before = instant_text(int(market.clock.now() * 1e6))
        await asyncio.sleep(60)
        late = START + 24 * HOUR - 120
        market.correct(NODE, late, 1_000.0)
        await materialize(ports, NODE, day)
        market.hot.revisions.clear()
        window = (START + 23 * HOUR, START + 24 * HOUR)
        first = await replayed(ports, [NODE], *window, as_of=before)
        last = await replayed(ports, [NODE], *window)
        then = await replayed(ports, [NODE], *window, knowledge="then")
        volumes = [
            next(e.volume for e in events if isinstance(e, Bar) and e.ts == late) for events in (first, last)
        ]
        assert volumes[0] != volumes[1] == 1_000.0
        # It came hours after the window's end, and whoever lived through the window did not hear of it.
        assert then == first

    run_on_virtual_time(work)


def test_every_cursor_continues_with_the_rest_where_only_releases_know_the_corrections() -> None:
    market = LiveMarket(now=START + 9 * HOUR + 600)

    async def work() -> None:
        ports = market.process()
        for number in range(4):
            # Each release corrects bars that were told long ago, and while the next ones are told.
            now = int(market.clock.now()) // 60 * 60
            await materialize(ports, NODE, Segment(START + 8 * HOUR, now - 300))
            for back in (600, 1_500, 3_000):
                market.correct(NODE, now - back, 1_000.0 + number)
            await asyncio.sleep(600)
        await asyncio.sleep(HOUR)
        await materialize(ports, NODE, Segment(START + 8 * HOUR, START + 10 * HOUR))
        market.hot.revisions.clear()
        window = (START + 9 * HOUR, START + 10 * HOUR)
        then = await replayed(ports, [NODE], *window, knowledge="then")
        assert sum(isinstance(event, Revised) for event in then) >= 4
        for at, event in enumerate(then):
            rest = await replayed(ports, [NODE], event.cursor, window[1], knowledge="then")
            assert rest == then[at + 1 :]

    run_on_virtual_time(work)


def test_what_was_loaded_is_told_before_more_is_loaded_and_so_where_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = LiveMarket(now=START + 30 * HOUR)
    windows, told = list[Segment](), list[Event]()

    async def gather_once(ports: Ports, node: NodeId, window: Segment, snapshot: Snapshot) -> Gathered:
        windows.append(window)
        if len(windows) > 1:
            raise ArtifactCorrupt("spoiled")
        return await gather_released(ports, node, window, snapshot)

    async def follow(ports: Ports) -> None:
        asked = ReplayRequest.parse([NODE], START, START + 10 * HOUR, None, None, "final")
        async for event in replay(ports, asked):
            told.append(event)

    async def work() -> None:
        ports = market.process()
        await materialize(ports, NODE, Segment(START, START + 10 * HOUR))
        monkeypatch.setattr("seamless_assets.flows.live.replay.gather_released", gather_once)
        with pytest.raises(ArtifactCorrupt):
            await follow(ports)
        first, second = windows
        assert [event.end for event in told] == list(range(START + 60, first.end + 60, 60))
        assert second.start == first.end

    run_on_virtual_time(work)


def test_a_speed_lets_history_pass_at_that_pace() -> None:
    market = LiveMarket(now=START + 30 * HOUR)

    async def work() -> None:
        ports = market.process()
        await materialize(ports, NODE, Segment(START, START + 24 * HOUR))
        began = market.clock.now()
        await replayed(ports, [NODE], BEGIN, BEGIN + HOUR, speed=60.0)
        assert market.clock.now() - began == pytest.approx(59.0, abs=0.1)

    run_on_virtual_time(work)


def test_what_is_not_released_is_refused_before_the_first_event() -> None:
    market = LiveMarket(now=START + 30 * HOUR)

    async def work() -> None:
        ports = market.process()
        await materialize(ports, NODE, Segment(START, START + 24 * HOUR))
        with pytest.raises(CoverageMissing):
            await replayed(ports, [NODE], BEGIN, START + 25 * HOUR)
        for wrong in ({"speed": 0}, {"speed": -1.0}, {"knowledge": "later"}, {"speed": float("nan")}):
            with pytest.raises(InvalidInput):
                await replayed(ports, [NODE], BEGIN, **wrong)
        for start, end in ((None, END), (BEGIN, None), (END, BEGIN)):
            with pytest.raises(InvalidInput):
                await replayed(ports, [NODE], start, end)

    run_on_virtual_time(work)


def test_batches_hold_the_same_events_and_each_of_them_resumes_all_nodes() -> None:
    market = LiveMarket([NODE, NodeId.parse("ohlcv:binance:ETH/USDT:1m")], now=START + 30 * HOUR)

    async def work() -> None:
        ports = market.process()
        for node in market.nodes:
            await materialize(ports, node, Segment(START, START + 24 * HOUR))
        given = ReplayRequest.parse(market.nodes, START, START + 6 * HOUR, None, None, "final")
        batches = [batch async for batch in replay_in_batches(ports, given)]
        assert [len(batch) for batch in batches] == [BATCH, 2 * 360 - BATCH]
        events = [event for batch in batches for event in batch]
        assert events == await replayed(ports, market.nodes, START, START + 6 * HOUR)
        for at in (0, 1, BATCH - 1, BATCH, BATCH + 1):
            assert (
                await replayed(ports, market.nodes, events[at].cursor, START + 6 * HOUR) == events[at + 1 :]
            )

    run_on_virtual_time(work)


@pytest.mark.parametrize("hours", [5, 24])
def test_each_artifact_is_loaded_once_and_no_two_scans_hold_the_same_bars(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = LiveMarket(now=START + 30 * HOUR)
    loaded: set[tuple[ArtifactRef, ...]] = set()

    async def work() -> None:
        ports = market.process()
        for first in range(0, 24, hours):
            end = START + min(24, first + hours) * HOUR
            await materialize(ports, NODE, Segment(START + first * HOUR, end))
        load = ports.artifacts.load_scan

        async def load_scan(node: NodeId, refs: Sequence[ArtifactRef]) -> Scan:
            loaded.add(tuple(refs))
            return await load(node, refs)

        monkeypatch.setattr(ports.artifacts, "load_scan", load_scan)
        events = await replayed(ports, [NODE], START, START + 24 * HOUR)
        assert [event.end for event in events] == list(range(START + 60, START + 24 * HOUR + 60, 60))
        every = [ref for refs in loaded for ref in refs]
        assert len(every) == len(set(every)) == len((await ports.artifacts.load_snapshot(NODE)).artifacts)

    run_on_virtual_time(work)
