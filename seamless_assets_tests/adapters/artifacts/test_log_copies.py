"""A local copy of a release log that is not of this log is as if it were not there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from support.artifacts import NODE
from support.own_s3 import OwnS3

from seamless_assets.adapters.artifacts import log_copy
from seamless_assets.adapters.artifacts.log_copy import Records
from seamless_assets.adapters.artifacts.log_reader import WORTH_COPYING
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import next_release

MANY = WORTH_COPYING + 3


@pytest.fixture(scope="module")
def s3() -> Iterator[OwnS3]:
    with OwnS3().running() as server:
        yield server


def opened(s3: OwnS3, copies: Path | None = None) -> ArtifactStore:
    return ArtifactStore(s3.root, copies=CopyFolder(copies, 10**8) if copies else None, **s3.options())


@pytest.fixture
async def log(s3: OwnS3) -> list[Release]:
    s3.forget()
    store, made = opened(s3), ReleaseLog(str(NODE))
    for number in range(MANY):
        entry = next_release(
            made.snapshot(), added=[], withdrawn=[], now_micros=number, checks={}, reason=f"{number}"
        )
        made.extend([entry], "test")
        await store.append_release(NODE, entry)
    return made.releases


def table(columns: dict[str, list[object]]) -> bytes:
    made = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema) as stream:
        stream.write_table(made)
    return sink.getvalue()


def payloads_with(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Records], bytes]:
    def changed(records: Records) -> bytes:
        new = change([payload for _, payload in records.values()])
        forged = {path: (sign, body) for (path, (sign, _)), body in zip(records.items(), new, strict=True)}
        return log_copy.to_bytes(forged)

    return changed


OTHER: dict[str, Callable[[Records], bytes]] = {
    "nothing": lambda records: b"",
    "no stream": lambda records: b"x" * 100,
    "a cut stream": lambda records: log_copy.to_bytes(records)[:-100],
    "other columns": lambda records: table({"a": [1], "b": ["x"], "c": [b"y"]}),
    "other types": lambda records: table({"path": [1], "signature": [2], "payload": [3]}),
    "nulls": lambda records: table({"path": [None], "signature": ["x"], "payload": [b"y"]}),
    "no rows": lambda records: log_copy.to_bytes({}),
    "empty records": payloads_with(lambda held: [b""] * len(held)),
    "a spoiled record": payloads_with(lambda held: [*held[:5], held[5].replace(b'"5"', b'"6"'), *held[6:]]),
    "another order": payloads_with(lambda held: held[::-1]),
    "the same again": payloads_with(lambda held: [held[0]] * len(held)),
    "fewer": lambda records: log_copy.to_bytes(dict(list(records.items())[:4])),
    "other places": lambda records: log_copy.to_bytes(
        {f"../{path}": record for path, record in records.items()}
    ),
}


@pytest.mark.parametrize("other", OTHER)
async def test_a_copy_that_is_not_of_the_log_is_none(
    s3: OwnS3, log: list[Release], tmp_path: Path, other: str
) -> None:
    """Though it stands behind its own hash, and its records behind the signatures of the bucket's."""
    store = opened(s3, tmp_path)
    assert await store.list_releases(NODE) == log
    await store.close()
    copies = CopyFolder(tmp_path, 10**8)
    folder = store.file_uri(NODE, "").removesuffix("/")
    name = log_copy.copy_name(folder)
    records = log_copy.from_bytes(copies.load(name))
    assert len(records) == MANY
    copies.keep(name, OTHER[other](records))
    store = opened(s3, tmp_path)
    assert await store.list_releases(NODE) == log
    await store.close()
    assert log_copy.from_bytes(copies.load(name)) == records or other == "fewer"
    before = await store.load_snapshot(NODE)
    later = next_release(before, added=[], withdrawn=[], now_micros=1, checks={}, reason="later")
    await opened(s3, tmp_path).append_release(NODE, later)
    assert await opened(s3, tmp_path).list_releases(NODE) == [*log, later]
