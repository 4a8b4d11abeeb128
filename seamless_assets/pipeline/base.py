"""What every part of the face stands on: settings, and the portal to the loop that the flows run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from difflib import get_close_matches
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar

from seamless_assets.config.load import Settings
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.errors import InvalidChoice, InvalidInput, NotPicklable
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.producer import EarlyItems
from seamless_assets.pipeline.loop.stream import BatchedStream, Stream
from seamless_assets.pipeline.wiring.adapters import Adapters
from seamless_assets.pipeline.wiring.policy import read_settings
from seamless_assets.pipeline.wiring.stores import S3Access

T = TypeVar("T")


class AsyncBase:
    """Methods to await, from any event loop; the flows run on the portal's.

    `portal` goes before what the settings say of stores, servers and exchanges (in memory, for tests).
    """

    def __init__(self, settings: Settings, s3: S3Access | None = None, portal: Portal | None = None) -> None:
        self.settings = settings
        self._s3, self._own_portal = s3, portal
        self.portal = portal or Portal(lambda: Adapters(settings, s3))

    @property
    def ports(self) -> Ports:
        """All that the flows touch, opened now if it was not."""
        return self.portal.adapters.ports

    @cached_property
    def read_settings(self) -> ReadSettings:
        """What the settings decide for reads."""
        return read_settings(self.settings)

    async def close(self) -> None:
        """End what is under way, as its `cancel()` would, then close stores and connections.

        May be called again, and by many at once; what is called afterwards opens them anew. Called by what
        the pipeline itself runs, it ends the pipeline after that.
        """
        if self.portal.is_here:
            self.portal.stop()
        else:
            await asyncio.to_thread(self.portal.stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Settings, S3Access | None]]:
        if self._own_portal is not None:
            raise NotPicklable("what is in memory is in this process alone; make it anew where it is wanted")
        return type(self), (self.settings, self._s3)

    async def _do(self, work: Callable[[Ports], Coroutine[Any, Any, T]]) -> T:
        return await self.portal.do(work)

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return self.portal.start(work)

    def _stream(self, make: Callable[[Ports], AsyncGenerator[T, None]]) -> AsyncIterator[T]:
        return Stream(self.portal, lambda adapters: make(adapters.ports))

    def _batched(
        self,
        make: Callable[[Ports], AsyncGenerator[Sequence[T], None]],
        early: EarlyItems[Sequence[T]] | None = None,
    ) -> AsyncIterator[T]:
        return BatchedStream(self.portal, lambda adapters: make(adapters.ports), early)

    def _nodes(self) -> list[NodeId]:
        return list(self.settings.starts)

    def _declared(self, node: str | NodeId) -> NodeId:
        """A node of the settings' exchanges. Raises `InvalidChoice`, for a derived one too."""
        parsed = NodeId.parse(node)
        if parsed in self.settings.recipes:
            raise InvalidChoice(
                f"{parsed} is derived of other nodes, and no exchange is asked for it; materialize it",
                value=str(parsed),
                choices=tuple(map(str, self._nodes())),
            )
        if parsed.exchange not in self.settings.exchanges:
            near = get_close_matches(str(parsed), map(str, self._nodes()), n=1)
            hint = (
                f"add it under `exchanges`, or did you mean {near[0]}?"
                if near
                else "add it under `exchanges`"
            )
            raise InvalidChoice(
                f"{parsed}: exchange {parsed.exchange} is not in the settings; {hint}",
                value=str(parsed),
                choices=tuple(self.settings.exchanges),
            )
        return parsed

    async def _governed(self, node: str | NodeId) -> NodeId:
        """A node of the settings' exchanges, or one of which anything was sealed: a derived one.

        Raises `InvalidChoice`.
        """
        known = NodeId.parse(node)
        if known in self.settings.recipes:
            return known
        if known.exchange not in self.settings.exchanges:
            files = await self._do(lambda ports: ports.artifacts.list_files(known))
            if not files:
                return self._declared(known)
        return known


def require_truth(given: object, name: str) -> None:
    """Raise `InvalidInput` where a switch is neither on nor off."""
    if not isinstance(given, bool):
        raise InvalidInput(f"{name} is {given!r:.100}; give True or False", value=given)
