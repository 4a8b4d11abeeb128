"""Scans of released bars: verified when they are read, however packed, and held while they are so."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from support.artifacts import NODE, seal_bars, sealed, sealed_before, with_extents

from seamless_assets.adapters.artifacts import proof as artifact_proof
from seamless_assets.adapters.artifacts import scan as scanning
from seamless_assets.adapters.artifacts.storage.folder import FolderFiles
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.bars.parquet import encode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.releases.artifact import ArtifactRef, SealedArtifact
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing, ArtifactStoreError
from seamless_assets.testing import START, random_walk


def flip(path: Path) -> None:
    payload = bytearray(path.read_bytes())
    payload[100] ^= 1
    path.write_bytes(payload)


@pytest.mark.parametrize("which", ["file_path", "manifest_path"])
@pytest.mark.parametrize("keeps_time", [False, True])
async def test_what_was_altered_after_it_was_read_is_refused(
    tmp_path: Path, which: str, keeps_time: bool
) -> None:
    """By the process that read it too; whatever its time says."""
    store = ArtifactStore(str(tmp_path))
    ref = await store.put_artifact(sealed())
    await store.load_scan(NODE, [ref])
    path = store.file_uri(NODE, getattr(ref, which))
    alter(path, keeps_time=keeps_time)
    for reader in (store, ArtifactStore(str(tmp_path))):
        with pytest.raises(ArtifactCorrupt):
            await reader.load_scan(NODE, [ref])
    os.unlink(path)
    for reader in (store, ArtifactStore(str(tmp_path))):
        with pytest.raises(ArtifactMissing):
            await reader.load_scan(NODE, [ref])


def alter(path: str, *, keeps_time: bool) -> None:
    """Flip a bit, and again until the clock of files, which may stand still for milliseconds, has moved."""
    status, times = os.stat(path), 0
    while times % 2 == 0 or os.stat(path).st_ctime_ns == status.st_ctime_ns:
        flip(Path(path))
        times += 1
        if keeps_time:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def adjoining(
    *rows: int, quiet: int, before: Callable[[int], bool] = lambda number: False
) -> list[SealedArtifact]:
    """Artifacts of so many bars, and after the last bar of each `quiet` minutes without trades.

    Those that `before` names are of the first version.
    """
    made, start = [], START
    for many in rows:
        last = start + many * 60
        end = last + quiet * 60
        bars = table_of(((ts, *values) for ts, values in random_walk(start, last).items()), BARS_SCHEMA)
        absent = (Gap(last, end, "no_trades"),) if quiet else ()
        facts = {"range": (start, end), "absent": absent, "conformance_flags": {"gap": 1}}
        artifact = seal_bars(bars, "2025-01-01", end, **facts)
        made.append(sealed_before(artifact) if before(len(made)) else artifact)
        start = end
    return made


@pytest.mark.parametrize("batch", [1, 20, 1000])
@pytest.mark.parametrize("quiet", [0, 5])
@pytest.mark.parametrize("by", ["extents", "parquet"])
@pytest.mark.parametrize("before", [lambda n: False, lambda n: True, lambda n: n % 3 == 1])
async def test_a_scan_holds_the_bars_of_its_artifacts_however_they_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    quiet: int,
    by: str,
    before: Callable[[int], bool],
) -> None:
    monkeypatch.setattr(scanning, "BATCH_ROWS", batch)
    monkeypatch.setattr(artifact_proof, "MANY_BARS", 0)
    monkeypatch.setattr(artifact_proof, {"extents": "decode_bars", "parquet": "fill_values"}[by], refused)
    made = adjoining(7, 9, 0, 3, 3, 25, 1, 8, quiet=quiet, before=before)
    store = ArtifactStore(str(tmp_path))
    refs = [await store.put_artifact(one) for one in made]
    scan = await store.load_scan(NODE, refs)
    assert scan.bars.combine_chunks() == pa.concat_tables([one.bars for one in made]).combine_chunks()
    assert scan.gaps == tuple(joined(made)) and scan.flags == {"gap": len(made)}
    assert await store.load_scan(NODE, refs) is scan
    assert (await store.load_scan(NODE, [])).bars.num_rows == 0


async def test_where_every_few_bars_one_is_missing_the_file_tells_the_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_proof, "opens_of", None)
    store, made = ArtifactStore(str(tmp_path)), adjoining(7, 7, 7, quiet=2)
    scan = await store.load_scan(NODE, [await store.put_artifact(one) for one in made])
    assert scan.bars.combine_chunks() == pa.concat_tables([one.bars for one in made]).combine_chunks()
    monkeypatch.setattr(artifact_proof, "MANY_BARS", 7)
    with pytest.raises(TypeError):
        await ArtifactStore(str(tmp_path)).load_scan(NODE, [await store.put_artifact(one) for one in made])


@pytest.mark.parametrize("order", [[2, 0, 1], [0, 1, 1], [2, 1, 0]])
async def test_artifacts_in_any_order_make_a_scan(tmp_path: Path, order: list[int]) -> None:
    store, made = ArtifactStore(str(tmp_path)), adjoining(7, 8, 9, quiet=0)
    chosen = [made[at] for at in order]
    scan = await store.load_scan(NODE, [await store.put_artifact(one) for one in chosen])
    assert scan.bars.combine_chunks() == pa.concat_tables([one.bars for one in chosen]).combine_chunks()


def refused(*_: object) -> None:
    raise pa.ArrowInvalid("not this way")


def joined(made: list[SealedArtifact]) -> list[Gap]:
    """Their gaps, one where a range without bars goes on."""
    gaps: list[Gap] = []
    for gap in (gap for one in made for gap in one.manifest.absent):
        start = gaps.pop().start if gaps and gaps[-1].end == gap.start else gap.start
        gaps.append(Gap(start, gap.end, gap.reason))
    return gaps


@pytest.mark.parametrize("is_on", [True, False])
async def test_garbage_is_collected_after_a_read_as_before_it(tmp_path: Path, is_on: bool) -> None:
    """Whether the read succeeds or not."""
    store = ArtifactStore(str(tmp_path))
    ref = await store.put_artifact(sealed())
    (gc.enable if is_on else gc.disable)()
    try:
        await store.load_scan(NODE, [ref])
        assert gc.isenabled() == is_on
        flip(Path(store.file_uri(NODE, ref.manifest_path)))
        with pytest.raises(ArtifactCorrupt):
            await ArtifactStore(str(tmp_path)).load_scan(NODE, [ref])
        assert gc.isenabled() == is_on
    finally:
        gc.enable()


def repacked(artifact: SealedArtifact, compression: str) -> SealedArtifact:
    return replace(artifact, payload=encode_bars(artifact.bars, compression))


@pytest.mark.parametrize(
    "artifact",
    [
        with_extents(sealed(), ()),
        with_extents(sealed(), ((0, 4),) * 5),
        with_extents(sealed(), ((10**6, 100),) * 5),
        with_extents(sealed(), tuple((first, size - 1) for first, size in sealed().manifest.packing.extents)),
        with_extents(sealed(), sealed(11).manifest.packing.extents),
        sealed(end=START + 1200),
        repacked(sealed(), "snappy"),
    ],
    ids=["none", "no frames", "beyond", "cut", "of other bars", "unfounded", "snappy"],
)
async def test_where_extents_do_not_tell_the_bars_the_file_does(
    tmp_path: Path, artifact: SealedArtifact
) -> None:
    """Manifests of older writers have none; what is wrong with one is for `verify` to say."""
    store = ArtifactStore(str(tmp_path))
    await store.put_artifact(artifact)
    ref = replace(ArtifactRef.of(artifact.manifest), file_sha256=sha256_text(artifact.payload))
    assert (await store.load_scan(NODE, [ref])).bars == artifact.bars


@pytest.mark.parametrize(
    ("rows", "held"),
    [
        ([1, 2, 3, 4, 5], [True, True, True, True, True]),
        ([10, 20, 30, 40, 50], [False, False, False, True, True]),
        ([10, 20, 60, 30], [False, False, True, True]),
        ([10, 20, 101], [True, True, False]),
    ],
)
async def test_a_process_holds_as_many_bars_as_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int], held: list[bool]
) -> None:
    """The last used stay; what is larger than all the room is held by nobody."""
    monkeypatch.setattr(scanning, "FILE_BYTES", 0)
    store = ArtifactStore(str(tmp_path), max_bytes=100 * 48)
    refs = [await store.put_artifact(sealed(many)) for many in rows]
    scans = [await store.load_scan(NODE, [ref]) for ref in refs]
    # From the newest on: what is loaded anew then drives out nothing that is still asked for.
    pairs = list(zip(refs, scans, strict=True))[::-1]
    assert [await store.load_scan(NODE, [ref]) is scan for ref, scan in pairs] == held[::-1]


class Counted(FolderFiles):
    """Counts loads, and lets others run in the middle of each look and load."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.loads: Counter[str] = Counter()
        self.fails = False

    async def load(self, groups: Any, take: Any, finish: Any) -> Any:
        self.loads[groups[0][0]] += 1
        await asyncio.sleep(0)
        if self.fails:
            raise ArtifactStoreError("the disk is away")
        return await super().load(groups, take, finish)

    async def signatures(self, paths: Any) -> Any:
        await asyncio.sleep(0)
        return await super().signatures(paths)


