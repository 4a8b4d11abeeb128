"""What a checkpoint says of a log's end is what the log says, and it counts while the log is as it was."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from msgspec.json import decode

from seamless_assets.adapters.artifacts import log_checkpoint
from seamless_assets.adapters.artifacts.log_reader import WORTH_A_CHECKPOINT
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.storage.folder import FolderFiles
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import Release, ReleaseKind, record_path
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.errors import ArtifactCorrupt, SeamlessError
from seamless_assets.service.routes.openapi import json_answer
from seamless_assets.testing import DAY, START

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
OTHER = NodeId.parse("ohlcv:binance:ETH/USDT:1m")
DAYS_AT_ONCE = 10
"""Of all records but the last few."""


class Counted(FolderFiles):
    """Counts the records that are read."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.read_records = 0

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        self.read_records += len(paths)
        return await super().read_all(paths)


def day(start: int, end: int, number: int = 0) -> ArtifactRef:
    name = sha256_text(f"{start} {end} {number}".encode())
    return ArtifactRef(f"{start}", START + start * DAY, START + end * DAY, 1, name, name, name)


def extended(
    log: ReleaseLog,
    kind: ReleaseKind,
    added: Sequence[ArtifactRef] = (),
    withdrawn: Sequence[ArtifactRef] = (),
    discarded: Sequence[str] = (),
) -> Release:
    entry = next_release(
        log.snapshot(),
        added=added,
        withdrawn=withdrawn,
        now_micros=len(log.releases) * 10_000,
        checks={},
        reason=kind,
        kind=kind,
        discarded=discarded,
    )
    log.extend([entry], "test")
    return entry


@pytest.fixture(scope="module")
def log() -> ReleaseLog:
    """Days that were released, merged, corrected, withdrawn and pinned, and names that were given up."""
    made = ReleaseLog(str(NODE))
    for first in range(0, WORTH_A_CHECKPOINT + 1, DAYS_AT_ONCE):
        extended(made, "automatic", [day(at, at + 1) for at in range(first, first + DAYS_AT_ONCE)])
    merged = made.snapshot().artifacts[:31]
    extended(made, "compaction", [day(0, 31)], merged)
    extended(made, "automatic", [day(40, 41, 1)], [day(40, 41)])
    extended(made, "withdrawal", [], [day(50, 51)])
    extended(made, "rollback", [day(40, 41)], [day(40, 41, 1)])
    extended(made, "clean_up", discarded=["40/x.parquet", "50/y.parquet"])
    return made


@pytest.fixture
def folder(log: ReleaseLog, tmp_path: Path) -> Path:
    """Where the records lie."""
    below = Path(opened(tmp_path).file_uri(NODE, ""))
    (below / record_path(1)).parent.mkdir(parents=True)
    for entry in log.releases:
        (below / record_path(entry.seq)).write_bytes(entry.to_json())
    return below


def opened(tmp_path: Path, *, keeps: bool = False, files: FolderFiles | None = None) -> ArtifactStore:
    copies = CopyFolder(tmp_path / "segments", 10**8) if keeps else None
    return ArtifactStore(str(tmp_path / "store"), copies=copies, files=files)


async def proven_before(tmp_path: Path) -> None:
    store = opened(tmp_path, keeps=True)
    await store.load_snapshot(NODE)
    await store.close()


async def outcome(store: ArtifactStore) -> Snapshot | type[SeamlessError]:
    try:
        return await store.load_snapshot(NODE)
    except SeamlessError as error:
        return type(error)
    finally:
        await store.close()


async def test_the_end_of_a_log_is_read_of_its_checkpoint(
    log: ReleaseLog, folder: Path, tmp_path: Path
) -> None:
    await proven_before(tmp_path)
    files = Counted(str(tmp_path / "store"))
    store, expected = opened(tmp_path, keeps=True, files=files), log.snapshot()
    end = await store.load_snapshot(NODE)
    assert end == expected and end.artifacts == expected.artifacts and files.read_records == 0
    assert end.pinned and end.discarded and end.parts and len(end.since) > len(end.artifacts)
    for at in (0, 1, len(expected.artifacts) - 1, -1):
        assert end.artifacts[at] == expected.artifacts[at]
    assert end.artifacts[7] is end.artifacts[7]
    with pytest.raises(IndexError):
        end.artifacts[len(expected.artifacts)]
    window = expected.artifacts[7].segment
    assert end.overlapping(window) == expected.overlapping(window) == (expected.artifacts[7],)
    assert end.leaves() == expected.leaves()
    newest = log.releases[-1].as_of
    for as_of, content in ((newest, None), ("2099-01-01T00:00:00.000000Z", end.dataset_fingerprint)):
        assert await store.load_snapshot(NODE, as_of, content) == expected
    assert files.read_records == 0


