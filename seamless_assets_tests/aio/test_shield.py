"""What must not be left half done is waited for, however often its caller is cancelled."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from seamless_assets.aio.shield import acquire_shielded, shielded
from seamless_assets.testing import run_on_virtual_time


class Holder:
    """Acquires something in a second, and knows what became of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.events: list[str] = []

    async def acquire(self) -> str:
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        self.events.append("acquired")
        return "it"

    async def release(self, acquired: str) -> None:
        await asyncio.sleep(1)
        self.events.append(f"released {acquired}")

    def begin(self, how: str) -> asyncio.Task[str]:
        async def use() -> str:
            work = asyncio.ensure_future(self.acquire())
            if how == "shielded":
                return await shielded(work)
            return await acquire_shielded(work, self.release)

        return asyncio.ensure_future(use())


@pytest.mark.parametrize("how", ["shielded", "acquire_shielded"])
@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_its_outcome_is_the_works(how: str, error: Exception | None) -> None:
    async def main() -> None:
        holder = Holder(error)
        (outcome,) = await asyncio.gather(holder.begin(how), return_exceptions=True)
        assert outcome == (error or "it") and "released it" not in holder.events

    run_on_virtual_time(main)


@pytest.mark.parametrize("how", ["shielded", "acquire_shielded"])
@pytest.mark.parametrize("error", [None, ValueError("no")])
@pytest.mark.parametrize("times", [1, 3])
def test_a_cancelled_caller_leaves_when_the_work_has_ended(
    how: str, error: Exception | None, times: int
) -> None:
    async def main() -> None:
        holder = Holder(error)
        using = holder.begin(how)
        for _ in range(times):
            await asyncio.sleep(0.1)
            using.cancel()
        (outcome,) = await asyncio.gather(using, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
        given_back = ["released it"] if how == "acquire_shielded" else []
        assert holder.events == ([] if error else ["acquired", *given_back])

    run_on_virtual_time(main)


def test_a_cancellation_holds_nothing_that_is_over() -> None:
    """Else what its frames hold stays until somebody looks for cycles."""

    class Held:
        """Something large."""

    async def cut(seen: list[Any]) -> None:
        held = Held()
        seen.append(weakref.ref(held))
        await shielded(asyncio.ensure_future(asyncio.sleep(1)))

    async def main() -> None:
        seen: list[Any] = []
        task = asyncio.ensure_future(cut(seen))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait({task})
        del task
        assert seen[0]() is None

    gc.disable()
    try:
        run_on_virtual_time(main)
    finally:
        gc.enable()
