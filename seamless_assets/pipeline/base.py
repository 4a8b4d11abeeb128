"""What every part of the face stands on: settings, and the ports that the worker opens at the first call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from seamless_assets.config.load import Settings
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidChoice
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.loop.stream import Stream
from seamless_assets.pipeline.loop.worker import Worker
from seamless_assets.pipeline.wiring.adapters import Adapters
from seamless_assets.pipeline.wiring.artifacts import S3Access

T = TypeVar("T")


class AsyncBase:
    """Methods to await, from any event loop; the flows run on the worker's own."""

    def __init__(self, settings: Settings, s3: S3Access | None = None) -> None:
        self.settings = settings
        self._s3 = s3
        self.worker = Worker(lambda: Adapters(settings, s3))

    @property
    def ports(self) -> Ports:
        """All that the flows touch, opened now if it was not."""
        return self.worker.adapters.ports

    async def close(self) -> None:
        """End what is under way, as its `cancel()` would, then close stores and connections.

        May be called again, and by many at once; what is called afterwards opens them anew. Called by what
        the pipeline itself runs, it ends the pipeline after that.
        """
        if self.worker.is_here:
            self.worker.stop()
        else:
            await asyncio.to_thread(self.worker.stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Settings, S3Access | None]]:
        return type(self), (self.settings, self._s3)

    async def _do(self, work: Callable[[Ports], Coroutine[Any, Any, T]]) -> T:
        return await self.worker.do(work)

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return self.worker.start(work)

    def _stream(self, make: Callable[[Ports], AsyncGenerator[T, None]]) -> AsyncIterator[T]:
        return Stream(self.worker, make)

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
