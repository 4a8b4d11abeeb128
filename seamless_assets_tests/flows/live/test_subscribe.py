"""Subscriptions on virtual time: history and what closes, as one stream, whatever goes wrong."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from support.live import HOUR, NODE, POLICY, LiveMarket, collect, lasting, request, shown

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.live.events import Bar, CaughtUp, Event, Gap, Revised, Stale
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import lease_key
from seamless_assets.errors import UnknownSymbol
from seamless_assets.flows.filling.backfill import pieces
from seamless_assets.flows.live.look import OVERLAP_BARS
from seamless_assets.flows.live.subscribe import OBJECTS_A_NODE, subscribe
from seamless_assets.testing import START, InMemoryHotStore, run_on_virtual_time

BEGIN, END = START + 5 * HOUR, START + 7 * HOUR
FRAMES = ("1m", "15m", "1h")


def node(symbol: str, frame: str = "1m") -> NodeId:
    return NodeId.parse(f"ohlcv:binance:{symbol}/USDT:{frame}")


@pytest.mark.parametrize("skip", [0.0, 0.3])
def test_history_and_what_closes_is_the_exchanges_truth(skip: float) -> None:
    nodes = [node("BTC", frame) for frame in FRAMES]
    market = LiveMarket(nodes, skip=skip)

    async def work() -> None:
        events = await collect(market.process(), request(nodes, BEGIN, END))
        for one in nodes:
            assert shown(events, one) == market.truth(one, BEGIN, END)
            of_node = [event for event in events if event.node_id == str(one)]
            covered = [(e.ts, e.end) if isinstance(e, Bar) else (e.start, e.end) for e in of_node
                       if isinstance(e, Bar | Gap)]  # fmt: skip
            assert covered[0][0] == BEGIN and covered[-1][1] == END
            assert all(left[1] == right[0] for left, right in pairwise(covered))
            assert not [e for e in of_node if isinstance(e, Gap) and e.reason == "missing"]
            assert isinstance(of_node[0], Bar | Gap) and any(isinstance(e, CaughtUp) for e in of_node)

    run_on_virtual_time(work)


def test_a_bar_is_emitted_within_seconds_of_its_close_and_costs_one_request() -> None:
    market = LiveMarket()

    async def work() -> None:
        async for event in subscribe(market.process(), request([NODE], None, START + 8 * HOUR)):
            if isinstance(event, Bar):
                assert event.end < market.clock.now() < event.end + 1
        # Bars before the beginning of a chunk are asked for under that chunk's own lease.
        assert len(market.exchange.asked) <= 121 + OVERLAP_BARS

    run_on_virtual_time(work)


def test_without_since_it_begins_with_the_bar_that_forms() -> None:
    market = LiveMarket()

    async def work() -> None:
        events = await collect(market.process(), request([NODE], None, START + 6 * HOUR + 180))
        assert [e.ts for e in events if isinstance(e, Bar)] == [START + 6 * HOUR + 60 * n for n in range(3)]

    run_on_virtual_time(work)


def test_while_it_is_open_cycles_are_looked_for_the_later_the_more_nodes_it_has() -> None:
    nodes, usual = [NODE, node("ETH")], gc.get_threshold()
    market = LiveMarket(nodes)

    async def work() -> None:
        async with aclosing(subscribe(market.process(), request(nodes, BEGIN))) as events:
            await anext(events)
            assert gc.get_threshold() == (usual[0] + 2 * OBJECTS_A_NODE, *usual[1:])
        assert gc.get_threshold() == usual

    run_on_virtual_time(work)


@pytest.mark.parametrize("seconds", [0, 0.5, 25])
def test_a_window_that_holds_no_whole_bar_is_empty(seconds: float) -> None:
    market = LiveMarket()
    since = NODE.timeframe.floor(int(market.now)) - 600 + 20.25
    asked = request([NODE], since, since + seconds)
    assert run_on_virtual_time(lambda: collect(market.process(), asked)) == []
    assert market.exchange.asked == []


def test_an_end_in_the_past_asks_for_nothing_beyond_and_ends() -> None:
    market = LiveMarket(skip=0.3)

    async def work() -> None:
        events = await collect(market.process(), request([NODE], BEGIN, BEGIN + HOUR))
        assert shown(events) == market.truth(NODE, BEGIN, BEGIN + HOUR)
        assert max(window.end for window in market.exchange.asked) < BEGIN + 3 * HOUR
        assert await collect(market.process(), request([NODE], BEGIN, BEGIN)) == []

    run_on_virtual_time(work)


def test_a_cursor_of_any_event_resumes_after_it_in_another_process() -> None:
    nodes = [node("BTC"), node("ETH", "5m"), node("SOL")]
    market = LiveMarket(nodes, skip=0.2)

    async def work() -> None:
        whole = await collect(market.process(), request(nodes, BEGIN, END - HOUR // 2))
        for at in range(0, len(whole), 47):
            rest = await collect(market.process("another"), request(nodes, whole[at].cursor, END - HOUR // 2))
            for one in nodes:
                both = [e for e in [*whole[: at + 1], *rest] if e.node_id == str(one)]
                assert lasting(both) == lasting(e for e in whole if e.node_id == str(one))

    run_on_virtual_time(work)


def test_an_answer_that_does_not_come_is_no_reason_to_be_silent() -> None:
    market = LiveMarket()

    async def work() -> None:
        real = market.exchange.fetch_candles

        async def hang(node: NodeId, window: Segment) -> Page:
            if market.clock.now() > START + 6 * HOUR + 300:
                await asyncio.sleep(1_800)
            return await real(node, window)

        market.exchange.fetch_candles = hang  # type: ignore[method-assign]
        async for event in subscribe(market.process(), request([NODE], None)):
            if isinstance(event, Stale):
                assert 120 < event.lag < 135
                break

    run_on_virtual_time(work)


@pytest.mark.parametrize("minutes", [2, 30, 200])
def test_an_outage_is_reported_and_what_was_missed_comes_after_it(minutes: int) -> None:
    market = LiveMarket()

    async def work() -> None:
        async def outage() -> None:
            await asyncio.sleep(300)
            market.exchange.is_away = True
            await asyncio.sleep(60 * minutes)
            market.exchange.is_away = False

        away = asyncio.create_task(outage())
        end = START + 6 * HOUR + 600 + 60 * minutes
        events = await collect(market.process(), request([NODE], None, end))
        await away
        assert shown(events) == market.truth(NODE, START + 6 * HOUR, end)
        kinds = Counter(type(event).__name__ for event in events)
        assert kinds["Gap"] == 0
        assert kinds["Stale"] == (minutes > 2) and kinds["CaughtUp"] == 1 + (minutes > 2)
        stale = [event for event in events if isinstance(event, Stale)]
        assert all(120 < event.lag < 250 and event.evidence == "no answer" for event in stale)

    run_on_virtual_time(work)


def test_each_correction_is_emitted_once_for_as_long_as_they_come() -> None:
    market = LiveMarket()

    async def work() -> None:
        async def correct() -> None:
            for number in range(40):
                await asyncio.sleep(41)
                closed = int(market.clock.now()) // 60 * 60
                market.correct(NODE, closed - 60 * (1 + number % 12), 100.0 + number)

        correcting = asyncio.create_task(correct())
        end = START + 7 * HOUR
        events = await collect(market.process(), request([NODE], BEGIN, end))
        await correcting
        revised = [event.volume for event in events if isinstance(event, Revised)]
        assert len(revised) == len(set(revised)) > 20
        assert shown(events) == market.truth(NODE, BEGIN, end)

    run_on_virtual_time(work)


def test_a_correction_of_an_hourly_bar_does_not_wait_for_the_next_hour() -> None:
    hourly = node("BTC", "1h")
    market = LiveMarket([hourly], now=START + 6 * HOUR - 5)

    async def work() -> None:
        async with aclosing(subscribe(market.process(), request([hourly], None))) as stream:
            async for event in stream:
                if isinstance(event, Bar):
                    market.correct(hourly, event.ts, 1_000.0)
                if isinstance(event, Revised):
                    assert event.volume == 1_000.0 and market.clock.now() < event.end + 90
                    break

    run_on_virtual_time(work)


@pytest.mark.parametrize("back", [1, 5, 19])
def test_corrections_before_a_chunk_begins_are_seen_with_its_newest_bar(back: int) -> None:
    market = LiveMarket()
    policy = replace(POLICY, window_bars=20)
    processes = [replace(market.process(name), policy=policy) for name in ("one", "another")]
    edge = pieces(processes[0], NODE, Segment(int(market.now) + 60, END))[1].bounds.start
    fetch = market.exchange.fetch_candles

    async def fetch_slowly(*asked: Any, **more: Any) -> Page:
        await asyncio.sleep(0.3)
        return await fetch(*asked, **more)

    market.exchange.fetch_candles = fetch_slowly  # type: ignore[method-assign]

    async def work() -> list[list[Event]]:
        asked = request([NODE], edge - HOUR / 2, edge + 60)
        reading = [asyncio.create_task(collect(ports, asked)) for ports in processes]
        await asyncio.sleep(edge + 40 - market.now)
        market.correct(NODE, edge - 60 * back, 77.0)
        return await asyncio.gather(*reading)

    for events in map(lasting, run_on_virtual_time(work)):
        assert shown(events) == market.truth(NODE, edge - HOUR / 2, edge + 60)
        assert [type(event) for event in events[-2:]] == [Bar, Revised]


def test_many_who_follow_the_same_cost_the_requests_of_one() -> None:
    nodes = [node(f"C{number}") for number in range(3)]

    def requests_of(processes: int) -> int:
        market = LiveMarket(nodes)

        async def work() -> int:
            end = START + 6 * HOUR + 1_500
            streams = [collect(market.process(f"p{n}"), request(nodes, None, end)) for n in range(processes)]
            for events in await asyncio.gather(*streams):
                for one in nodes:
                    assert shown(events, one) == market.truth(one, START + 6 * HOUR, end)
            return len(market.exchange.asked)

        return run_on_virtual_time(work)

    assert requests_of(6) <= 1.05 * requests_of(1)


def test_one_that_died_in_the_middle_of_a_look_is_followed_by_another() -> None:
    market = LiveMarket()

    async def work() -> None:
        ports, begin, end = market.process(), START + 6 * HOUR, START + 6 * HOUR + 600
        for piece in pieces(ports, NODE, Segment(begin, end)):
            assert await market.leases.claim(
                lease_key(NODE, piece.chunk), "dead", POLICY.live_lease_ttl_ms / 1000
            )
        events = await collect(ports, request([NODE], begin, end))
        assert shown(events) == market.truth(NODE, begin, end)
        assert len(market.leases.lapsed) == 1 and not [e for e in events if isinstance(e, Stale)]

    run_on_virtual_time(work)


def test_closing_ends_the_requests_at_once() -> None:
    market = LiveMarket()

    async def work() -> None:
        async with aclosing(subscribe(market.process(), request([NODE], None))) as stream:
            async for event in stream:
                if isinstance(event, Bar):
                    break
        before = len(market.exchange.asked)
        await asyncio.sleep(HOUR)
        assert len(market.exchange.asked) == before and not market.leases.live
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_on_virtual_time(work)


def test_a_slow_reader_learns_its_lag_loses_nothing_and_holds_up_nobody() -> None:
    market = LiveMarket()

    async def work() -> None:
        end = START + 7 * HOUR
        quick = asyncio.create_task(collect(market.process("quick"), request([NODE], None, end)))
        events = []
        async for event in subscribe(market.process("slow"), request([NODE], None, end)):
            events.append(event)
            if len(events) == 5:
                await asyncio.sleep(1_200)
        assert shown(events) == market.truth(NODE, START + 6 * HOUR, end) == shown(await quick)
        stale = [event for event in events if isinstance(event, Stale)]
        assert len(stale) == 1 and stale[0].lag > 900
        assert not [event for event in quick.result() if isinstance(event, Stale)]

    run_on_virtual_time(work)


@pytest.mark.parametrize("away", [3, 9, 15, 21, 60, 200])
def test_corrections_made_while_an_exchange_was_away_are_seen_after_it(away: int) -> None:
    market = LiveMarket()
    last = START + 6 * HOUR + 8 * 60

    async def work() -> None:
        events = []
        async for event in subscribe(market.process(), request([NODE], BEGIN, last + (away + 10) * 60)):
            events.append(event)
            if isinstance(event, Bar) and event.ts == last:
                market.exchange.is_away = True
                asyncio.get_running_loop().call_later(away * 60, setattr, market.exchange, "is_away", False)
                for bars in range(4):
                    market.correct(NODE, last - bars * 60, 77.0 + bars)
        assert shown(events) == market.truth(NODE, BEGIN, last + (away + 10) * 60)
        assert revised(events) == {last - bars * 60: 1 for bars in range(4)}

    run_on_virtual_time(work)


def test_an_unknown_symbol_is_refused_and_nothing_is_left_behind() -> None:
    market = LiveMarket()

    async def work() -> None:
        with pytest.raises(UnknownSymbol):
            await collect(market.process(), request([NODE, node("NONE")], None, END))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_on_virtual_time(work)


def test_bars_that_come_late_are_asked_for_again_and_emitted_in_their_turn() -> None:
    """An exchange that serves a bar seconds after it has closed."""
    market = LiveMarket()
    late = dict(market.exchange.series[NODE])

    async def work() -> None:
        async def serve() -> None:
            for ts in sorted(late):
                if ts + 66 > market.clock.now():
                    await asyncio.sleep(ts + 66 - market.clock.now())
                    market.exchange.series[NODE][ts] = late[ts]

        for ts in [ts for ts in late if ts >= START + 6 * HOUR]:
            del market.exchange.series[NODE][ts]
        serving = asyncio.create_task(serve())
        end = START + 6 * HOUR + 1_200
        events = await collect(market.process(), request([NODE], None, end))
        serving.cancel()
        assert shown(events) == {ts: row for ts, row in late.items() if START + 6 * HOUR <= ts < end}
        assert not [event for event in events if isinstance(event, Gap | Stale)]

    run_on_virtual_time(work)


def test_a_long_silence_does_not_flood_the_exchange_and_ends_in_a_proven_gap() -> None:
    market = LiveMarket()
    quiet = range(START + 6 * HOUR + 600, START + 6 * HOUR + 2_400, 60)

    async def work() -> None:
        for ts in quiet:
            del market.exchange.series[NODE][ts]
        end = START + 7 * HOUR
        events = await collect(market.process(), request([NODE], None, end))
        assert shown(events) == market.truth(NODE, START + 6 * HOUR, end)
        gaps = [event for event in events if isinstance(event, Gap)]
        assert {(gap.start, gap.end) for gap in gaps} == {(quiet.start, quiet.stop)}
        assert len(market.exchange.asked) < 60 + 5 * len(quiet)

    run_on_virtual_time(work)


@pytest.mark.parametrize("since", [None, START + 5 * HOUR])
def test_a_stream_that_begins_in_an_outage_tells_what_it_waits_for(since: float | None) -> None:
    market = LiveMarket()

    async def work() -> list[tuple[float, Any]]:
        market.exchange.is_away = True
        stream = subscribe(market.process(), request([NODE], since, market.now + 1_800))

        async def read() -> list[tuple[float, Any]]:
            return [(market.clock.now() - market.now, event) async for event in stream]

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(900)
        market.exchange.is_away = False
        return await reading

    events = run_on_virtual_time(work)
    told = [(at, event) for at, event in events if isinstance(event, Stale | CaughtUp)]
    assert [type(event) for _, event in told] == [Stale, CaughtUp]
    assert told[0][1].evidence == "no answer"
    assert told[0][0] < (1 if since else 190)
    assert 900 < told[1][0] < 1_260


def test_history_that_is_read_as_fast_as_it_comes_is_not_stale() -> None:
    market = LiveMarket()
    events = run_on_virtual_time(
        lambda: collect(market.process(), request([NODE], START, START + 6 * HOUR + 300))
    )
    assert not [event for event in events if isinstance(event, Stale)]


def test_an_old_hole_makes_no_bar_load_what_lies_between() -> None:
    market = LiveMarket()
    hole = START + HOUR
    del market.exchange.series[NODE][hole]
    market.exchange.trades = [hole + 30.0]
    loaded: list[int] = []

    class Counting(InMemoryHotStore):
        async def load_bars(self, node: NodeId, window: Segment) -> Any:
            loaded.append(node.timeframe.count(*window))
            return await super().load_bars(node, window)

    market.hot = Counting()

    async def work() -> list[Any]:
        stream = subscribe(market.process(), request([NODE], START, START + 6 * HOUR + 600))
        events = []
        async for event in stream:
            events.append(event)
            if isinstance(event, CaughtUp):
                loaded.clear()
        return events

    events = run_on_virtual_time(work)
    assert [event.reason for event in events if isinstance(event, Gap)] == ["missing"]
    assert loaded
    assert max(loaded) < 60


@pytest.mark.parametrize("away", [3, 9, 21, 60])
def test_a_resumed_stream_sees_what_was_corrected_before_its_cursor_while_nobody_followed(away: int) -> None:
    market = LiveMarket()
    last = START + 6 * HOUR + 8 * 60

    async def work() -> None:
        events = []
        async with aclosing(subscribe(market.process(), request([NODE], BEGIN))) as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, Bar) and event.ts == last:
                    break
        for bars in range(4):
            market.correct(NODE, last - bars * 60, 77.0 + bars)
        await asyncio.sleep(away * 60)
        end = last + (away + 5) * 60
        events += await collect(market.process("another"), request([NODE], events[-1].cursor, end))
        assert shown(events) == market.truth(NODE, BEGIN, end)

    run_on_virtual_time(work)


def test_what_was_corrected_before_since_is_nobodys_business() -> None:
    market, begin = LiveMarket(), START + 6 * HOUR

    async def work() -> None:
        end = begin + 20 * 60
        every = asyncio.create_task(collect(market.process(), request([NODE], begin - HOUR, end)))
        later = asyncio.create_task(collect(market.process("later"), request([NODE], begin, end)))
        for minute in (5, 12):
            await asyncio.sleep(begin + minute * 60 - market.clock.now())
            for ts in (begin - 60, begin + 60):
                market.correct(NODE, ts, 5.0 + minute)
        assert revised(await every) == {begin - 60: 2, begin + 60: 2}
        assert revised(await later) == {begin + 60: 2}
        for event in later.result()[::8]:
            rest = await collect(market.process("rests"), request([NODE], event.cursor, end))
            assert begin - 60 not in revised(rest), "nor after a cursor"
        assert not revised(await collect(market.process("new"), request([NODE], begin + 900, end)))

    run_on_virtual_time(work)


def revised(events: Iterable[Event]) -> Counter[int]:
    return Counter(event.ts for event in events if isinstance(event, Revised))
