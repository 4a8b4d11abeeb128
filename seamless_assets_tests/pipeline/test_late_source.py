"""A source that is made late: once, at its first use, closed if it was, and nobody waits for its import."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from seamless_assets.errors import MissingPackage
from seamless_assets.pipeline.wiring.exchanges import LateSource


class Made:
    """A source that counts."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        log.append("made")

    def page_size(self, node: int) -> int:
        return 2 * node

    async def exchange_now(self, exchange: str) -> float:
        self.log.append(exchange)
        return 7.0

    async def requests_made(self, exchange: str) -> int:
        return len(exchange)

    async def close(self) -> None:
        self.log.append("closed")


def late(log: list[str], load: Any = lambda: None) -> Any:
    return LateSource(load, lambda: Made(log))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("is_awaited_first", [False, True])
async def test_it_is_made_at_its_first_use_and_closed_if_it_was(is_awaited_first: bool) -> None:
    log: list[str] = []
    unused, used = late(log), late(log)
    if is_awaited_first:
        assert await used.exchange_now("a") == 7.0
    assert [used.page_size(n) for n in (1, 2)] == [2, 4]
    assert await used.exchange_now("b") == 7.0
    await unused.close()
    await used.close()
    assert log == ["made", *["a"] * is_awaited_first, "b", "closed"]
    with pytest.raises(AttributeError, match="thrice"):
        used.thrice(1)


async def test_to_say_how_many_requests_were_made_it_is_not_made() -> None:
    log: list[str] = []
    source = late(log, lambda: log.append("imported"))
    assert await source.requests_made("okx") == 0 and log == []
    await source.exchange_now("okx")
    assert await source.requests_made("okx") == 3


async def test_one_thread_imports_for_all_and_the_loop_goes_on() -> None:
    log: list[str] = []
    loop, begun, goes_on, threads = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), []

    def load() -> None:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            loop.call_soon_threadsafe(begun.set)
            assert goes_on.wait(30)

    source = late(log, load)
    asked = [asyncio.ensure_future(source.exchange_now(str(number))) for number in range(9)]
    await begun.wait()
    # The loop runs while the thread imports; who leaves meanwhile stops nobody else.
    asked[0].cancel()
    await asyncio.wait({asked[0]})
    goes_on.set()
    assert await asyncio.gather(*asked[1:]) == [7.0] * 8
    assert threading.main_thread() not in threads[:1] and log.count("made") == 1
    await source.close()


async def test_a_package_that_is_missing_is_told_to_each() -> None:
    def load() -> None:
        raise MissingPackage("ccxt is not installed")

    source = late([], load)
    for _ in range(2):
        with pytest.raises(MissingPackage):
            await source.exchange_now("a")
    with pytest.raises(MissingPackage):
        source.page_size(1)
    await source.close()


async def test_who_closes_while_it_is_imported_does_not_wait_for_that() -> None:
    goes_on = threading.Event()
    source = late([], lambda: goes_on.wait(30))
    asked = asyncio.ensure_future(source.exchange_now("a"))
    await asyncio.sleep(0)
    await source.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    goes_on.set()


async def test_an_import_that_failed_is_tried_again_by_the_next_call() -> None:
    log: list[str] = []
    failures = [OSError("too many open files")]

    def load() -> None:
        if failures:
            raise failures.pop()

    source = late(log, load)
    with pytest.raises(OSError, match="open files"):
        await source.exchange_now("a")
    assert await source.exchange_now("b") == 7.0
    await source.close()
    assert log == ["made", "b", "closed"]
