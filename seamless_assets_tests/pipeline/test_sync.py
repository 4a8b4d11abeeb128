"""The two faces: what can be awaited can be called, under the same name, signature and docstring."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.errors import BlockingCall
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.stream import Stream
from seamless_assets.pipeline.seamless import AsyncSeamless, WorldSession
from seamless_assets.pipeline.sync import SyncStream, blocking, forwarding, iterating
from seamless_assets.pipeline.world import AsyncWorldSession

ROOT = Path(__file__).resolve().parents[2]


def public_methods(face: type) -> set[str]:
    return {name for name in dir(face) if not name.startswith("_") and callable(getattr(face, name))}


METHODS = sorted(public_methods(AsyncSeamless))
TWINS = {AsyncWorldSession: WorldSession}
"""What is made without waiting, and has a sync face of its own."""


def test_each_method_has_its_twin() -> None:
    assert public_methods(sa.Seamless) == set(METHODS) and "read" in METHODS


@pytest.mark.parametrize("name", METHODS)
def test_twins_have_one_signature_and_one_docstring(name: str) -> None:
    original, twin = getattr(AsyncSeamless, name), getattr(sa.Seamless, name)
    assert twin.__doc__ == original.__doc__ and len(twin.__doc__) > 20 and twin.__name__ == name
    assert inspect.signature(twin).parameters == inspect.signature(original).parameters
    returned, promised = typing.get_type_hints(twin)["return"], typing.get_type_hints(original)["return"]
    if typing.get_origin(promised) is AsyncIterator:
        assert typing.get_origin(returned) is SyncStream and issubclass(SyncStream, Iterator)
        assert typing.get_args(returned) == typing.get_args(promised)
    elif promised in TWINS:
        assert returned is TWINS[promised]
    else:
        assert returned == promised
        assert inspect.iscoroutinefunction(original) != (typing.get_origin(promised) is Future)
    assert not inspect.iscoroutinefunction(twin)


def test_type_checkers_see_what_a_twin_takes_and_returns(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import seamless_assets as sa\n"
        "s = sa.connect()\n"
        "s.read('n', 1, 2).metadata.rows + ''\n"
        "s.read()\n"
        "s.release('n')\n"
        "s.compact('n', unit='week')\n"
        "s.backfill_in_background('n', 1, 2).result() + 1\n"
        "for report in s.materialize_each('n', 1, 2): report + 1\n"
        "s.read('n', 1, 2, columns=['ts']).to_arrow()\n"
        "s.subscribe('n').close()\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", str(wrong)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.findall(r":(\d+): error", result.stdout) == ["3", "4", "5", "6", "7", "8"], result.stdout


class Adapters:
    """None at all."""

    shared = ()
    ports: Any = SimpleNamespace()

    def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def close(self) -> None:
        """Nothing was opened."""


class AsyncCounter:
    """A face of its own, to see the derivation alone."""

    def __init__(self) -> None:
        self.portal = Portal(Adapters)
        self.events: list[str] = []

    async def double(self, number: int, *, error: Exception | None = None) -> int:
        """Twice the number."""
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return 2 * number

    def up_to(self, number: int) -> AsyncIterator[int]:
        """The numbers below."""
        assert number >= 0
        return Stream(self.portal, lambda _: self._up_to(number))

    def later(self, number: int) -> Future[int]:
        """Twice the number, in time."""
        return self.portal.start(self.double(number))

    async def _up_to(self, number: int) -> typing.AsyncGenerator[int, None]:
        try:
            for each in range(number):
                await asyncio.sleep(0)
                yield each
        finally:
            await asyncio.sleep(0)
            self.events.append("cleaned up")


class Counter:
    def __init__(self) -> None:
        self.aio = AsyncCounter()

    double = blocking(AsyncCounter.double)
    up_to = iterating(AsyncCounter.up_to)
    later = forwarding(AsyncCounter.later)


@pytest.fixture
def counter() -> Iterator[Counter]:
    made = Counter()
    yield made
    made.aio.portal.stop()


def used(counter: Counter) -> None:
    assert counter.double(3) == 6 and counter.later(4).result(30) == 8
    assert list(counter.up_to(3)) == [0, 1, 2] and list(counter.up_to(0)) == []
    with pytest.raises(ZeroDivisionError, match="as it is"):
        counter.double(3, error=ZeroDivisionError("as it is"))


def test_twins_do_what_their_originals_do(counter: Counter) -> None:
    used(counter)


async def test_twins_work_inside_a_running_loop(counter: Counter) -> None:
    used(counter)
    assert await counter.aio.double(3) == 6
    assert [number async for number in counter.aio.up_to(3)] == [0, 1, 2]


def test_arguments_are_judged_where_they_are_given(counter: Counter) -> None:
    with pytest.raises(TypeError, match="number"):
        counter.double()  # type: ignore[call-arg]
    with pytest.raises(AssertionError):
        counter.up_to(-1)


def test_what_nobody_asks_on_for_cleans_up_when_it_is_dropped(counter: Counter) -> None:
    for number in counter.up_to(3):
        if number == 1:
            break
    counter.aio.portal.stop()
    assert counter.aio.events == ["cleaned up"]


def test_waiting_for_oneself_is_refused(counter: Counter) -> None:
    async def within(call: Callable[[], Any]) -> Any:
        return call()

    for call in (lambda: counter.double(1), lambda: next(iter(counter.up_to(1)))):
        with pytest.raises(BlockingCall, match="await its twin"):
            counter.aio.portal.run(within(call))
