"""Local copies beside a folder or a bucket: they spare it, and hide nothing that was done to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.artifacts import NODE, sealed
from support.object_stores import Place, Trouble

from seamless_assets.adapters.artifacts import log_reader
from seamless_assets.adapters.artifacts.log_reader import WORTH_COPYING
from seamless_assets.adapters.artifacts.storage import bucket as bucket_files
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import Release, record_path
from seamless_assets.core.releases.scan import Scan
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing
from seamless_assets.testing import START


async def published(store: ArtifactStore) -> list[ArtifactRef]:
    refs = [await store.put_artifact(sealed(rows)) for rows in (3, 5, 4)]
    await store.close()
    return refs


async def loaded(store: ArtifactStore, refs: list[ArtifactRef]) -> Scan:
    scan = await store.load_scan(NODE, refs)
    await store.close()
    return scan


@pytest.mark.parametrize("at_once", [64, 2])
@pytest.mark.parametrize("which", ["file_path", "manifest_path"])
@pytest.mark.parametrize("by", ["publisher", "reader"])
async def test_what_was_altered_or_removed_behind_a_copy_is_refused(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, which: str, by: str
) -> None:
    """Whether each file is asked for or all are listed, and whoever made the copy."""
    monkeypatch.setattr(bucket_files, "AT_ONCE", at_once)
    copies = tmp_path / "copies"
    refs = await published(place.open(copies=copies if by == "publisher" else None))
    expected = await loaded(place.open(copies=copies), refs)
    uri = place.open().file_uri(NODE, getattr(refs[1], which))
    whole = place.read(uri)
    place.write(uri, whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    with pytest.raises(ArtifactCorrupt):
        await loaded(place.open(copies=copies), refs)
    place.remove(uri)
    with pytest.raises(ArtifactMissing):
        await loaded(place.open(copies=copies), refs)
    place.write(uri, whole)
    assert await loaded(place.open(copies=copies), refs) == expected


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class Requests(list[tuple[str, str]]):
    """Methods and paths of what a bucket is asked, and those of whole objects."""

    def __call__(self, number: int, method: str, path: str) -> Trouble:
        self.append((method, path))
        return ""

    @property
    def objects(self) -> list[str]:
        return [path for method, path in self if method == "GET" and "list-type" not in path]


Watched = Callable[[Any], Place]


@pytest.mark.parametrize("at_once", [64, 2])
async def test_a_bucket_sends_nothing_that_is_here(
    flaky: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(bucket_files, "AT_ONCE", at_once)
    asked = Requests()
    place = flaky(asked)
    refs = await published(place.open(copies=tmp_path / "publisher"))
    for copies, objects_sent in (("publisher", 0), ("reader", 6), ("reader", 0)):
        asked.clear()
        await loaded(place.open(copies=tmp_path / copies), refs)
        assert len(asked.objects) == objects_sent
        looks = 6 if at_once == 64 else 1
        assert len(asked) - len(asked.objects) == (0 if objects_sent else looks)


@pytest.mark.parametrize("at_once", [64, 2])
async def test_a_bucket_sends_what_is_not_here_or_not_as_it_was_written(
    flaky: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(bucket_files, "AT_ONCE", at_once)
    asked, folder = Requests(), tmp_path / "copies"
    place = flaky(asked)
    refs = await published(place.open(copies=folder))
    expected = await loaded(place.open(), refs)
    names = [path.name for path in files(folder)]
    assert len(names) == 6
    for wrong in range(0, 2**6, 5):
        spoiled = [folder / name for number, name in enumerate(names) if wrong >> number & 1]
        for number, copy in enumerate(spoiled):
            spoil(copy, number % 3)
        asked.clear()
        assert await loaded(place.open(copies=folder), refs) == expected
        assert len(asked.objects) == len(spoiled)
        assert [path.name for path in files(folder)] == names


def spoil(copy: Path, how: int) -> None:
    """Flip a bit of it, cut it, or remove it."""
    whole = copy.read_bytes()
    if how == 0:
        copy.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif how == 1:
        copy.write_bytes(whole[: len(whole) // 2])
    else:
        copy.unlink()


async def test_what_a_process_holds_is_not_touched_by_what_is_done_to_copies(
    flaky: Watched, tmp_path: Path
) -> None:
    place = flaky(Requests())
    refs = await published(place.open(copies=tmp_path))
    store = place.open(copies=tmp_path)
    held = await loaded(store, refs)
    expected = held.bars.to_pydict()
    for copy in files(tmp_path):
        copy.write_bytes(bytes(copy.stat().st_size))
    assert await loaded(store, refs) is held and held.bars.to_pydict() == expected


async def test_what_is_published_drives_out_no_copy_that_was_read(flaky: Watched, tmp_path: Path) -> None:
    place = flaky(Requests())
    (ref, *_) = await published(place.open())
    await loaded(place.open(copies=tmp_path), [ref])
    read = set(files(tmp_path))
    for copy in read:
        os.utime(copy, (START, START))
    limit = 4 * sum(copy.stat().st_size for copy in read)
    publisher = place.open(copies=tmp_path, max_bytes=limit)
    refs = [await publisher.put_artifact(sealed(rows)) for rows in range(11, 20)]
    await publisher.close()
    kept = set(files(tmp_path))
    assert read < kept and sum(copy.stat().st_size for copy in kept) <= limit
    await loaded(place.open(copies=tmp_path, max_bytes=limit), refs)
    assert not read & set(files(tmp_path))


async def test_a_disk_that_takes_no_copy_is_no_error_of_a_read(flaky: Watched, tmp_path: Path) -> None:
    place, folder = flaky(Requests()), tmp_path / "copies"
    folder.write_bytes(b"a file, no folder")
    refs = await published(place.open(copies=folder))
    expected = await loaded(place.open(), refs)
    store = place.open(copies=folder)
    assert await asyncio.gather(store.load_scan(NODE, refs), store.load_scan(NODE, refs)) == [expected] * 2
    await store.close()


async def test_a_folder_is_not_copied(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "artifacts"), None)
    refs = await published(place.open(copies=tmp_path / "copies"))
    await loaded(place.open(copies=tmp_path / "copies"), refs)
    assert not (tmp_path / "copies").exists()


async def append(store: ArtifactStore, log: ReleaseLog, many: int) -> None:
    for _ in range(many):
        entry = next_release(log.snapshot(), added=[], withdrawn=[], now_micros=1, checks={}, reason="test")
        log.extend([entry], "test")
        await store.append_release(NODE, entry)


async def opened_log(store: ArtifactStore) -> list[Release]:
    releases = await store.list_releases(NODE)
    await store.close()
    return releases


async def test_a_bucket_sends_each_record_once(flaky: Watched, tmp_path: Path) -> None:
    asked, log, copies = Requests(), ReleaseLog(str(NODE)), tmp_path / "copies"
    place = flaky(asked)
    await append(place.open(), log, WORTH_COPYING)
    for new, sent in ((0, WORTH_COPYING), (0, 0), (2, 2), (0, 2), (WORTH_COPYING, WORTH_COPYING + 2), (0, 0)):
        await append(place.open(), log, new)
        asked.clear()
        assert await opened_log(place.open(copies=copies)) == log.releases
        assert len(asked.objects) == sent


@pytest.mark.parametrize("at_once", [log_reader.READ_AT_ONCE, 3])
async def test_what_was_done_to_a_log_or_to_its_copy_is_found(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(log_reader, "READ_AT_ONCE", at_once)
    log, copies = ReleaseLog(str(NODE)), tmp_path / "copies"
    await append(place.open(), log, WORTH_COPYING)
    assert await opened_log(place.open(copies=copies)) == log.releases
    for copy in copies.glob("*.log"):
        whole = copy.read_bytes()
        for altered in (b"", whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], whole[:32]):
            copy.write_bytes(altered)
            assert await opened_log(place.open(copies=copies)) == log.releases
            assert copy.read_bytes() == whole
    uri = place.open().file_uri(NODE, record_path(5))
    whole = place.read(uri)
    place.write(uri, whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    with pytest.raises(ArtifactCorrupt):
        await opened_log(place.open(copies=copies))
    place.remove(uri)
    with pytest.raises(ArtifactCorrupt, match="breaks at record 5"):
        await opened_log(place.open(copies=copies))
    place.write(uri, whole)
    assert await opened_log(place.open(copies=copies)) == log.releases
