"""Works of many that are done together: who goes with whom, and who hears of what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import Event

import pytest

from seamless_assets.adapters.sqlite.together import Together


class Works:
    """Numbers, of which each comes to its double; the first waits for `gate`, and `bad` ones cannot be done.

    `groups` are those that were begun together, `begun` is called with the first.
    """

    def __init__(self, *bad: int) -> None:
        self.groups: list[list[int]] = []
        self.gate, self.bad, self.begun = Event(), bad, asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def do(self, works: Sequence[int]) -> list[int | Exception]:
        self.groups.append([*works])
        if len(self.groups) == 1:
            self._loop.call_soon_threadsafe(self.begun.set)
            self.gate.wait()
        if any(work in self.bad for work in works):
            raise KeyError(works[0])
        return [2 * work if work >= 0 else ArithmeticError(str(work)) for work in works]


async def asked_meanwhile(works: Works, *numbers: int) -> tuple[Together[int], list[asyncio.Task[int]]]:
    """Those who ask while the first one is at work."""
    together = Together[int]("works", works.do, most=10)
    first = asyncio.create_task(together.run(1))
    await works.begun.wait()
    rest = [asyncio.create_task(together.run(number)) for number in numbers]
    await asyncio.sleep(0)
    return together, [first, *rest]


async def test_who_asks_while_one_is_at_work_goes_with_all_who_do() -> None:
    works = Works()
    together, asked = await asked_meanwhile(works, 2, -3, 4)
    works.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["2", "4", "-3", "8"]
    assert works.groups == [[1], [2, -3, 4]]
    await together.close()


async def test_no_more_go_together_than_may() -> None:
    works = Works()
    together, asked = await asked_meanwhile(works)
    sizes = {2: 4, 3: 6, 4: 1, 5: 99, 6: 1}
    asked += [asyncio.create_task(together.run(number, size)) for number, size in sizes.items()]
    await asyncio.sleep(0)
    works.gate.set()
    assert await asyncio.gather(*asked) == [2, 4, 6, 8, 10, 12]
    assert works.groups == [[1], [2, 3], [4], [5], [6]]
    await together.close()


async def test_where_they_fail_together_each_is_done_alone() -> None:
    works = Works(3)
    together, (first, second, third, fourth) = await asked_meanwhile(works, 2, 3, 4)
    works.gate.set()
    assert [await first, await second, await fourth] == [2, 4, 8]
    with pytest.raises(KeyError):
        await third
    assert works.groups == [[1], [2, 3, 4], [2], [3], [4]]
    await together.close()


async def test_who_is_cancelled_leaves_once_its_work_is_done_and_the_others_have_theirs() -> None:
    works = Works()
    together, (first, second, third) = await asked_meanwhile(works, 2, 3)
    second.cancel()
    await asyncio.sleep(0)
    assert not second.done()
    works.gate.set()
    assert [await first, await third] == [2, 6]
    with pytest.raises(asyncio.CancelledError):
        await second
    assert works.groups == [[1], [2, 3]]
    await together.close()


def test_a_loop_that_is_over_keeps_nothing_from_another() -> None:
    begun, gate, done = Event(), Event(), Event()

    def do(works: Sequence[int]) -> Sequence[int]:
        begun.set()
        gate.wait()
        done.set()
        return works

    together = Together[int]("works", do, most=10)
    left = asyncio.new_event_loop()
    waiting = left.create_task(together.run(1))
    left.run_until_complete(asyncio.to_thread(begun.wait))
    # As a program that ends at once: nobody cancels what is under way.
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    left.close()
    gate.set()
    assert asyncio.run(together.run(2)) == 2 and done.is_set()
    asyncio.run(together.close())


async def test_it_is_closed_though_no_work_begins_on_threads_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    works = Works()
    together, asked = await asked_meanwhile(works, 2)
    shutdown = together._thread.shutdown
    monkeypatch.setattr(together._thread, "shutdown", lambda: (works.gate.set(), shutdown()))
    await asyncio.get_running_loop().shutdown_default_executor()
    try:
        await together.close()
        assert works.groups == [[1], [2]]
        assert await asyncio.gather(*asked) == [2, 4]
    finally:
        works.gate.set()
