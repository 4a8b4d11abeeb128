"""Levels: gauges that hold at the moment of a scrape alone, asked of whoever knows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from seamless_assets.errors import SeamlessError
from seamless_assets.metrics.recording import Sample

PATIENCE_S = 2.0
"""How long one of them is waited for."""
Source = Callable[[], Awaitable[Sequence[Sample]]]


class Levels:
    """Sources of gauges; what a source that is away would have told is not there."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Ask `source` too, at each scrape."""
        self._sources.append(source)

    async def load(self) -> list[Sample]:
        """What all of them say now."""
        told = await asyncio.gather(*map(_ask, self._sources))
        return [sample for samples in told for sample in samples]


async def _ask(source: Source) -> Sequence[Sample]:
    # Whatever is away is told by an alert of its own.
    with suppress(SeamlessError, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            return await source()
    return ()
