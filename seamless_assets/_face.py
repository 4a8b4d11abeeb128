"""What every part of the face stands on: settings, ports that open at the first call, and a loop of its own.

The face is synchronous and works inside a running event loop too (a notebook): flows run on one event loop
in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from seamless_assets.config import Settings
from seamless_assets.core.instant import epoch_seconds
from seamless_assets.core.node import NodeId
from seamless_assets.core.segment import Segment
from seamless_assets.errors import InvalidChoice
from seamless_assets.flows.diagnose import Question
from seamless_assets.flows.ports import Ports

T = TypeVar("T")
Instant = Any
"""Epoch seconds, an ISO 8601 text or an aware datetime; naive datetimes are an error."""


def window_of(start: Instant, end: Instant) -> Segment:
    """The window of two instants. Raises `InvalidTimestamp` and `InvalidSegment`."""
    return Segment(epoch_seconds(start, "start", round_up=True), epoch_seconds(end, "end"))


class Opened(Protocol):
    """Adapters that are wired together, and the servers among them that other machines share."""

    @property
    def ports(self) -> Ports: ...

    @property
    def shared(self) -> Sequence[tuple[str, Question]]: ...

    async def close(self) -> None: ...


class AsyncFace:
    """Awaited methods over the ports that `wire` opens at the first of them."""

    def __init__(self, settings: Settings, wire: Callable[[], Opened]) -> None:
        self.settings = settings
        self.worker = Worker()
        self._wire = wire
        self._opened: Opened | None = None
        self._opening = threading.Lock()

    @property
    def ports(self) -> Ports:
        """All that the flows touch, opened now if it was not."""
        return self._open().ports

    async def close(self) -> None:
        """Close stores and connections; may be called again."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """The same, without an event loop."""
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            self.worker.run(opened.close())
        self.worker.stop()

    async def _do(self, work: Callable[[Ports], Coroutine[Any, Any, T]]) -> T:
        return await asyncio.wrap_future(self.worker.start(work(self.ports)))

    def _open(self) -> Opened:
        with self._opening:
            if self._opened is None:
                self._opened = self._wire()
            return self._opened

    def _nodes(self) -> list[NodeId]:
        return [item.node for item in self.settings.nodes]

    def _declared(self, node: str | NodeId) -> NodeId:
        parsed = NodeId.parse(node)
        if parsed.exchange not in self.settings.exchanges:
            raise InvalidChoice(
                f"{parsed}: exchange {parsed.exchange} is not in the settings; add it under `exchanges`",
                value=str(parsed),
                choices=tuple(self.settings.exchanges),
            )
        return parsed


class Face:
    """The same methods, called and not awaited. `aio` is the async twin."""

    aio: AsyncFace

    @property
    def settings(self) -> Settings:
        """The settings it was opened with."""
        return self.aio.settings

    def close(self) -> None:
        """Close stores and connections; may be called again."""
        self.aio.close_now()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return self.aio.worker.start(work)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.aio.worker.run(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Worker:
    """An event loop in a daemon thread, started at the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `work` on it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="seamless-assets", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on it, and cancel it where the caller is interrupted."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End it; the next call starts another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
