"""Streams on virtual time: bars as soon as they are proven, whatever the stream does, and one for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.live import HOUR, NODE, LiveMarket, collect, lasting, request, shown

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.events import Bar, Event, Revised
from seamless_assets.core.live.feed.stability import FAULTS, FIRST_S, SAME_S
from seamless_assets.core.live.feed.update import AtOnce, CandleUpdate
from seamless_assets.core.live.schedule import STREAM_WAIT_S
from seamless_assets.core.live.sequence import rows_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import StreamEvent
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import InMemoryStream, run_on_virtual_time
from seamless_assets.testing.exchange import Delivery

Deliver = Callable[[NodeId, CandleUpdate], Sequence[Delivery]]


def streaming(market: LiveMarket, stream: InMemoryStream, name: str = "one", mode: Any = "auto") -> Ports:
    """The ports of a process that follows a stream."""
    ports = market.process(name, feeds=Feeds(stream))
    return replace(ports, policy=replace(ports.policy, feeds={"binance": mode}))


async def timed(ports: Ports, market: LiveMarket, until: float) -> list[tuple[float, Event]]:
    """What is told, and when, in seconds since the market's `now`."""
    stream = subscribe(ports, request(market.nodes, None, until))
    return [(market.clock.now() - market.now, event) async for event in stream]


def truth_of(market: LiveMarket, seconds: float) -> dict[int, Any]:
    """What closes within so many seconds of a market's `now`, the bar that forms then among it."""
    frame = NODE.timeframe
    return market.truth(NODE, frame.floor(int(market.now)), frame.floor(int(market.now + seconds)))


def told(ports: Ports) -> Counter[tuple[str, str]]:
    """What was noted of streams."""
    events: list[Any] = ports.observer.events  # type: ignore[attr-defined]
    return Counter((event.kind, event.detail) for event in events if isinstance(event, StreamEvent))


@pytest.mark.parametrize(
    ("marks_closed", "skip", "frame"),
    [(True, 0.0, "1m"), (False, 0.3, "1m"), (True, 0.3, "15m"), (False, 0.0, "15m")],
)
def test_both_feeds_tell_the_same_events(marks_closed: bool, skip: float, frame: str) -> None:
    node = NodeId.parse(f"ohlcv:binance:BTC/USDT:{frame}")
    bars = 10 if frame == "1m" else 4
    asked: dict[str, int] = {}
    seen: dict[str, list[Event]] = {}

    def follow(mode: str) -> None:
        market = LiveMarket([node], skip=skip)
        until = market.now + bars * (node.timeframe.seconds or 0)
        ports = streaming(market, InMemoryStream(market.exchange, marks_closed), mode=mode)
        seen[mode] = lasting(
            run_on_virtual_time(lambda: collect(ports, request([node], market.now - HOUR / 4, until)))
        )
        asked[mode] = len(market.exchange.asked)

    follow("polling")
    follow("websocket")
    assert seen["websocket"] == seen["polling"]
    assert len(seen["polling"]) >= bars
    if marks_closed and not skip:
        assert asked["websocket"] < asked["polling"]


@pytest.mark.parametrize(("marks_closed", "within"), [(True, 0.1), (False, 4.0)])
def test_a_bar_is_told_as_soon_as_it_is_proven(marks_closed: bool, within: float) -> None:
    market = LiveMarket()
    ports = streaming(market, InMemoryStream(market.exchange, marks_closed))
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + HOUR / 4))
    delays = [at + market.now - event.end for at, event in events if isinstance(event, Bar)]
    assert len(delays) == 15
    assert max(delays[1:]) < within


def test_the_rest_of_a_bar_that_was_never_sent_is_asked_for_where_its_mark_is_missed() -> None:
    market = LiveMarket()
    lost = NODE.timeframe.floor(int(market.now)) + 300

    def deliver(_: NodeId, update: CandleUpdate) -> list[tuple[float, CandleUpdate]]:
        is_lost = update.ts == lost and market.clock.now() > lost + 30
        return [] if is_lost else [(0.0, update)]

    ports = streaming(market, InMemoryStream(market.exchange, deliver=deliver))
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + HOUR / 4))
    assert shown([event for _, event in events]) == truth_of(market, HOUR / 4)
    assert not [event for _, event in events if isinstance(event, Revised)], "no forming bar was told"
    (delay,) = [at + market.now - e.end for at, e in events if isinstance(e, Bar) and e.ts == lost]
    assert delay < STREAM_WAIT_S + 1


@pytest.mark.parametrize(("slow", "within"), [(0.1, 0.2), (0.4, 0.5), (2.0, 4.0)])
def test_a_mark_waits_for_a_clock_that_is_known_to_be_slow(slow: float, within: float) -> None:
    market = LiveMarket()
    ports = streaming(market, InMemoryStream(market.exchange))

    async def exchange_now(_: str) -> float:
        return market.clock.now() - slow

    market.exchange.exchange_now = exchange_now  # type: ignore[method-assign]
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + HOUR / 4))
    delays = [at + market.now - event.end for at, event in events if isinstance(event, Bar)]
    assert shown([event for _, event in events]) == truth_of(market, HOUR / 4)
    assert all(min(slow, 0.05) <= delay < within for delay in delays[1:])


