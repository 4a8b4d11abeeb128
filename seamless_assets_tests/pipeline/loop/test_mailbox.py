"""Calls that threads leave for a loop: each comes once, in order, in its context, with few wake-ups."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import ref

import pytest

from seamless_assets.pipeline.loop.mailbox import Mailbox, Mailboxes

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts how often another thread woke it."""

    wakes = 0

    def call_soon_threadsafe(self, *args: Any, **more: Any) -> Any:
        self.wakes += 1
        return super().call_soon_threadsafe(*args, **more)


def test_what_is_left_while_the_loop_sleeps_wakes_it_once() -> None:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop: Any = runner.get_loop()
        mailbox, seen = Mailbox(loop), []
        for number in range(100):
            mailbox.post(seen.append, number)
        assert loop.wakes == 1
        runner.run(asyncio.sleep(0))
        assert seen == list(range(100))
        mailbox.post(seen.append, 100)
        assert loop.wakes == 2
        runner.run(asyncio.sleep(0))
        assert seen[-1] == 100


def test_every_call_of_many_threads_comes_in_its_order_and_context() -> None:
    async def scenario() -> None:
        mailbox, seen, all_in = Mailbox(asyncio.get_running_loop()), [], asyncio.Event()

        def note(who: str, number: int) -> None:
            assert WHO.get() == who
            seen.append((who, number))
            if len(seen) == 4 * 500:
                all_in.set()

        def leave(who: str) -> None:
            WHO.set(who)
            for number in range(500):
                mailbox.post(note, who, number)

        threads = [threading.Thread(target=leave, args=(f"thread {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(all_in.wait(), 30)
        for thread in threads:
            thread.join()
            assert [n for who, n in seen if who == f"thread {threads.index(thread)}"] == list(range(500))

    asyncio.run(scenario())


def test_a_call_that_fails_stops_no_other() -> None:
    told: list[Any] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
        mailbox, seen = Mailbox(loop), []
        for call in (seen.append, int, seen.append):
            mailbox.post(call, "x")
        await asyncio.sleep(0)
        assert seen == ["x", "x"], "in the turn in which the loop wakes"

    asyncio.run(scenario())
    assert told == [ValueError]


def test_an_interrupt_loses_no_call_that_comes_after_it() -> None:
    seen: list[str] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    with asyncio.Runner() as runner:
        mailbox = Mailbox(runner.get_loop())
        for call in (partial(seen.append, "a"), interrupted, partial(seen.append, "b")):
            mailbox.post(call)
        with pytest.raises(KeyboardInterrupt):
            runner.run(asyncio.sleep(0))
        runner.get_loop().run_until_complete(asyncio.sleep(0))
        assert seen == ["a", "b"]


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_closed_loop_takes_no_call_and_says_so_each_time(is_gone: bool) -> None:
    loop: Any = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    if is_gone:
        loop = None
        gc.collect()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="loop is"):
            mailbox.post(print)


def test_loops_that_waited_once_are_not_kept() -> None:
    mailboxes = Mailboxes()

    async def scenario() -> ref[asyncio.AbstractEventLoop]:
        begun: Future[int] = Future()
        threading.Thread(target=begun.set_result, args=(7,)).start()
        assert await mailboxes.outcome(begun) == 7
        return ref(asyncio.get_running_loop())

    loop = asyncio.run(scenario())
    gc.collect()
    assert loop() is None


async def test_an_outcome_is_a_value_an_error_or_an_end() -> None:
    mailboxes = Mailboxes()
    failed: Future[int] = Future()
    failed.set_exception(KeyError("k"))
    with pytest.raises(KeyError):
        await mailboxes.outcome(failed)
    ended: Future[int] = Future()
    assert ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await mailboxes.outcome(ended)
    left: Future[int] = Future()
    waiting = asyncio.ensure_future(mailboxes.outcome(left))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert left.cancelled()


class InterruptedLoop(CountingLoop):
    """A loop whose first wake an interrupt comes before."""

    def call_soon_threadsafe(self, *args: Any, **more: Any) -> Any:
        if not self.wakes:
            self.wakes += 1
            raise KeyboardInterrupt
        return super().call_soon_threadsafe(*args, **more)


def test_an_interrupt_before_the_wake_leaves_the_next_call_to_wake_the_loop() -> None:
    with asyncio.Runner(loop_factory=InterruptedLoop) as runner:
        mailbox, seen = Mailbox(runner.get_loop()), []
        with pytest.raises(KeyboardInterrupt):
            mailbox.post(seen.append, 1)
        mailbox.post(seen.append, 2)
        runner.run(asyncio.sleep(0))
        assert seen == [1, 2]


class OvertakenLoop(CountingLoop):
    """A loop whose first wake is over before the thread that woke it goes on."""

    def call_soon_threadsafe(self, *args: Any, **more: Any) -> Any:
        handle = super().call_soon_threadsafe(*args, **more)
        if self.wakes == 1:
            self.run_until_complete(asyncio.sleep(0))
        return handle


def test_a_thread_that_is_late_after_its_wake_takes_no_wake_from_the_next_call() -> None:
    with asyncio.Runner(loop_factory=OvertakenLoop) as runner:
        loop: Any = runner.get_loop()
        mailbox, seen = Mailbox(loop), []
        mailbox.post(seen.append, 1)
        mailbox.post(seen.append, 2)
        assert loop.wakes == 2
        runner.run(asyncio.sleep(0))
        assert seen == [1, 2]
