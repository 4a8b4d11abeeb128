"""The collector of cycles, paused for a while."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from seamless_assets.aio.collector import MOST_OBJECTS, collector_patient, collector_paused, steps_unlooked


def test_a_pause_ends_with_its_body_whatever_comes_of_that() -> None:
    def fail() -> None:
        with collector_paused(), collector_paused():
            assert not gc.isenabled()
            raise ValueError("in vain")

    with pytest.raises(ValueError, match="in vain"):
        fail()
    assert gc.isenabled()


def test_pauses_of_many_threads_leave_it_as_the_first_found_it() -> None:
    def pause_often() -> None:
        for _ in range(2_000):
            with collector_paused():
                assert not gc.isenabled()

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            for paused in [threads.submit(pause_often) for _ in range(4)]:
                paused.result()
        assert gc.isenabled()
    finally:
        sys.setswitchinterval(usual)
        gc.enable()


def test_a_pause_that_is_interrupted_as_it_begins_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    off = gc.disable

    def disable() -> None:
        off()
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "disable", disable)
    with pytest.raises(KeyboardInterrupt), collector_paused():
        pass
    try:
        assert gc.isenabled()
    finally:
        gc.enable()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def usual() -> Iterator[tuple[int, int, int]]:
    """The thresholds of this process, which a test may set."""
    found = gc.get_threshold()
    yield found
    gc.set_threshold(*found)


def test_patience_of_several_adds_up_and_ends_with_each_whatever_comes_of_it(
    usual: tuple[int, int, int],
) -> None:
    often, *rarely = usual

    def fail() -> None:
        with collector_patient(300):
            assert gc.get_threshold() == (often + 310, *rarely)
            raise ValueError("in vain")

    with collector_patient(10):
        assert gc.get_threshold() == (often + 10, *rarely)
        with pytest.raises(ValueError, match="in vain"):
            fail()
        assert gc.get_threshold() == (often + 10, *rarely)
    assert gc.get_threshold() == usual


def test_patience_has_an_end_however_many_ask(usual: tuple[int, int, int]) -> None:
    with collector_patient(MOST_OBJECTS - 1), collector_patient(300):
        assert gc.get_threshold() == (usual[0] + MOST_OBJECTS, *usual[1:])
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("own", [(900, 20, 30), (0, 10, 10)])
def test_patience_is_added_to_what_somebody_else_sets_meanwhile(
    usual: tuple[int, int, int], own: tuple[int, int, int]
) -> None:
    with collector_patient(10):
        gc.set_threshold(*own)
        with collector_patient(300):
            assert gc.get_threshold() == (own[0] + 310 if own[0] else 0, *own[1:])
    assert gc.get_threshold() == own


@pytest.mark.parametrize("moment", ["before", "after"])
def test_patience_that_is_interrupted_as_it_begins_is_none(
    usual: tuple[int, int, int], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_threshold = gc.set_threshold

    def interrupted(*wanted: int) -> None:
        monkeypatch.undo()
        if moment == "after":
            set_threshold(*wanted)
        raise KeyboardInterrupt

    with collector_patient(10):
        monkeypatch.setattr(gc, "set_threshold", interrupted)
        with pytest.raises(KeyboardInterrupt), collector_patient(300):
            pass
        assert gc.get_threshold() == (usual[0] + 10, *usual[1:])
    assert gc.get_threshold() == usual


async def test_no_cycles_are_looked_for_while_work_runs_but_while_it_waits() -> None:
    asked, may_go_on = asyncio.Event(), asyncio.Event()
    was_on: list[bool] = []

    async def work() -> str:
        was_on.append(gc.isenabled())
        asked.set()
        await may_go_on.wait()
        was_on.append(gc.isenabled())
        return "done"

    working = asyncio.create_task(steps_unlooked(work()))
    await asked.wait()
    assert gc.isenabled()
    may_go_on.set()
    assert await working == "done"
    assert was_on == [False, False]
    assert gc.isenabled()


async def test_what_is_raised_into_work_arrives_there_and_what_it_raises_comes_out() -> None:
    waiting = asyncio.Event()

    async def work() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            await asyncio.sleep(0)
            raise ValueError("instead") from error

    working = asyncio.create_task(steps_unlooked(work()))
    await waiting.wait()
    working.cancel()
    with pytest.raises(ValueError, match="instead"):
        await working
    assert gc.isenabled()


def test_work_that_is_given_up_while_it_waits_is_closed() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    waits = steps_unlooked(work())
    next(waits)
    waits.close()
    assert ended == [True]
    assert gc.isenabled()
