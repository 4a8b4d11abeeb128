"""What it costs to show releases as Iceberg tables: time beside the release itself, bytes for each release.

    python bench/mirror_cost.py [--logs 10 5000] [--rounds 30]

A log of days of minutes lies in a folder; then days are released one by one, each sealed and stored (two
files and a record) and, in turns with that, mirrored. Exits with 1 where a mirrored release takes more than
half the time of the release, at any length of the log.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "seamless_assets_tests"))

import pyarrow as pa
from support.artifacts import NODE, seal_bars

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.iceberg.catalog import TableCatalog
from seamless_assets.adapters.iceberg.mirror import IcebergMirror
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.releases.artifact import ArtifactRef, SealedArtifact
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.testing import DAY, START, random_walk

GOAL = 0.5
FIRST = START - 6_000 * DAY
NOW = (START + 9_000 * DAY) * 1_000_000


async def release(store: ArtifactStore, ref: ArtifactRef, before: Snapshot) -> None:
    """Append a record that adds an artifact."""
    entry = next_release(
        before, added=[ref], withdrawn=(), now_micros=NOW, checks={"ok": True}, reason="bench"
    )
    await store.append_release(NODE, entry)


async def prepare(store: ArtifactStore, releases: int) -> None:
    """A log of so many days, each of one small artifact."""
    for number in range(releases):
        ref = await store.put_artifact(sealed(bars_of(number, minutes=10)))
        await release(store, ref, await store.load_snapshot(NODE))


def bars_of(number: int, minutes: int = 1_440) -> pa.Table:
    """The bars of a day."""
    start = FIRST + number * DAY
    return table_of(((ts, *row) for ts, row in random_walk(start, start + minutes * 60).items()), BARS_SCHEMA)


def sealed(bars: pa.Table) -> SealedArtifact:
    """The artifact of a day's bars."""
    return seal_bars(bars, seconds_text(bars["ts"][0].as_py())[:10])


async def measure(folder: Path, releases: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a release and of its mirroring, and the bytes that a mirrored release adds."""
    store = ArtifactStore(str(folder / "artifacts"))
    mirror = IcebergMirror(store, TableCatalog(folder / "iceberg.sqlite"))
    await prepare(store, releases)
    began = time.perf_counter()
    await mirror.follow(NODE)
    print(f"{releases:>6} releases mirrored at once: {time.perf_counter() - began:.2f} s", flush=True)
    held = size_of(folder)
    own, mirrored = [], []
    for number in range(releases, releases + rounds):
        bars = bars_of(number)
        began = time.perf_counter()
        ref = await store.put_artifact(sealed(bars))
        await release(store, ref, await store.load_snapshot(NODE))
        own.append(time.perf_counter() - began)
        began = time.perf_counter()
        await mirror.follow(NODE)
        mirrored.append(time.perf_counter() - began)
    await store.close()
    return median(own), median(mirrored), (size_of(folder) - held) / rounds


def size_of(folder: Path) -> int:
    """Bytes of the lists and manifests; table files take each other's place."""
    return sum(path.stat().st_size for path in folder.rglob("*.avro"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--logs", type=int, nargs="+", default=[10, 5_000])
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    missed = 0
    for releases in chosen.logs:
        with tempfile.TemporaryDirectory() as folder:
            own, mirrored, grown = asyncio.run(measure(Path(folder), releases, chosen.rounds))
        ratio = mirrored / own
        missed += ratio > GOAL
        print(
            f"{releases:>6} releases: a release {own * 1e3:.1f} ms, its mirror {mirrored * 1e3:.1f} ms, "
            f"{ratio:.2f} x (goal {GOAL}); {grown / 1e3:.1f} kB of lists and manifests for each",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