async def windows(
    tmp_path: Path, many: int, max_bytes: int
) -> tuple[Counted, ArtifactStore, list[ArtifactRef]]:
    """A store of so many artifacts, of 10 bars and one more each."""
    files = Counted(str(tmp_path))
    store = ArtifactStore(str(tmp_path), files=files, max_bytes=max_bytes)
    return files, store, [await store.put_artifact(sealed(10 + number)) for number in range(many)]


@pytest.mark.parametrize("max_bytes", [0, 5_000, 10**9])
async def test_many_readers_of_many_windows_get_their_bars_however_few_are_kept(
    tmp_path: Path, max_bytes: int
) -> None:
    _, store, refs = await windows(tmp_path, 6, max_bytes)

    async def reader(seed: int) -> None:
        rng = Random(seed)
        for _ in range(20):
            ref = rng.choice(refs)
            assert (await store.load_scan(NODE, [ref])).bars.num_rows == ref.rows

    await asyncio.gather(*(reader(seed) for seed in range(12)))


@pytest.mark.parametrize("max_bytes", [0, 10**9])
async def test_those_who_want_one_window_at_once_load_it_once(tmp_path: Path, max_bytes: int) -> None:
    files, store, refs = await windows(tmp_path, 3, max_bytes)
    scans = await asyncio.gather(*(store.load_scan(NODE, [ref]) for ref in refs * 5))
    assert len({id(scan) for scan in scans}) == 3 and set(files.loads.values()) == {1}
    await store.load_scan(NODE, refs[:1])
    assert sum(files.loads.values()) == (3 if max_bytes else 4)