class SleepingStream:
    """A stream whose machine sleeps for `bars` of a node, and then hears at once what was sent meanwhile."""

    def __init__(self, market: LiveMarket, bars: int) -> None:
        self._market, self._bars = market, bars
        self.slept_s = 0.0

    def now(self) -> float:
        """The exchange's clock."""
        return self._market.clock.now() + self.slept_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def streamed(self, _: str) -> Any:
        return "candles"

    async def updates(self, node: NodeId, at_once: AtOnce) -> AsyncGenerator[CandleUpdate, None]:
        begin = node.timeframe.floor(int(self._market.now))
        sent = dict(self._market.exchange.series[node])
        yield CandleUpdate(begin, sent[begin], 1, 1)
        await asyncio.sleep(20)
        self.slept_s = 60.0 * self._bars
        for number in range(self._bars):
            ts = begin + 60 * number
            self._market.correct(node, ts, 77.0)
            update = CandleUpdate(ts, sent[ts], 1, 2 + number, is_closed=True)
            if not at_once(update):
                yield update
        await asyncio.Event().wait()


@pytest.mark.parametrize("bars", [3, 7, 30, 400])
def test_what_was_sent_while_the_machine_slept_is_as_it_is_by_then(bars: int) -> None:
    market = LiveMarket()
    stream = SleepingStream(market, bars)
    market.exchange.clock = stream
    feeds = Feeds(stream)
    ports = market.process(feeds=feeds)
    begin = NODE.timeframe.floor(int(market.now))
    window = Segment(begin, begin + 60 * bars)

    async def work() -> Mapping[int, Any]:
        async with feeds.following(ports, NODE, lambda _: None):
            await asyncio.sleep(600)
        return rows_of(await ports.hot.load_bars(NODE, window))

    assert run_on_virtual_time(work) == market.truth(NODE, *window)


def test_websocket_is_refused_where_there_is_no_stream_and_auto_asks() -> None:
    for offers in (None, "trades"):
        market = LiveMarket()
        stream = InMemoryStream(market.exchange, offers=offers)  # type: ignore[arg-type]
        asking = streaming(market, stream)
        events = run_on_virtual_time(lambda p=asking, m=market: timed(p, m, m.now + 300))  # type: ignore[misc]
        assert len(lasting(event for _, event in events)) == 5
        assert stream.connected == []
    refused = streaming(market, InMemoryStream(market.exchange, offers=None), mode="websocket")
    with pytest.raises(ExchangeRefused, match="binance streams neither candles nor trades"):
        run_on_virtual_time(lambda: timed(refused, market, market.now + 300))


def test_any_number_of_subscribers_in_any_processes_follow_one_stream() -> None:
    market = LiveMarket()
    at_once = []

    def deliver(_: NodeId, update: CandleUpdate) -> Sequence[Delivery]:
        at_once.append(len(stream.open))
        return [(0.0, update)]

    stream = InMemoryStream(market.exchange, deliver=deliver)
    processes = [streaming(market, stream, name) for name in ("one", "other", "third")]

    async def work() -> list[list[Event]]:
        readers = [collect(ports, request([NODE], None, market.now + 600)) for ports in processes * 3]
        return list(await asyncio.gather(*readers))

    told_to = run_on_virtual_time(work)
    assert all(lasting(events) == lasting(told_to[0]) for events in told_to)
    assert shown(told_to[0]) == truth_of(market, 600)
    assert max(at_once) == 1
    assert stream.open == []
    assert len(market.exchange.asked) < 10


def test_what_is_left_at_the_end_is_nothing() -> None:
    market = LiveMarket()
    stream = InMemoryStream(market.exchange)
    ports = streaming(market, stream)

    async def work() -> int:
        before = len(asyncio.all_tasks())
        following = subscribe(ports, request([NODE], None))
        await anext(following)
        await asyncio.sleep(100)
        assert stream.open == [NODE]
        await following.aclose()
        assert market.leases.live == {}
        return len(asyncio.all_tasks()) - before

    assert run_on_virtual_time(work) == 0
    assert stream.open == []


def test_another_process_takes_a_stream_over_from_one_that_is_gone() -> None:
    market = LiveMarket()
    streams = [InMemoryStream(market.exchange) for _ in range(2)]
    first, second = (streaming(market, stream, f"p{at}") for at, stream in enumerate(streams))

    async def work() -> list[Event]:
        following = asyncio.ensure_future(collect(first, request([NODE], None, market.now + 900)))
        taking_over = asyncio.ensure_future(collect(second, request([NODE], None, market.now + 900)))
        await asyncio.sleep(200)
        assert (streams[0].open, streams[1].open) == ([NODE], [])
        following.cancel()
        return await taking_over

    events = run_on_virtual_time(work)
    assert shown(events) == truth_of(market, 900)
    assert streams[1].connected == [NODE]


