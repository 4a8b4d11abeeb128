"""Local copies of released segments: verified, bounded, shared, and never in the way of a read."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifacts import NODE, sealed
from twins import START

from seamless_assets.adapters import run_reader
from seamless_assets.adapters.artifact_store import ArtifactStore
from seamless_assets.adapters.copy_folder import CopyFolder
from seamless_assets.adapters.segment_copy import SUFFIX, SegmentCopy, copy_name
from seamless_assets.core.artifact import ArtifactRef
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
    return ArtifactStore(str(folder / "store"), copies=CopyFolder(folder / "copies", max_bytes))


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
    folder = CopyFolder(tmp_path / "copies", MANY)
    true = folder.load(copy_name(ref))
    copy = SegmentCopy.from_bytes(true, ref.rows)
    assert copy is not None
    minus_zero = copy.cells.copy()
    minus_zero[5] = np.float64(-0.0).view(np.int64)
    changed = {
        "cells": replace(copy, cells=np.roll(copy.cells, 1, axis=1)),
        "zero": replace(copy, cells=minus_zero),
        "manifest": replace(copy, manifest=copy.manifest.replace(b"no_trades", b"outage...")),
        "signatures": replace(copy, signatures=["1", "2"]),
    }
    folder.keep(copy_name(ref), changed[forged].to_bytes())
    assert await loaded(opened(tmp_path), ref) == first
    assert folder.load(copy_name(ref)) == true


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
                    os.unlink(tmp_path / "copies" / copy_name(ref))
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


async def test_a_disk_that_takes_no_copy_is_no_error_of_a_read(tmp_path: Path, ref: ArtifactRef) -> None:
    run = await ArtifactStore(str(tmp_path / "store")).load_run(NODE, [ref])
    (tmp_path / "copies").write_bytes(b"a file, no folder")
    store = opened(tmp_path)
    both = await asyncio.gather(store.load_run(NODE, [ref]), store.load_run(NODE, [ref]))
    await store.close()
    assert both == [run, run]
