"""A child process that does one thing to a release log and is killed before a chosen call of the store."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from support.worlds import NODE, World, day

from seamless_assets.adapters.artifacts.storage.folder import FolderFiles
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import release_by_hand, rollback, withdraw

CALLS = ("create", "read", "read_all", "load", "exists", "list_files", "signatures", "remove")
STEPS = ("mkdir", "fsync", "link", "unlink")
CORRECTED = day(29).start + 600
TWO_DAYS = Segment(day(29).start, day(30).end)
"""The last two of January."""
SPAWN = get_context("forkserver")
# Children are forked from a process that has imported what takes long and runs nothing.
SPAWN.set_forkserver_preload(["seamless_assets.pipeline.connect", "ccxt.async_support"])
NO_GRACE = -math.inf
"""Files of any age may go: their times are real and those of a twin's clock are not."""
Action = Callable[[World], Coroutine[Any, Any, object]]


async def release_two(world: World) -> None:
    """Fetch, seal and release two days."""
    assert await world.materialize(TWO_DAYS)


async def correct_one(world: World) -> None:
    """Release a correction of the second day."""
    world.correct(CORRECTED)
    assert await world.materialize(day(29))


ACTIONS: dict[str, tuple[tuple[str, ...], Action]] = {
    "release": ((), release_two),
    "correction": (("release",), correct_one),
    "rollback": (("release", "correction"), lambda world: rollback(world.ports, NODE, "back", to=2)),
    "withdrawal": (("release",), lambda world: withdraw(world.ports, NODE, "2025-01-30", "away")),
    "by hand": (("release", "withdrawal"), lambda world: release_by_hand(world.ports, NODE, "go on")),
    "compaction": (("release", "correction"), lambda world: compact(world.ports, NODE)),
    "correction of a compacted month": (("release", "compaction"), correct_one),
    "clean-up": (("release", "orphans"), lambda world: clean_up(world.ports, NODE, NO_GRACE)),
    "orphans": ((), lambda world: asyncio.to_thread(leave_orphans, world)),
}
"""By name: what goes before, and the thing itself."""


def leave_orphans(world: World) -> None:
    """What a killed writer may leave: a file without a manifest, and two that were never finished."""
    folder = Path(world.ports.artifacts.file_uri(NODE, "2025-01-30"))
    whole = next(folder.glob("*.parquet"))
    (folder / f"{'0' * 64}.parquet").write_bytes(whole.read_bytes())
    (folder / f"{'1' * 64}.parquet#1").write_bytes(b"half")
    (folder / f"{'2' * 64}.manifest.json").write_bytes(b"half")


async def perform(folder: Path, name: str) -> None:
    """Do it, unharmed."""
    world = World(folder, TWO_DAYS)
    world.exchange.clock.time += 60 * len(await world.log())
    await ACTIONS[name][1](world)
    await world.ports.hot.close()


def perform_and_die(folder: Path, name: str, before_call: int, steps: bool) -> None:
    """Do it, and get SIGKILL instead of making call number `before_call` of the store.

    Where `steps` are asked for, it is a call of the system: one of the steps that a file is written in.
    """
    left = before_call

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any]) -> Any:
        async def dying(*args: Any) -> Any:
            count()
            return await call(*args)

        return dying

    def counted_step(call: Callable[..., Any]) -> Any:
        def dying(*args: Any, **more: Any) -> Any:
            count()
            return call(*args, **more)

        return dying

    for call in () if steps else CALLS:
        setattr(FolderFiles, call, counted(getattr(FolderFiles, call)))
    for step in STEPS if steps else ():
        setattr(os, step, counted_step(getattr(os, step)))
    asyncio.run(perform(folder, name))


def perform_together(folder: Path, name: str, start: Any) -> None:
    """Do it at the moment when all are ready."""
    start.wait(60)
    asyncio.run(perform(folder, name))


def in_a_child(work: Callable[..., None], *args: Any) -> Any:
    """Start it in a process of its own."""
    child = SPAWN.Process(target=partial(work, *args))
    child.start()
    return child
