"""Urgency goes along with tasks, rises and never falls; what is kept for the urgent is there for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from seamless_assets.aio import priority
from seamless_assets.aio.priority import (
    Slots,
    Urgency,
    UrgentFirst,
    is_urgent,
    on_its_own,
    part_of_current,
    risen,
)
from seamless_assets.aio.single_flight import SingleFlight


def start(work: Coroutine[Any, Any, Any], *, urgent: bool) -> asyncio.Task[Any]:
    return asyncio.create_task(work, context=on_its_own(is_urgent=urgent)[1])


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_work_that_says_nothing_is_background_work_and_so_are_its_parts() -> None:
    async def ask() -> bool:
        return is_urgent()

    assert not is_urgent()
    assert await start(ask(), urgent=True) and not await start(ask(), urgent=False)

    async def part() -> bool:
        return await asyncio.create_task(ask(), context=part_of_current()[1])

    assert await start(part(), urgent=True) and not await start(part(), urgent=False)
    assert not await part()


async def test_a_part_that_rises_leaves_the_rest_and_the_whole_takes_its_parts_along() -> None:
    whole = Urgency()
    part, other = Urgency(whole), Urgency(whole)
    waiting = asyncio.create_task(other.risen())
    part.rise()
    await settle()
    assert part.is_urgent and not whole.is_urgent and not waiting.done()
    whole.rise()
    await settle()
    assert other.is_urgent and waiting.done()
    await other.risen()


async def test_who_waits_for_a_run_of_others_makes_it_urgent_and_no_other() -> None:
    flights = SingleFlight(lambda: 0.0, 60.0)
    seen: dict[str, bool] = {}
    ended = asyncio.Event()

    async def work(name: str) -> None:
        await ended.wait()
        seen[name] = is_urgent()

    async def all_of_it() -> None:
        await asyncio.gather(*(flights.do(name, lambda name=name: work(name)) for name in ("a", "b")))

    async def one() -> None:
        await flights.do("a", lambda: work("never"))

    background = start(all_of_it(), urgent=False)
    await settle()
    reader = start(one(), urgent=True)
    await settle()
    ended.set()
    await asyncio.gather(background, reader)
    assert seen == {"a": True, "b": False}


async def test_risen_is_heard_by_who_waits_for_it_and_never_comes_for_the_rest() -> None:
    urgency, context = on_its_own(is_urgent=False)
    heard = asyncio.create_task(risen(), context=context)
    never = asyncio.create_task(risen())
    await settle()
    urgency.rise()
    await settle()
    assert heard.done() and not never.done()
    never.cancel()


@pytest.mark.parametrize(("limit", "reserved", "background"), [(4, 1, 3), (4, 0, 4), (1, 1, 1), (2, 5, 1)])
async def test_reserved_slots_are_for_the_urgent_alone(limit: int, reserved: int, background: int) -> None:
    slots, held = Slots(limit, reserved), []
    leave = asyncio.Event()

    async def hold(name: str) -> None:
        async with slots.held():
            held.append(name)
            await leave.wait()

    tasks = [start(hold("background"), urgent=False) for _ in range(9)]
    await settle()
    assert len(held) == background
    cut = [start(hold("cut"), urgent=False) for _ in range(3)]
    await settle()
    for task in cut:
        task.cancel()
    tasks += [start(hold("urgent"), urgent=True) for _ in range(9)]
    await settle()
    assert held.count("urgent") == limit - background
    leave.set()
    await asyncio.gather(*tasks)
    assert len(held) == 18 and "cut" not in held


@pytest.mark.parametrize("how", ["itself", "a part of it"])
@pytest.mark.parametrize("waiting", [1, 3])
async def test_who_becomes_urgent_in_the_line_is_given_what_is_kept_for_the_urgent(
    how: str, waiting: int
) -> None:
    slots, leave = Slots(3, 1), asyncio.Event()
    held: list[str] = []

    async def hold(name: str) -> None:
        async with slots.held():
            held.append(name)
            await leave.wait()

    async def work(name: str) -> None:
        context = part_of_current()[1] if how == "a part of it" else None
        await asyncio.create_task(hold(name), context=context)

    tasks = [start(hold("background"), urgent=False) for _ in range(2 + waiting)]
    urgency, context = on_its_own(is_urgent=False)
    tasks.append(asyncio.create_task(work("risen"), context=context))
    await settle()
    assert held == ["background"] * 2
    urgency.rise()
    await settle()
    assert held == ["background", "background", "risen"]
    # Its slot goes to the urgent again, whatever waits in the background.
    tasks[-1].cancel()
    await settle()
    assert len(held) == 3
    tasks.append(start(hold("urgent"), urgent=True))
    await settle()
    assert held[3:] == ["urgent"]
    leave.set()
    await asyncio.wait(tasks)
    assert held[4:] == ["background"] * waiting


async def test_who_is_given_a_slot_just_as_it_is_cancelled_leaves_it_to_the_next() -> None:
    for turns in range(6):
        slots = Slots(1, 0)
        first = await slots.acquire()
        leaving, staying = start(slots.acquire(), urgent=False), start(slots.acquire(), urgent=False)
        await settle()
        first.release()
        for _ in range(turns):
            await asyncio.sleep(0)
        if not leaving.done():
            leaving.cancel()
            await settle()
        if leaving.cancelled():
            assert staying.done()
        else:
            leaving.result().release()
            await settle()
        (await staying).release()
        (await slots.acquire()).release()


async def test_a_slot_is_released_once_however_often_that_is_said() -> None:
    slots = Slots(2, 1)
    first, second = await slots.acquire(), await start(slots.acquire(), urgent=True)
    for _ in range(3):
        first.release()
    third, fourth = start(slots.acquire(), urgent=True), start(slots.acquire(), urgent=True)
    await settle()
    assert third.done() and not fourth.done()
    second.release()
    await fourth


async def test_the_first_urgent_in_line_is_next_and_who_is_cancelled_holds_up_nobody() -> None:
    lock, order = UrgentFirst(), list[str]()

    async def pass_by(name: str) -> None:
        async with lock:
            order.append(name)
            await asyncio.sleep(0)

    async with lock:
        tasks = {name: start(pass_by(name), urgent=name[0] == "u") for name in ("b1", "b2", "u1", "b3", "u2")}
        urgency, context = on_its_own(is_urgent=False)
        tasks["late"] = asyncio.create_task(pass_by("late"), context=context)
        await settle()
        tasks.pop("b2").cancel()
        tasks.pop("u1").cancel()
        urgency.rise()
        await settle()
    # Whoever is handed the lock just as it is cancelled hands it on.
    await asyncio.sleep(0)
    await asyncio.gather(*tasks.values())
    assert order == ["u2", "late", "b1", "b3"]
    for turns in range(6):
        async with lock:
            leaving, staying = start(pass_by("leaving"), urgent=True), start(pass_by("staying"), urgent=False)
            await settle()
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving, staying})
        assert order[-1] == "staying" and not staying.cancelled()


async def test_a_long_line_is_not_looked_through_for_each_who_comes_or_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = 0

    def waits(urgency: priority.Urgency | None) -> bool:
        nonlocal looked
        looked += 1
        return urgency is not None and urgency.is_urgent

    monkeypatch.setattr(priority, "_waits", waits)
    slots, waiting = Slots(2, 1), 300

    async def work() -> None:
        async with slots.held():
            await asyncio.sleep(0)

    await asyncio.gather(*(start(work(), urgent=True) for _ in range(waiting)))
    assert looked <= 4 * waiting
