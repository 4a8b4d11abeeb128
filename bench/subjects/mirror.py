"""Showing releases as Iceberg tables beside the releases themselves, in a short log and in a long one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.measuring.sample import Sample
from bench.places import reach_support
from bench.running import Bench, Case
from bench.worlds.releases import day_key
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.iceberg.catalog import TableCatalog
from seamless_assets.adapters.iceberg.mirror import IcebergMirror
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.testing import DAY, START, random_walk

FIRST = START - 6_000 * DAY
NOW = (START + 9_000 * DAY) * 1_000_000
ROUNDS = 30


def cases(bench: Bench) -> Iterator[Case]:
    """Days are released one by one, each sealed and stored, and mirrored in turns with that."""
    reach_support()
    with asyncio.Runner() as runner:
        for name, releases in (("short-log", 10), ("long-log", bench.size(5_000, 12))):
            if bench.wants(f"mirror.{name}"):
                history = History(bench.folder / name, runner)
                history.prepare(releases)
                yield Case(
                    f"mirror.{name}", history.mirror_it, history.release_a_day, ROUNDS, facts=history.facts
                )
                history.close()


class History:
    """A log of days of minutes in a folder, and its mirror."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.folder, self.run = folder, runner.run
        self.store = ArtifactStore(str(folder / "artifacts"))
        self.mirror = IcebergMirror(self.store, TableCatalog(folder / "iceberg.sqlite"))
        self.days = self.held = self.before = 0
        self.seconds_at_once = 0.0

    def prepare(self, releases: int) -> None:
        """Release so many days of a few bars, and mirror them at once."""
        while self.days < releases:
            self._release(self._next_bars(minutes=10))
        began = time.perf_counter()
        self._follow()
        self.seconds_at_once = time.perf_counter() - began
        self.held, self.before = self._bytes_of_lists(), self.days

    def mirror_it(self) -> Sample:
        """Mirror a new day; a day is released before that, which is not timed."""
        self._release(self._next_bars())
        wall, cpu = time.perf_counter(), time.process_time()
        self._follow()
        return Sample(time.perf_counter() - wall, time.process_time() - cpu)

    def release_a_day(self) -> Sample:
        """Release a day, and mirror it, which is not timed."""
        bars = self._next_bars()
        wall, cpu = time.perf_counter(), time.process_time()
        self._release(bars)
        taken = Sample(time.perf_counter() - wall, time.process_time() - cpu)
        self._follow()
        return taken

    def facts(self) -> dict[str, Any]:
        """What was seen besides."""
        grown = (self._bytes_of_lists() - self.held) / max(1, self.days - self.before)
        return {"mirrored_at_once_s": self.seconds_at_once, "list_bytes_per_release": grown}

    def close(self) -> None:
        """Close the store."""
        self.run(self.store.close())

    def _follow(self) -> None:
        from support.artifacts import NODE

        self.run(self.mirror.follow(NODE))

    def _next_bars(self, minutes: int = 1_440) -> pa.Table:
        start = FIRST + self.days * DAY
        made = random_walk(start, start + minutes * 60)
        return table_of(((ts, *row) for ts, row in made.items()), BARS_SCHEMA)

    def _release(self, bars: pa.Table) -> None:
        from support.artifacts import seal_bars

        async def release() -> None:
            await self._append(await self.store.put_artifact(sealed))

        sealed = seal_bars(bars, day_key(bars["ts"][0].as_py()))
        self.run(release())
        self.days += 1

    async def _append(self, ref: ArtifactRef) -> None:
        from support.artifacts import NODE

        before = await self.store.load_snapshot(NODE)
        entry = next_release(
            before, added=[ref], withdrawn=(), now_micros=NOW, checks={"ok": True}, reason="bench"
        )
        await self.store.append_release(NODE, entry)

    def _bytes_of_lists(self) -> int:
        """Bytes of the lists and manifests; table files take each other's place."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.avro"))
