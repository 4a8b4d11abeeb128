"""Works that many ask for, done together on one thread: who asks while others are served goes with the next.

Own, because an executor does one after the other: with each the loop and the thread hand over to each other,
which takes longer than most works of a database, and so does a transaction for each.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from seamless_assets.aio.shield import shielded

T = TypeVar("T")
W = TypeVar("W")
Answered = tuple[asyncio.Future[Any], Any]


@dataclass(frozen=True, slots=True)
class _Asked(Generic[W]):
    """A work, the future of its outcome and the loop that this belongs to."""

    work: W
    size: int
    outcome: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class ProcessEnds(RuntimeError):
    """Python lets no work begin on threads once the process ends."""


async def alone(work: Callable[[], T]) -> T:
    """The outcome of a work beside all others, waited for to its end. Raises `ProcessEnds`."""
    try:
        working = asyncio.get_running_loop().run_in_executor(None, work)
    except RuntimeError as error:
        raise ProcessEnds(str(error)) from error
    return await shielded(working)


class Together(Generic[W]):
    """Does works by `do`, which gives the outcome of each, or the error that it alone came to.

    Where `do` raises for several, each of them is done once more, alone: nothing may be left of the first
    time. They begin in the order in which they were asked for, on any loop; together go so many at most that
    the sum of their sizes is `most`, so that nobody waits long for the works of others.
    """

    def __init__(self, name: str, do: Callable[[Sequence[W]], Sequence[Any]], most: int) -> None:
        self._do, self._most = do, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = Lock()
        self._asked: deque[_Asked[W]] = deque()
        self._is_serving = False

    async def run(self, work: W, size: int = 1) -> Any:
        """The outcome of a work. Once asked for it is done, even where the caller is cancelled.

        Raises `ProcessEnds`, and what the work has come to.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(work, size, loop.create_future(), loop)
        with self._lock:
            if not self._is_serving:
                try:
                    self._thread.submit(self._serve)
                except RuntimeError as error:
                    raise ProcessEnds(str(error)) from error
                self._is_serving = True
            self._asked.append(asked)
        return await shielded(asked.outcome)

    async def close(self) -> None:
        """Return once all is done that was asked for; nothing can be asked for afterwards."""
        if self._is_serving:
            # As the process ends, the loop has nothing left to do meanwhile.
            with suppress(ProcessEnds):
                await alone(self._thread.shutdown)
        self._thread.shutdown()

    def _serve(self) -> None:
        while asked := self._take():
            self._serve_together(asked)

    def _take(self) -> Sequence[_Asked[W]]:
        """Those who go together next; where there are none, somebody has to begin anew."""
        taken, size = list[_Asked[W]](), 0
        with self._lock:
            while self._asked and (not taken or size + self._asked[0].size <= self._most):
                taken.append(self._asked.popleft())
                size += taken[-1].size
            self._is_serving = bool(taken)
        return taken

    def _serve_together(self, asked: Sequence[_Asked[W]]) -> None:
        answered = defaultdict[asyncio.AbstractEventLoop, list[Answered]](list)
        for one, answer in zip(asked, self._answers([one.work for one in asked]), strict=True):
            answered[one.loop].append((one.outcome, answer))
        for loop, answers in answered.items():
            # Nobody waits any more on a loop that was closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_deliver, answers)

    def _answers(self, works: Sequence[W]) -> Sequence[Any]:
        try:
            return self._do(works)
        except BaseException as error:  # noqa: BLE001 - whoever asked for it is told
            if len(works) == 1:
                return [error]
        return [answer for work in works for answer in self._answers([work])]


def _deliver(answers: Sequence[Answered]) -> None:
    for outcome, answer in answers:
        if outcome.done():
            continue
        if isinstance(answer, BaseException):
            outcome.set_exception(answer)
        else:
            outcome.set_result(answer)