async def test_readers_who_are_cancelled_or_fail_leave_nothing_to_others(tmp_path: Path) -> None:
    files, store, (ref,) = await windows(tmp_path, 1, 10**9)
    readers = [asyncio.ensure_future(store.load_scan(NODE, [ref])) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    first, *others = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError) and [scan.bars.num_rows for scan in others] == [10, 10]
    flip(Path(store.file_uri(NODE, ref.file_path)))
    files.fails = True
    outcomes = await asyncio.gather(*(store.load_scan(NODE, [ref]) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ArtifactStoreError] * 3
    files.fails = False
    with pytest.raises(ArtifactCorrupt):
        await store.load_scan(NODE, [ref])


@pytest.mark.parametrize("many", [1, 70])
async def test_of_many_files_a_look_serves_all_who_come_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """A look that is under way has found nothing yet; one that fails is none."""
    clock = [0.0]
    monkeypatch.setattr(scanning, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    files, store, refs = await windows(tmp_path, many, 10**9)
    await store.load_scan(NODE, refs)
    flip(Path(store.file_uri(NODE, refs[0].file_path)))
    if many > 32:
        assert (await store.load_scan(NODE, refs)).bars.num_rows == sum(ref.rows for ref in refs)
    clock[0] += 1.0
    outcomes = await asyncio.gather(*(store.load_scan(NODE, refs) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ArtifactCorrupt] * 3
    assert sum(files.loads.values()) <= 3


async def test_neither_thread_waits_for_what_the_other_does_with_its_files(tmp_path: Path) -> None:
    """Each takes a group of files all the way; results come in the order of the groups."""
    both = Barrier(2)
    groups = [[f"{number}.txt"] for number in range(4)]
    for (name,) in groups:
        (tmp_path / name).write_bytes(name.encode())

    def take(number: int, payloads: Sequence[bytes], signatures: Sequence[str]) -> bytes:
        assert len(payloads) == len(signatures) == 1
        if number < 2:
            both.wait(10)
        return payloads[0]

    files = FolderFiles(str(tmp_path))
    assert await files.load(groups, take, bytes.decode) == [name for (name,) in groups]
    with pytest.raises(ArtifactMissing, match=r"4\.txt"):
        await files.load([["0.txt"], ["4.txt"], ["1.txt"]], lambda number, *_: number, str)