def test_a_feed_that_begins_while_its_forerunner_ends_cools_down_like_any_other() -> None:
    market = LiveMarket()
    stream = InMemoryStream(market.exchange)
    ports = streaming(market, stream)
    feeds = ports.feeds
    assert isinstance(feeds, Feeds)

    async def follow(ends: asyncio.Event) -> None:
        async with feeds.following(ports, NODE, lambda _: None):
            await ends.wait()

    async def work() -> None:
        ends = [asyncio.Event() for _ in range(2)]
        followers = [asyncio.ensure_future(follow(ends[0]))]
        await asyncio.sleep(90)
        ends[0].set()
        await asyncio.sleep(0)
        followers.append(asyncio.ensure_future(follow(ends[1])))
        await followers[0]
        await asyncio.sleep(90)
        assert stream.connected == [NODE, NODE]
        for _ in range(FAULTS):
            await asyncio.sleep(2 * SAME_S)
            feeds._exchange(NODE).fault(ports, "silent")
        await asyncio.sleep(0.1)
        assert stream.open == [], "it is left alone from the moment in which it cools"
        ends[1].set()
        await asyncio.gather(*followers)

    run_on_virtual_time(work)


def broken(market: LiveMarket, times: Sequence[float]) -> Deliver:
    """A stream whose connection ends with the first message after each of these times."""
    left = list(times)

    def deliver(_: NodeId, update: CandleUpdate) -> Sequence[Delivery]:
        if left and market.clock.now() - market.now >= left[0]:
            left.pop(0)
            raise ExchangeUnavailable("gone", status=None)
        return [(0.0, update)]

    return deliver


def test_a_reconnect_loses_nothing_and_is_audited() -> None:
    market = LiveMarket()
    stream = InMemoryStream(market.exchange, deliver=broken(market, [170.0]))
    ports = streaming(market, stream)
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + 600))
    assert shown([event for _, event in events]) == truth_of(market, 600)
    assert len(stream.connected) == 2
    assert told(ports)["fault", "disconnected"] == 1
    assert max(at + market.now - event.end for at, event in events if isinstance(event, Bar)) < 5


def test_an_unstable_stream_cools_down_to_polling_and_comes_back() -> None:
    market = LiveMarket()
    stream = InMemoryStream(market.exchange, deliver=broken(market, [60.0, 120.0, 180.0]))
    ports = streaming(market, stream)
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + 900))
    delays = {round(at): at + market.now - event.end for at, event in events if isinstance(event, Bar)}
    cools = [e for e in ports.observer.events if isinstance(e, StreamEvent) and e.kind == "cools"]  # type: ignore[attr-defined]
    assert [event.seconds for event in cools] == [pytest.approx(FIRST_S)]
    assert told(ports)["streams", ""] == 2
    polled = [delay for at, delay in delays.items() if 200 < at < 180 + FIRST_S]
    assert polled
    assert all(0.4 <= delay < 1.0 for delay in polled)
    assert all(delay < 0.1 for at, delay in delays.items() if at > 400)
    assert len(delays) == 15


def test_a_silent_stream_is_begun_anew_and_its_bars_are_asked_for() -> None:
    market = LiveMarket()

    def deliver(_: NodeId, update: CandleUpdate) -> Sequence[Delivery]:
        is_silent = update.connection == 1 and market.clock.now() > market.now + 60
        return [] if is_silent else [(0.0, update)]

    stream = InMemoryStream(market.exchange, deliver=deliver)
    ports = streaming(market, stream)
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + 900))
    delays = [at + market.now - event.end for at, event in events if isinstance(event, Bar)]
    assert len(delays) == 15
    assert max(delays) < 4
    assert told(ports)["fault", "silent"] == 1
    assert len(stream.connected) == 2


def test_corrections_are_found_by_audits_and_told_once() -> None:
    market = LiveMarket()
    ports = streaming(market, InMemoryStream(market.exchange))

    async def work() -> list[Event]:
        following = asyncio.ensure_future(collect(ports, request([NODE], None, market.now + 1_500)))
        await asyncio.sleep(400)
        market.correct(NODE, int(market.now) // 60 * 60 + 120, 77.0)
        return await following

    events = run_on_virtual_time(work)
    assert Counter(type(event).__name__ for event in lasting(events)) == {"Bar": 25, "Revised": 1}
    assert shown(events) == truth_of(market, 1_500)


def test_a_stream_that_lies_is_found_out_and_left_alone() -> None:
    market = LiveMarket()

    def deliver(_: NodeId, update: CandleUpdate) -> Sequence[Delivery]:
        return [(0.0, replace(update, values=(*update.values[:4], update.values[4] / 2)))]

    ports = streaming(market, InMemoryStream(market.exchange, deliver=deliver))
    events = run_on_virtual_time(lambda: timed(ports, market, market.now + 2_400))
    shown([event for _, event in events])
    assert told(ports)["fault", "contradicted"] >= 3
    assert told(ports)["cools", "contradicted"] >= 1
