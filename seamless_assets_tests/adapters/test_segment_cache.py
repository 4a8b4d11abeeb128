"""Local copies of released segments: verified, bounded, shared, and never in the way of a read."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from artifacts import NODE, sealed
from twins import START

from seamless_assets.adapters.artifact_store import ArtifactStore
from seamless_assets.adapters.segment_cache import SUFFIX, SegmentCache, SegmentCopy
from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.bars import empty_bars
from seamless_assets.core.coverage import Gap
from seamless_assets.errors import ArtifactCorrupt

MANY = 1_000_000


@pytest.fixture
async def ref(tmp_path: Path) -> ArtifactRef:
    """An artifact with a hole in it."""
    gap = (Gap(START + 600, START + 1200, "no_trades"),)
    made = sealed(end=START + 1200, absent=gap, conformance_flags={"gap": 10})
    return await ArtifactStore(str(tmp_path / "store")).put_artifact(made)


def opened(folder: Path, max_bytes: int = MANY) -> ArtifactStore:
    return ArtifactStore(str(folder / "store"), cache=SegmentCache(folder / "copies", max_bytes))


def spoil(path: Path, at: int = 100) -> None:
    payload = bytearray(path.read_bytes())
    payload[at] ^= 1
    path.write_bytes(payload)


def with_volume(bars: pa.Table, value: float) -> pa.Table:
    return bars.set_column(5, "volume", pa.array([value] * bars.num_rows))


def copies(folder: Path) -> list[Path]:
    return sorted((folder / "copies").glob(f"*{SUFFIX}"))


async def test_a_copy_says_what_the_artifact_says_and_spares_the_store(
    tmp_path: Path, ref: ArtifactRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await opened(tmp_path).load_run(NODE, [ref])
    store = opened(tmp_path)
    monkeypatch.setattr(store._files, "load", None)
    again = await store.load_run(NODE, [ref])
    assert again == first and again.bars.num_rows == 10
    assert again.gaps == (Gap(START + 600, START + 1200, "no_trades"),) and again.flags == {"gap": 10}
    assert await store.load_run(NODE, [ref]) is again


@pytest.mark.parametrize("which", ["file_path", "manifest_path"])
async def test_what_was_altered_after_it_was_copied_is_refused(
    tmp_path: Path, ref: ArtifactRef, which: str
) -> None:
    """By the process that made the copy, and by one that finds it."""
    store = opened(tmp_path)
    await store.load_run(NODE, [ref])
    spoil(Path(store.file_uri(NODE, getattr(ref, which))))
    for reader in (store, opened(tmp_path)):
        with pytest.raises(ArtifactCorrupt):
            await reader.load_run(NODE, [ref])


async def test_a_spoiled_copy_is_made_anew(tmp_path: Path, ref: ArtifactRef) -> None:
    first = await opened(tmp_path).load_run(NODE, [ref])
    (copy,) = copies(tmp_path)
    whole = copy.read_bytes()
    for altered in (b"", whole[:-1], whole[: len(whole) // 2], whole[:20]):
        copy.write_bytes(altered)
        assert await opened(tmp_path).load_run(NODE, [ref]) == first
        assert copy.read_bytes() == whole
    for at in range(0, len(whole), 61):
        spoil(copy, at)
        assert await opened(tmp_path).load_run(NODE, [ref]) == first


async def test_what_a_process_holds_is_not_touched_by_what_is_done_to_its_copy(
    tmp_path: Path, ref: ArtifactRef
) -> None:
    expected = (await opened(tmp_path).load_run(NODE, [ref])).bars.to_pydict()
    store = opened(tmp_path)
    held = await store.load_run(NODE, [ref])
    (copy,) = copies(tmp_path)
    with copy.open("r+b") as file:
        file.write(bytes(copy.stat().st_size))
    assert held.bars.to_pydict() == expected
    os.truncate(copy, 0)
    assert (await store.load_run(NODE, [ref])).bars.to_pydict() == expected
    assert held.bars.to_pydict() == expected


@pytest.mark.parametrize("forged", ["bars", "zero", "manifests", "count"])
async def test_a_copy_that_is_whole_but_not_what_the_log_promises_is_made_anew(
    tmp_path: Path, ref: ArtifactRef, forged: str
) -> None:
    first = await opened(tmp_path).load_run(NODE, [ref])
    cache = SegmentCache(tmp_path / "copies", MANY)
    true = cache.load([ref])
    assert true is not None
    changed = {
        "bars": {"bars": true.bars.slice(1)},
        "zero": {"bars": with_volume(true.bars, -0.0)},
        "manifests": {"manifests": [true.manifests[0].replace(b"no_trades", b"outage...")]},
        "count": {"manifests": true.manifests * 2},
    }
    cache.keep([ref], replace(true, **changed[forged]))  # type: ignore[arg-type]
    assert await opened(tmp_path).load_run(NODE, [ref]) == first
    assert cache.load([ref]) == true


async def test_the_oldest_copies_go_first_and_what_was_never_finished_too(
    tmp_path: Path, ref: ArtifactRef
) -> None:
    cache = SegmentCache(tmp_path / "copies", MANY)
    empty = SegmentCopy(empty_bars(), [], None)
    refs = [[ArtifactRef("2025-01-01", n, n + 1, 0, "f", f"file {n}", "m")] for n in range(5)]
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
    small.keep([ref], empty)
    assert len(copies(tmp_path)) == 3 and not unfinished.exists()
    assert [cache.load(one) is not None for one in refs] == [True, False, False, False, True]


async def test_many_writers_of_one_copy_and_a_disk_that_takes_none(tmp_path: Path, ref: ArtifactRef) -> None:
    cache = SegmentCache(tmp_path / "copies", MANY)
    run = await ArtifactStore(str(tmp_path / "store")).load_run(NODE, [ref])
    copy = SegmentCopy(run.bars, [b"a manifest\n"], [1, 2])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.keep([ref], copy), range(64)))
    assert len(list((tmp_path / "copies").iterdir())) == 1
    assert cache.load([ref]) == copy
    (tmp_path / "blocked").write_bytes(b"a file, no folder")
    store = ArtifactStore(str(tmp_path / "store"), cache=SegmentCache(tmp_path / "blocked", MANY))
    both = await asyncio.gather(store.load_run(NODE, [ref]), store.load_run(NODE, [ref]))
    assert both == [run, run]