async def test_a_new_process_reads_a_checkpoint_without_pandas(folder: Path, tmp_path: Path) -> None:
    """That alone would take it longer than everything else of its first read."""
    await proven_before(tmp_path)
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from seamless_assets.adapters.artifacts.storage.copies import CopyFolder\n"
        "from seamless_assets.adapters.artifacts.store import ArtifactStore\n"
        "from seamless_assets.core.node import NodeId\n"
        "folder = Path(sys.argv[1])\n"
        "store = ArtifactStore(str(folder / 'store'), copies=CopyFolder(folder / 'segments', 10**8))\n"
        "snapshot = asyncio.run(store.load_snapshot(NodeId.parse(sys.argv[2])))\n"
        "print(snapshot.release.seq, 'pandas' in sys.modules)"
    )
    words = [sys.executable, "-c", script, str(tmp_path), str(NODE)]
    result = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=True)
    seq = len(list((folder / record_path(1)).parent.iterdir()))
    assert result.stdout.split() == [str(seq), "False"]


async def test_what_is_read_of_a_checkpoint_can_be_sent_and_pickled(
    log: ReleaseLog, folder: Path, tmp_path: Path
) -> None:
    await proven_before(tmp_path)
    files = Counted(str(tmp_path / "store"))
    end = (await opened(tmp_path, keeps=True, files=files).load_snapshot(NODE)).whole()
    assert files.read_records == 0
    sent = decode(json_answer(end).body, type=Snapshot).whole()
    assert sent == pickle.loads(pickle.dumps(end)) == end == log.snapshot().whole()


async def test_what_was_before_the_end_is_read_of_the_log(
    log: ReleaseLog, folder: Path, tmp_path: Path
) -> None:
    await proven_before(tmp_path)
    for at, entry in enumerate(log.releases):
        store = opened(tmp_path, keeps=True)
        assert await store.load_snapshot(NODE, entry.as_of) == log.snapshot(entry.as_of)
        assert await store.load_snapshot(NODE) == log.snapshot()
        if at % 5 == 0:
            content = entry.dataset_fingerprint
            again = opened(tmp_path, keeps=True)
            assert await again.load_snapshot(NODE, None, content) == log.snapshot(None, content)
            assert await again.list_releases(NODE) == log.releases


async def test_a_record_that_follows_is_seen_at_once_and_by_whoever_opens(
    log: ReleaseLog, folder: Path, tmp_path: Path
) -> None:
    await proven_before(tmp_path)
    reader = opened(tmp_path, keeps=True)
    assert (await reader.load_snapshot(NODE)).release == log.releases[-1]
    later = next_release(
        log.snapshot(), added=[day(300, 301)], withdrawn=[], now_micros=10**9, checks={}, reason="later"
    )
    await opened(tmp_path, keeps=True).append_release(NODE, later)
    for store in (reader, opened(tmp_path, keeps=True), reader):
        newest = await store.load_snapshot(NODE)
        assert newest.release == later and newest.artifacts[-1] == day(300, 301)
    await proven_before(tmp_path)
    files = Counted(str(tmp_path / "store"))
    assert (await opened(tmp_path, keeps=True, files=files).load_snapshot(NODE)).release == later
    assert files.read_records == 0


async def test_a_short_log_is_proven_each_time(tmp_path: Path) -> None:
    store, short = opened(tmp_path, keeps=True), ReleaseLog(str(NODE))
    await store.append_release(NODE, extended(short, "automatic", [day(0, 1)]))
    await proven_before(tmp_path)
    await store.close()
    assert not (tmp_path / "segments").exists()


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(old, new))


def copied(path: Path) -> None:
    twin = path.with_name("twin")
    shutil.copy2(path, twin)
    os.replace(twin, path)


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "the first altered": lambda first, last: rewritten(first, b"automatic", b"AUTOMATIC"),
    "the last altered": lambda first, last: rewritten(last, b"clean_up", b"clean_UP"),
    "the first emptied": lambda first, last: first.write_bytes(b""),
    "the first gone": lambda first, last: first.unlink(),
    "one in the midst gone": lambda first, last: first.with_name("0000000005.json").unlink(),
    "the last gone": lambda first, last: last.unlink(),
    "all gone": lambda first, last: shutil.rmtree(first.parent),
    "the first touched": lambda first, last: os.utime(first, (1, 1)),
    "the first copied": lambda first, last: copied(first),
    "two swapped": lambda first, last: shutil.copy(last, first),
    "a link in place of the last": lambda first, last: (
        last.rename(last.with_name("moved")),
        last.symlink_to("moved"),
    ),
    "a folder where the next goes": lambda first, last: last.with_name("0000000999.json").mkdir(),
    "another file beside": lambda first, last: last.with_name("notes.txt").write_text("x"),
    "what a writer is about to name": lambda first, last: last.with_name("0000000999.json#1").write_text("{"),
    "one that is no record": lambda first, last: last.with_name("0000000999.json").write_text("{}"),
}


