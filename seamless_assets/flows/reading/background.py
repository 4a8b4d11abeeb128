"""Fills that outlive the read that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from seamless_assets.aio.gather import gather
from seamless_assets.aio.priority import Urgency, on_its_own
from seamless_assets.aio.shield import shielded
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SeamlessError
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.ports import Ports

Outcome = tuple[str, ...]
"""Why bars stay missing; empty where all went well."""


@dataclass(frozen=True, slots=True)
class _Running:
    task: asyncio.Task[Outcome]
    urgency: Urgency


class BackgroundFills:
    """The fills of one process, each a task of its own; readers wait for it, and leave it running."""

    def __init__(self) -> None:
        self._running: dict[tuple[NodeId, tuple[Segment, ...]], _Running] = {}

    def start(
        self, ports: Ports, node: NodeId, parts: Sequence[Segment], *, is_awaited: bool
    ) -> asyncio.Task[Outcome]:
        """Fill `parts` of a node; the fill of just these that is under way is joined.

        One that `is_awaited` by a reader goes before work in the background.
        """
        key = (node, tuple(parts))
        running = self._running.get(key)
        if running is None:
            urgency, context = on_its_own(is_urgent=is_awaited)
            task = asyncio.create_task(_fill(ports, node, key[1]), context=context)
            running = self._running[key] = _Running(task, urgency)
            task.add_done_callback(lambda _: self._running.pop(key, None))
        elif is_awaited:
            running.urgency.rise()
        return running.task

    async def close(self) -> None:
        """Cancel what is under way, and return when it has ended."""
        running = [one.task for one in self._running.values()]
        for task in running:
            task.cancel()
        if running:
            await shielded(asyncio.ensure_future(asyncio.wait(running)))


async def _fill(ports: Ports, node: NodeId, parts: Sequence[Segment]) -> Outcome:
    """Problems stand in what is returned: nobody may be there to catch them."""
    try:
        reports = await gather(backfill(ports, node, part) for part in parts)
    except SeamlessError as error:
        return (f"{type(error).__name__}: {error}",)
    return tuple(dict.fromkeys(problem for report in reports for problem in report.problems))
