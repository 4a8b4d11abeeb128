"""What every part of the face stands on: settings, and ports that open at the first call.

The face is synchronous and works inside a running event loop too (a notebook): flows run on the worker's
event loop, in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.instant import epoch_seconds
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidChoice
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.worker import Opened, Worker

T = TypeVar("T")
Instant = Any
"""Epoch seconds, an ISO 8601 text or an aware datetime; naive datetimes are an error."""


def window_of(start: Instant, end: Instant) -> Segment:
    """The window of two instants. Raises `InvalidTimestamp` and `InvalidSegment`."""
    return Segment(epoch_seconds(start, "start", round_up=True), epoch_seconds(end, "end"))


class AsyncFace:
    """Awaited methods over the ports that `wire` opens at the first of them."""

    def __init__(self, settings: Settings, wire: Callable[[], Opened]) -> None:
        self.settings = settings
        self.worker = Worker(wire)

    @property
    def ports(self) -> Ports:
        """All that the flows touch, opened now if it was not."""
        return self.worker.opened.ports

    async def close(self) -> None:
        """See `Face.close`; awaited by what the pipeline itself runs, it ends the pipeline after that."""
        if self.worker.is_here:
            self.worker.stop()
        else:
            await asyncio.to_thread(self.worker.stop)

    async def _do(self, work: Callable[[Ports], Coroutine[Any, Any, T]]) -> T:
        return await self.worker.do(work)

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
        """End what is under way, as its `cancel()` would, then close stores and connections.

        May be called again, and by many threads; what is called afterwards opens them anew.
        """
        self.aio.worker.stop()

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
