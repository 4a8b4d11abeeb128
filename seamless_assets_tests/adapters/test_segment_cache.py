"""Local copies of released segments: verified, bounded, shared, and never in the way of a read."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifacts import NODE, sealed
from twins import START

from seamless_assets.adapters import run_reader
from seamless_assets.adapters.artifact_store import ArtifactStore
from seamless_assets.adapters.segment_cache import SUFFIX, SegmentCache, SegmentCopy
from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.cells import empty_cells
from seamless_assets.core.coverage import Gap
from seamless_assets.core.run import Run
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing

MANY = 1_000_000
HOLE = (Gap(START + 600, START + 1200, "no_trades"),)


@pytest.fixture
async def ref(tmp_path: Path) -> ArtifactRef:
    """An artifact with a hole in it, put by a machine that keeps no copies here."""
    made = sealed(end=START + 1200, absent=HOLE, conformance_flags={"gap": 10})
    return await ArtifactStore(str(tmp_path / "store")).put_artifact(made)


def opened(folder: Path, max_bytes: int = MANY) -> ArtifactStore:
    return ArtifactStore(str(folder / "store"), cache=SegmentCache(folder / "copies", max_bytes))


async def loaded(store: ArtifactStore, *refs: ArtifactRef) -> Run:
    """The run, once its copies are written."""
    run = await store.load_run(NODE, refs)
    await store.close()
    return run


def without_store(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A store whose files can be looked at and not be read."""
    monkeypatch.setattr(store._files, "load", None)
    return store


def spoil(path: Path, at: int = 100) -> None:
    payload = bytearray(path.read_bytes())
    payload[at] ^= 1
    path.write_bytes(payload)


def copies(folder: Path) -> list[Path]:
    return sorted((folder / "copies").glob(f"*{SUFFIX}"))


async def test_a_copy_says_what_the_artifact_says_and_spares_the_store(
    tmp_path: Path, ref: ArtifactRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await loaded(opened(tmp_path), ref)
    store = without_store(opened(tmp_path), monkeypatch)
    again = await loaded(store, ref)
    assert again == first and again.bars.num_rows == 10
    assert again.gaps == HOLE and again.flags == {"gap": 10}
    assert await loaded(store, ref) is again


async def test_what_was_published_here_needs_no_store_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = opened(tmp_path)
    ref = await publisher.put_artifact(sealed(end=START + 1200, absent=HOLE))
    await publisher.close()
    run = await loaded(without_store(opened(tmp_path), monkeypatch), ref)
    assert run == await loaded(ArtifactStore(str(tmp_path / "store")), ref)


@pytest.mark.parametrize("which", ["file_path", "manifest_path"])
@pytest.mark.parametrize("by", ["publisher", "reader"])
@pytest.mark.parametrize("keeps_time", [False, True])
async def test_what_was_altered_after_it_was_copied_is_refused(
    tmp_path: Path, which: str, by: str, keeps_time: bool
) -> None:
    """By the process that made the copy, and by one that finds it; whatever its time says."""
    store = opened(tmp_path)
    origin = store if by == "publisher" else ArtifactStore(str(tmp_path / "store"))
    ref = await origin.put_artifact(sealed())
    await loaded(store, ref)
    path = store.file_uri(NODE, getattr(ref, which))
    alter(path, keeps_time=keeps_time)
    for reader in (store, opened(tmp_path)):
        with pytest.raises(ArtifactCorrupt):
            await reader.load_run(NODE, [ref])
    os.unlink(path)
    with pytest.raises(ArtifactMissing):
        await opened(tmp_path).load_run(NODE, [ref])


def alter(path: str, *, keeps_time: bool) -> None:
    """Flip a bit, and again until the clock of files, which may stand still for milliseconds, has moved."""
    told, times = os.stat(path), 0
    while times % 2 == 0 or os.stat(path).st_ctime_ns == told.st_ctime_ns:
        spoil(Path(path))
        times += 1
        if keeps_time:
            os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


async def test_a_spoiled_copy_is_made_anew(tmp_path: Path, ref: ArtifactRef) -> None:
    first = await loaded(opened(tmp_path), ref)
    (copy,) = copies(tmp_path)
    whole = copy.read_bytes()
    for altered in (b"", whole[:-1], whole[: len(whole) // 2], whole[:20]):
        copy.write_bytes(altered)
        assert await loaded(opened(tmp_path), ref) == first
        assert copy.read_bytes() == whole
    for at in range(0, len(whole), 61):
        spoil(copy, at)
        assert await loaded(opened(tmp_path), ref) == first


async def test_what_a_process_holds_is_not_touched_by_what_is_done_to_its_copy(
    tmp_path: Path, ref: ArtifactRef
) -> None:
    expected = (await loaded(opened(tmp_path), ref)).bars.to_pydict()
    store = opened(tmp_path)
    held = await loaded(store, ref)
    (copy,) = copies(tmp_path)
    with copy.open("r+b") as file:
        file.write(bytes(copy.stat().st_size))
    assert held.bars.to_pydict() == expected
    os.truncate(copy, 0)
    assert (await loaded(store, ref)).bars.to_pydict() == expected
    assert held.bars.to_pydict() == expected


@pytest.mark.parametrize("forged", ["cells", "zero", "manifest", "signatures"])
async def test_a_copy_that_is_whole_but_not_what_the_log_promises_is_made_anew(
    tmp_path: Path, ref: ArtifactRef, forged: str
) -> None:
    first = await loaded(opened(tmp_path), ref)
    cache = SegmentCache(tmp_path / "copies", MANY)
    true = told(cache, ref)
    minus_zero = true[0].copy()
    minus_zero[5] = np.float64(-0.0).view(np.int64)
    copy = SegmentCopy(*true)
    changed = {
        "cells": replace(copy, cells=np.roll(true[0], 1, axis=1)),
        "zero": replace(copy, cells=minus_zero),
        "manifest": replace(copy, manifest=true[1].replace(b"no_trades", b"outage...")),
        "signatures": replace(copy, signatures=[1, 2]),
    }
    cache.keep(ref, changed[forged])
    assert await loaded(opened(tmp_path), ref) == first
    assert all(map(np.array_equal, told(cache, ref), true))


def told(cache: SegmentCache, ref: ArtifactRef) -> tuple[np.ndarray, bytes, list[int] | None]:
    copy = cache.load(ref)
    assert copy is not None
    return copy.cells, copy.manifest, copy.signatures


async def test_copies_and_stored_files_make_one_run_wherever_a_copy_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reader, "BATCH_ROWS", 20)
    store = ArtifactStore(str(tmp_path / "store"))
    refs = [await store.put_artifact(sealed(rows)) for rows in (7, 9, 0, 3, 25, 1, 8)]
    expected = await store.load_run(NODE, refs)
    for lacking in range(2 ** len(refs)):
        for number, ref in enumerate(refs):
            with suppress(FileNotFoundError):
                if lacking >> number & 1:
                    os.unlink(SegmentCache(tmp_path / "copies", MANY)._path(ref))
        assert await loaded(opened(tmp_path), *refs) == expected
        assert len(copies(tmp_path)) == len(refs)


@pytest.mark.parametrize(
    ("rows", "held"),
    [
        ([1, 2, 3, 4, 5], [False, True, True, True, True]),
        ([1, 2, 9, 20], [False, False, True, True]),
        ([1, 2, 40], [False, False, True]),
    ],
)
async def test_a_process_holds_few_runs_and_not_too_many_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int], held: list[bool]
) -> None:
    monkeypatch.setattr(run_reader, "KEPT_ROWS", 30)
    monkeypatch.setattr(run_reader, "KEPT_RUNS", 4)
    store = ArtifactStore(str(tmp_path / "store"))
    refs = [await store.put_artifact(sealed(many)) for many in rows]
    runs = [await store.load_run(NODE, [ref]) for ref in refs]
    # From the newest on: what is loaded anew then drives out nothing that is still asked for.
    pairs = list(zip(refs, runs, strict=True))[::-1]
    assert [await store.load_run(NODE, [ref]) is run for ref, run in pairs] == held[::-1]


