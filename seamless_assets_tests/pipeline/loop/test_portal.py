"""The loop under the face: how it ends, whoever ends it, and what a forked child gets of it."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest

from seamless_assets.errors import BlockingCall
from seamless_assets.pipeline.loop import portal as portals
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.stream import Stream


class Adapters:
    """Adapters that write down what became of them."""

    shared = ()

    def __init__(self, events: list[str]) -> None:
        self.events, self.ports = events, self
        self.is_closed = False

    def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.is_closed = True
        self.events.append("closed")


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def portal(events: list[str]) -> Iterator[Portal]:
    of_others = {*threading.enumerate()}
    made = Portal(lambda: Adapters(events))  # type: ignore[arg-type]
    yield made
    made.stop()
    gc.collect()
    left = {*threading.enumerate()} - of_others
    assert [thread for thread in left if thread.name == "seamless-assets"] == []


async def endless(events: list[str], begun: threading.Event, name: str = "work") -> None:
    """Works until it is cancelled, and takes a while to clean up."""
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(5):
            await asyncio.sleep(0)
        events.append(f"{name} cleaned up")


def begin(portal: Portal, events: list[str]) -> Any:
    begun = threading.Event()
    assert portal.adapters
    future = portal.start(endless(events, begun))
    assert begun.wait(30)
    return future


def test_what_was_begun_ends_before_the_adapters_are_closed(portal: Portal, events: list[str]) -> None:
    future = begin(portal, events)
    portal.stop()
    assert future.cancelled() and events == ["work cleaned up", "closed"]


def test_what_was_cancelled_is_waited_for_too(portal: Portal, events: list[str]) -> None:
    begin(portal, events).cancel()
    portal.stop()
    assert events == ["work cleaned up", "closed"]


def test_work_that_cleaning_up_begins_is_ended_as_well(portal: Portal, events: list[str]) -> None:
    begun = threading.Event()

    async def stubborn() -> None:
        try:
            await endless(events, begun)
        finally:
            portal.start(endless(events, threading.Event(), "more"))
            assert portal.adapters.ports is not None

    assert portal.adapters
    portal.start(stubborn())
    assert begun.wait(30)
    portal.stop()
    assert events == ["work cleaned up", "more cleaned up", "closed"]


def test_a_generator_that_nobody_drives_is_closed_first(portal: Portal, events: list[str]) -> None:
    async def numbers() -> Any:
        begun = threading.Event()
        ahead = asyncio.ensure_future(endless(events, begun, "ahead"))
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    assert portal.adapters
    some = Stream(portal, lambda _: numbers())

    async def following() -> Any:
        return await anext(some)

    assert portal.run(following()) == 1
    portal.stop()
    assert events == ["ahead cleaned up", "closed"]


def test_every_closer_returns_when_all_has_ended(portal: Portal, events: list[str]) -> None:
    future = begin(portal, events)

    def stop(_: int) -> list[str]:
        portal.stop()
        return list(events)

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(stop, range(8)))
    assert future.cancelled() and seen == [["work cleaned up", "closed"]] * 8


def test_it_can_be_ended_from_its_own_loop(portal: Portal, events: list[str]) -> None:
    future = begin(portal, events)
    ended = threading.Event()
    future.add_done_callback(lambda _: (portal.stop(), ended.set()))
    future.cancel()
    assert ended.wait(30)
    portal.stop()
    assert events == ["work cleaned up", "closed"]

    async def last() -> str:
        portal.stop()
        return "done"

    assert portal.adapters and portal.run(last()) == "done"
    portal.stop()
    assert events == ["work cleaned up", "closed", "closed"]


def test_calls_that_meet_an_end_are_done_or_cancelled_and_never_touch_what_is_closed(portal: Portal) -> None:
    async def work(ports: Any) -> int:
        for _ in range(3):
            await asyncio.sleep(0)
            assert not ports.is_closed
        return 1

    def call(number: int) -> int:
        try:
            return portal.run(portal.do(work)) if number % 2 else asyncio.run(portal.do(work))
        except (CancelledError, asyncio.CancelledError):
            return 0

    def stop(_: int) -> int:
        portal.stop()
        return 0

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda n: (stop if n % 5 == 0 else call)(n), range(300)))
    assert 0 < sum(outcomes) <= 240
    assert portal.run(portal.do(work)) == 1


def test_an_interrupted_call_is_cleaned_up_by_the_end(
    portal: Portal, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def interrupted(*_: object) -> None:
        assert begun.wait(30)
        raise KeyboardInterrupt

    assert portal.adapters
    monkeypatch.setattr(portals, "_wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal.run(endless(events, begun))
    portal.stop()
    assert events == ["work cleaned up", "closed"]


def test_a_signal_that_does_not_wake_the_caller_is_heard(portal: Portal, events: list[str]) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    async def deaf() -> None:
        await asyncio.sleep(0.1)
        # Caught in this thread, it leaves the one that waits asleep.
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.sleep(20)
        events.append("slept through")

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            portal.run(deaf())
    finally:
        signal.signal(signal.SIGUSR1, before)
    portal.stop()
    assert events == []


def test_what_adapters_raise_as_they_are_closed_reaches_who_closes(events: list[str]) -> None:
    class Broken(Adapters):
        async def close(self) -> None:
            raise OSError("no")

    portal = Portal(lambda: Broken(events))  # type: ignore[arg-type]
    assert portal.adapters
    with pytest.raises(OSError, match="no"):
        portal.stop()
    portal.stop()


def visited(portal: Portal, work: Callable[[Any], Any]) -> Any:
    """What comes of a visit, once the loop sleeps."""
    while (found := portal.visit(work)) is None:
        pass
    return found


def test_a_visit_is_done_by_the_caller_while_the_loop_sleeps(portal: Portal) -> None:
    assert portal.visit(lambda _: "nothing is open yet") is None
    ports = portal.adapters.ports
    assert visited(portal, lambda given: (given, threading.current_thread())) == (
        ports,
        threading.current_thread(),
    )
    portal.stop()
    assert portal.visit(lambda _: "it is closed") is None


def interrupted_after(calls: int, work: Callable[[], object]) -> bool:
    """Whether `work` was interrupted, as a signal would: right after so many calls that it makes."""
    left = calls

    def interrupt(_: object, event: str, __: object) -> None:
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_an_interrupt_after_any_call_leaves_nothing_of_a_visit_behind(portal: Portal) -> None:
    async def done() -> str:
        return "done"

    assert portal.adapters
    calls = 1
    while interrupted_after(calls, lambda: visited(portal, lambda _: "here")):
        assert not portal.is_here
        assert portal.run(done()) == "done"
        calls += 1
    assert calls > 5


def test_no_visit_disturbs_a_loop_that_works(portal: Portal) -> None:
    assert portal.adapters
    begun, go_on = threading.Event(), threading.Event()

    async def works() -> None:
        begun.set()
        go_on.wait()

    working = portal.start(works())
    assert begun.wait(30)
    assert portal.visit(lambda _: "meanwhile") is None
    go_on.set()
    working.result(30)
    assert visited(portal, lambda _: "afterwards") == "afterwards"


def test_visits_and_what_the_loop_runs_come_one_at_a_time(portal: Portal) -> None:
    """Each takes a number from what has no lock; a number that two took would be missed at the end."""
    assert portal.adapters
    held, found = [0], []

    def take(_: Any = None) -> int:
        number = held[0]
        # Every other thread has its chance here.
        time.sleep(0)
        held[0] = number + 1
        return number + 1

    async def on_loop() -> None:
        for _ in range(200):
            found.append(take())
            await asyncio.sleep(0.0001)

    with ThreadPoolExecutor(6) as threads:
        looping = portal.start(on_loop())
        visitors = [threads.submit(lambda: [portal.visit(take) for _ in range(300)]) for _ in range(6)]
        taken = [number for visitor in visitors for number in visitor.result(60) if number is not None]
        looping.result(60)
    assert sorted([*taken, *found]) == list(range(1, held[0] + 1))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_visit_that_fails_leaves_the_loop_to_others(portal: Portal, error: type[BaseException]) -> None:
    assert portal.adapters

    def fail(_: Any) -> None:
        raise error

    with pytest.raises(error):
        visited(portal, fail)
    assert portal.run(asyncio.sleep(0, "goes on")) == "goes on"
    assert visited(portal, lambda _: "another") == "another"


def test_a_visitor_that_calls_what_waits_is_told_so_and_waits_for_nothing(portal: Portal) -> None:
    """As what the loop runs is: the loop would wait for the visitor."""
    assert portal.adapters

    def calls(_: Any) -> str:
        assert portal.is_here and portal.visit(lambda _: "within") is None
        with pytest.raises(BlockingCall):
            portal.run(asyncio.sleep(0))
        portal.stop()
        return "done"

    assert visited(portal, calls) == "done"
    assert not portal.is_here


async def test_a_visitor_of_another_loop_is_not_taken_for_it(portal: Portal) -> None:
    assert portal.adapters
    mine = asyncio.get_running_loop()
    assert visited(portal, lambda _: asyncio.get_running_loop()) is mine
