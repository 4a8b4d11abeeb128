"""Release logs that many read at once: each record is fetched once, and nobody misses one."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.artifacts import NODE, sealed

from seamless_assets.adapters.artifacts import log_reader
from seamless_assets.adapters.artifacts.storage import folder
from seamless_assets.adapters.artifacts.storage.folder import FolderFiles
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt, ArtifactStoreError
from seamless_assets.testing import InMemoryArtifactStore


class Counted(FolderFiles):
    """Counts how often each record is fetched, and lets others run in the middle of it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.fetched: Counter[str] = Counter()
        self.asked = asyncio.Event()
        self.fails = False

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        self.fetched.update(paths)
        self.asked.set()
        await asyncio.sleep(0)
        if self.fails:
            raise ArtifactStoreError("the disk is away")
        return await super().read_all(paths)


async def release(store: ArtifactStore, rows: int) -> None:
    """One record more at the end of the log."""
    before = await store.load_snapshot(NODE)
    ref = await store.put_artifact(sealed(rows))
    checks = {"coverage": True}
    entry = next_release(
        before,
        added=[ref],
        withdrawn=before.artifacts,
        now_micros=rows * 1_000_000,
        checks=checks,
        reason="",
    )
    await store.append_release(NODE, entry)


async def test_many_readers_of_one_log_fetch_each_record_once(tmp_path: Path) -> None:
    writer = ArtifactStore(str(tmp_path))
    for rows in range(1, 6):
        await release(writer, rows)
    files = Counted(str(tmp_path))
    reader = ArtifactStore(str(tmp_path), files=files)
    logs = await asyncio.gather(*(reader.list_releases(NODE) for _ in range(10)))
    assert [[entry.seq for entry in log] for log in logs] == [[1, 2, 3, 4, 5]] * 10
    assert set(files.fetched.values()) == {1} and len(files.fetched) == 5
    await release(writer, 6)
    logs = await asyncio.gather(*(reader.list_releases(NODE) for _ in range(10)))
    assert [log[-1].seq for log in logs] == [6] * 10 and set(files.fetched.values()) == {1}


async def test_a_reader_that_fails_or_is_cancelled_leaves_the_log_to_the_others(tmp_path: Path) -> None:
    await release(ArtifactStore(str(tmp_path)), 1)
    files = Counted(str(tmp_path))
    reader = ArtifactStore(str(tmp_path), files=files)
    files.fails = True
    outcomes = await asyncio.gather(*(reader.list_releases(NODE) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ArtifactStoreError] * 3
    files.fails = False
    readers = [asyncio.ensure_future(reader.list_releases(NODE)) for _ in range(3)]
    files.asked.clear()
    await files.asked.wait()
    readers[0].cancel()
    first, *others = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError) and [len(log) for log in others] == [1, 1]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.list_releases(NODE), 0)
    assert len(await reader.list_releases(NODE)) == 1


def file_of_record(root: Path, seq: int) -> Path:
    """The file of the one record of that number."""
    (found,) = root.rglob(f"{seq:010}.json")
    return found