HARMLESS = {
    "the first touched",
    "the first copied",
    "another file beside",
    "what a writer is about to name",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_log_that_is_not_as_it_was_is_proven_anew(
    log: ReleaseLog, folder: Path, tmp_path: Path, change: str
) -> None:
    """Who kept a checkpoint hears what anybody hears who opens the store for the first time."""
    await proven_before(tmp_path)
    CHANGES[change](folder / record_path(1), folder / record_path(len(log.releases)))
    expected = await outcome(opened(tmp_path))
    assert await outcome(opened(tmp_path, keeps=True)) == expected
    is_harmless = change in HARMLESS
    assert (expected == log.snapshot()) == is_harmless


def with_column(name: str, change: Callable[[list[object]], list[object]]) -> Callable[[bytes], bytes]:
    def changed(body: bytes) -> bytes:
        table = pa.ipc.open_stream(body).read_all()
        at = table.schema.get_field_index(name)
        values = pa.array(change(table.column(name).to_pylist()), table.schema.field(name).type)
        return streamed(table.set_column(at, table.schema.field(name), values))

    return changed


def with_facts(**facts: bytes) -> Callable[[bytes], bytes]:
    def changed(body: bytes) -> bytes:
        table = pa.ipc.open_stream(body).read_all()
        held = {**table.schema.metadata, **{name.encode(): value for name, value in facts.items()}}
        return streamed(table.replace_schema_metadata(held))

    return changed


def streamed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


NONE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda body: b"",
    "no stream": lambda body: b"x" * 100,
    "a cut stream": lambda body: body[: len(body) // 2],
    "other columns": lambda body: streamed(pa.table({"a": [1]})),
    "no facts": lambda body: streamed(pa.ipc.open_stream(body).read_all().replace_schema_metadata(None)),
    "another form": with_facts(format=b"seamless-assets checkpoint 2"),
    "another log": with_facts(records=b"0" * 64),
    "no release": with_facts(release=b"{}"),
    "no pins": with_facts(pinned=b"[[1]]"),
    "reversed pins": with_facts(pinned=b"[[2,1]]"),
    "another order": with_column("start", lambda starts: starts[::-1]),
    "reversed ranges": with_column("end", lambda ends: [0] * len(ends)),
}


@pytest.mark.parametrize("damage", NONE)
async def test_a_checkpoint_that_is_none_of_the_log_is_as_if_it_were_not_there(
    log: ReleaseLog, folder: Path, tmp_path: Path, damage: str
) -> None:
    """Though it stands behind its own hash."""
    await proven_before(tmp_path)
    spoil(tmp_path, folder, NONE[damage])
    files = Counted(str(tmp_path / "store"))
    assert await outcome(opened(tmp_path, keeps=True, files=files)) == log.snapshot()
    assert files.read_records == len(log.releases)
    again = Counted(str(tmp_path / "store"))
    assert await outcome(opened(tmp_path, keeps=True, files=again)) == log.snapshot()
    assert again.read_records == 0


IMPOSSIBLE: dict[str, tuple[Callable[[bytes], bytes], Callable[[Snapshot], object]]] = {
    "partition": (
        with_column("partition", lambda keys: ["../../x"] * len(keys)),
        lambda end: end.artifacts[3],
    ),
    "rows": (with_column("rows", lambda rows: [10**9] * len(rows)), lambda end: end.artifacts[3]),
    "copy": (with_column("copy", lambda copies: [-1] * len(copies)), lambda end: end.artifacts[:1]),
    "parts": (with_facts(parts=b'{"a":[1]}'), lambda end: end.leaves()),
    "since": (with_facts(since=b"[]"), lambda end: len(end.since)),
}


@pytest.mark.parametrize("fact", IMPOSSIBLE)
async def test_what_a_checkpoint_says_that_cannot_be_is_never_served(
    folder: Path, tmp_path: Path, fact: str
) -> None:
    await proven_before(tmp_path)
    change, ask = IMPOSSIBLE[fact]
    spoil(tmp_path, folder, change)
    end = await opened(tmp_path, keeps=True).load_snapshot(NODE)
    with pytest.raises(ArtifactCorrupt, match="remove state_dir/segments"):
        ask(end)


def spoil(tmp_path: Path, folder: Path, change: Callable[[bytes], bytes]) -> None:
    copies, name = CopyFolder(tmp_path / "segments", 10**8), log_checkpoint.checkpoint_name(str(folder))
    body = copies.load(name)
    assert body is not None
    copies.keep(name, change(body))


def test_a_checkpoint_is_of_one_node(log: ReleaseLog) -> None:
    records = {"a": "1"}
    body = log_checkpoint.to_bytes(log.snapshot(), records)
    assert log_checkpoint.from_bytes(body, NODE, "log", records) == log.snapshot()
    assert log_checkpoint.from_bytes(body, OTHER, "log", records) is None
    assert log_checkpoint.from_bytes(body, NODE, "log", {"a": "2"}) is None
    assert log_checkpoint.from_bytes(body, NODE, "log", {**records, "b": "1"}) is None
    empty = replace(log.snapshot(), artifacts=(), parts={}, since={}, pinned=(), discarded=frozenset())
    again = log_checkpoint.from_bytes(log_checkpoint.to_bytes(empty, records), NODE, "log", records)
    assert again == empty and again is not None and not again.overlapping(day(0, 1).segment)