async def test_the_oldest_copies_go_first_and_what_was_never_finished_too(
    tmp_path: Path, ref: ArtifactRef
) -> None:
    cache = SegmentCache(tmp_path / "copies", MANY)
    empty = SegmentCopy(empty_cells(0), b"", None)
    refs = [ArtifactRef("2025-01-01", n, n + 1, 0, "f", f"file {n}", "m") for n in range(5)]
    for n, one in enumerate(refs):
        cache.keep(one, empty)
        newest = max(copies(tmp_path), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (START + n, START + n))
    assert cache.load(refs[0]) is not None
    size = copies(tmp_path)[0].stat().st_size
    unfinished = tmp_path / "copies" / "x.tmp"
    unfinished.write_bytes(b"half")
    os.utime(unfinished, (START, START))
    small = SegmentCache(tmp_path / "copies", 3 * size)
    small.keep(ref, empty)
    assert len(copies(tmp_path)) == 3 and not unfinished.exists()
    assert [cache.load(one) is not None for one in refs] == [True, False, False, False, True]


async def test_the_folder_stays_below_its_limit_and_is_seldom_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, looks, scan = 40_000, 0, os.scandir

    def counted(folder: str) -> object:
        nonlocal looks
        looks += 1
        return scan(folder)

    monkeypatch.setattr(os, "scandir", counted)
    cache = SegmentCache(tmp_path / "copies", limit)
    copy = SegmentCopy(empty_cells(2), b"", None)
    for n in range(2_000):
        cache.keep(ArtifactRef("2025-01-01", n, n + 1, 2, "f", f"file {n}", "m"), copy)
        assert n % 50 or sum(path.stat().st_size for path in copies(tmp_path)) <= limit
    assert looks < 200 and len(copies(tmp_path)) > 300


async def test_what_is_published_drives_out_no_copy(tmp_path: Path, ref: ArtifactRef) -> None:
    await loaded(opened(tmp_path), ref)
    (read,) = copies(tmp_path)
    limit = 3 * read.stat().st_size
    os.utime(read, (START, START))
    publisher = opened(tmp_path, limit)
    published = [await publisher.put_artifact(sealed(rows)) for rows in range(11, 20)]
    await publisher.close()
    kept = copies(tmp_path)
    assert read in kept and len(kept) > 1 and sum(path.stat().st_size for path in kept) <= limit
    await loaded(opened(tmp_path, limit), *published)
    assert read not in copies(tmp_path)


async def test_many_writers_of_one_copy_and_a_disk_that_takes_none(tmp_path: Path, ref: ArtifactRef) -> None:
    cache = SegmentCache(tmp_path / "copies", MANY)
    run = await ArtifactStore(str(tmp_path / "store")).load_run(NODE, [ref])
    copy = SegmentCopy(empty_cells(10), b"a manifest\n", [1, 2])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.keep(ref, copy), range(64)))
    assert len(list((tmp_path / "copies").iterdir())) == 1
    assert all(map(np.array_equal, told(cache, ref), (copy.cells, copy.manifest, copy.signatures)))
    (tmp_path / "blocked").write_bytes(b"a file, no folder")
    store = ArtifactStore(str(tmp_path / "store"), cache=SegmentCache(tmp_path / "blocked", MANY))
    both = await asyncio.gather(store.load_run(NODE, [ref]), store.load_run(NODE, [ref]))
    assert both == [run, run]