class Damaged(FolderFiles):
    """Sends a record damaged as often as `times` says."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.times: Counter[str] = Counter()

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        found = await super().read_all(paths)
        for at, path in enumerate(paths):
            name = path.rpartition("/")[2]
            if self.times[name] > 0:
                self.times[name] -= 1
                found[at] = found[at].replace(b"coverage", b"average!", 1)
        return found


@pytest.mark.parametrize("known", [0, 3])
async def test_a_log_that_is_read_a_few_records_at_a_time_is_as_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(log_reader, "READ_AT_ONCE", 2)
    writer, files = ArtifactStore(str(tmp_path)), Damaged(str(tmp_path))
    reader = ArtifactStore(str(tmp_path), files=files)
    for rows in range(1, known + 1):
        await release(writer, rows)
    await reader.list_releases(NODE)
    for rows in range(known + 1, 10):
        await release(writer, rows)
    expected = await writer.list_releases(NODE)
    files.times["0000000008.json"] = 2
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt, match=r"0000000008\.json .* does not match its own hash"):
            await reader.list_releases(NODE)
        assert reader.snapshot_at_hand(NODE) is None, "a log that goes on is not told of as if it ended"
        files.times["0000000008.json"] = 2
    files.times["0000000008.json"] = 1
    assert await reader.list_releases(NODE) == expected
    assert reader.snapshot_at_hand(NODE) == await writer.load_snapshot(NODE)


async def test_a_record_that_is_missing_in_the_midst_of_what_follows_is_told_however_often_one_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "READ_AT_ONCE", 2)
    writer, reader = ArtifactStore(str(tmp_path)), ArtifactStore(str(tmp_path))
    await release(writer, 1)
    await reader.list_releases(NODE)
    for rows in range(2, 7):
        await release(writer, rows)
    missing = file_of_record(tmp_path, 4)
    missing.rename(tmp_path / "aside")
    for _ in range(3):
        with pytest.raises(ArtifactCorrupt, match="breaks at record 4"):
            await reader.list_releases(NODE)
        with pytest.raises(ArtifactCorrupt, match="breaks at record 4"):
            await reader.load_snapshot(NODE)
        assert reader.snapshot_at_hand(NODE) is None
    (tmp_path / "aside").rename(missing)
    assert await reader.list_releases(NODE) == await writer.list_releases(NODE)


class AwayBehind(FolderFiles):
    """Is away for whoever asks for records behind a number."""

    last = 10**9

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        if any(int(path.rpartition("/")[2].removesuffix(".json")) > self.last for path in paths):
            raise ArtifactStoreError("the disk is away")
        return await super().read_all(paths)


async def test_a_known_log_grows_by_all_that_follows_or_by_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "READ_AT_ONCE", 2)
    writer, files = ArtifactStore(str(tmp_path)), AwayBehind(str(tmp_path))
    reader = ArtifactStore(str(tmp_path), files=files)
    await release(writer, 1)
    await reader.list_releases(NODE)
    for rows in range(2, 7):
        await release(writer, rows)
    files.last = 3
    with pytest.raises(ArtifactStoreError, match="away"):
        await reader.list_releases(NODE)
    files.last = 10**9
    file_of_record(tmp_path, 4).unlink()
    with pytest.raises(ArtifactCorrupt, match="breaks at record 4"):
        await reader.list_releases(NODE)


@pytest.mark.parametrize("device", [8, 0])
async def test_any_thread_is_told_at_once_whether_a_log_on_a_disk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: int
) -> None:
    monkeypatch.setattr(folder.os, "major", lambda _: device)
    is_known = bool(device)
    tmp_path = tmp_path / "artifacts"
    writer, reader = ArtifactStore(str(tmp_path)), ArtifactStore(str(tmp_path))
    assert reader.is_newest(NODE, 0) is True, "where nothing was ever written nothing is released"
    tmp_path.mkdir()
    assert reader.is_newest(NODE, 0) is (True if is_known else None)
    await release(writer, 1)
    assert reader.is_newest(NODE, 1) is None, "nothing was asked of the node yet"
    assert reader.is_newest(NODE, 0) is (False if is_known else None)
    await reader.list_releases(NODE)
    assert reader.is_newest(NODE, 1) is (True if is_known else None)
    await release(writer, 2)
    assert await asyncio.to_thread(reader.is_newest, NODE, 1) is (False if is_known else None)
    assert reader.is_newest(NODE, 2) is (True if is_known else None)
    shutil.rmtree(tmp_path)
    assert reader.is_newest(NODE, 2) is None, "of a log that is gone nothing is the newest"


async def test_artifacts_in_memory_say_the_same_but_while_they_are_away() -> None:
    store = InMemoryArtifactStore()
    await release(store, 1)
    assert (store.is_newest(NODE, 1), store.is_newest(NODE, 0)) == (True, False)
    store.files.is_away = True
    assert store.is_newest(NODE, 1) is None
