"""The artifact store on a real folder: atomic, immutable, and loud about altered bytes."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.artifacts import NODE, sealed

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.bars.parquet import decode_bars, encode_bars
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import snapshot_at
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing, ReleaseConflict
from seamless_assets.testing import START


def first_release(ref: ArtifactRef) -> Release:
    empty = snapshot_at(str(NODE), [])
    return next_release(empty, added=[ref], withdrawn=[], now_micros=1, checks={}, reason="test")


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


async def test_an_artifact_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store, artifact = ArtifactStore(str(tmp_path)), sealed()
    ref = await store.put_artifact(artifact)
    assert await store.load_artifact(NODE, ref) == decode_bars(artifact.payload)
    assert await store.load_manifest(NODE, ref) == artifact.manifest
    folder = tmp_path / "exchange=okx/symbol=BTC%2FUSDT%3AUSDT/timeframe=1m/2025-01-01"
    assert Path(store.file_uri(NODE, ref.file_path)).parent == folder
    assert {path.name for path in files(tmp_path)} == {Path(ref.file_path).name, Path(ref.manifest_path).name}


async def test_what_was_put_is_on_disk_under_its_name_before_anybody_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves what the disk was made to keep: bytes, the name, and the folders on the way."""
    synced: list[str] = []
    sync, link = os.fsync, os.link

    def noting_sync(file: int) -> None:
        sync(file)
        synced.append(os.readlink(f"/proc/self/fd/{file}"))

    def linked(draft: str, path: str) -> None:
        assert draft in synced
        link(draft, path)
        synced.clear()

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(os, "link", linked)
    store = ArtifactStore(str(tmp_path / "new" / "store"))
    ref = await store.put_artifact(sealed())
    path = Path(store.file_uri(NODE, ref.manifest_path))
    assert synced == [str(path.parent)]
    synced.clear()
    await store.append_release(NODE, first_release(ref))
    assert synced == [str(path.parents[1] / "_releases")]


async def test_each_new_folder_is_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), sync(file))
    )
    store = ArtifactStore(str(tmp_path / "new" / "store"))
    path = Path(store.file_uri(NODE, (await store.put_artifact(sealed())).file_path))
    above = [folder for folder in path.parents if folder.is_relative_to(tmp_path)]
    assert {str(folder) for folder in above} <= set(synced)


async def test_the_same_content_again_changes_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    refs = await asyncio.gather(
        *(store.put_artifact(sealed(as_of=f"2025-01-02T00:00:00.00000{n}Z")) for n in range(8))
    )
    assert len(set(refs)) == 1
    assert len(files(tmp_path)) == 2


async def test_bars_that_another_writer_packed_are_the_same_content(tmp_path: Path) -> None:
    """As after an upgrade: the file that is there stays, and the reference is of its bytes."""
    store, artifact = ArtifactStore(str(tmp_path)), sealed()
    earlier = encode_bars(decode_bars(artifact.payload), "gzip")
    facts = {"file_sha256": sha256_text(earlier), "file_bytes": len(earlier)}
    first = await store.put_artifact(
        replace(artifact, manifest=replace(artifact.manifest, **facts), payload=earlier)
    )
    assert earlier != artifact.payload
    assert await store.put_artifact(artifact) == first
    assert len(files(tmp_path)) == 2


async def test_the_same_bars_under_other_facts_share_the_file(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    first = await store.put_artifact(sealed())
    grown = await store.put_artifact(sealed(end=START + 20 * 60))
    assert (first.edition, grown.edition) == (0, 1)
    assert first.file_path == grown.file_path and len(files(tmp_path)) == 3
    assert (await store.load_manifest(NODE, grown)).end == START + 20 * 60
    assert {file.path for file in await store.list_files(NODE)} == {
        first.file_path,
        first.manifest_path,
        grown.manifest_path,
    }


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-1], lambda raw: bytes([raw[0] ^ 1]) + raw[1:], lambda raw: b""]
)
@pytest.mark.parametrize("which", ["file_path", "manifest_path"])
async def test_altered_bytes_are_refused(tmp_path: Path, spoil: object, which: str) -> None:
    store = ArtifactStore(str(tmp_path))
    ref = await store.put_artifact(sealed())
    path = next(path for path in files(tmp_path) if str(path).endswith(getattr(ref, which)))
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    load = store.load_artifact if which == "file_path" else store.load_manifest
    with pytest.raises(ArtifactCorrupt) as refused:
        await load(NODE, ref)
    assert refused.value.uri == str(path)


async def test_a_lost_file_is_missing(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    ref = await store.put_artifact(sealed())
    os.unlink(store.file_uri(NODE, ref.file_path))
    with pytest.raises(ArtifactMissing):
        await store.load_artifact(NODE, ref)


async def test_one_writer_wins_each_place_of_the_log(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    ref = await store.put_artifact(sealed())
    entries = [
        next_release(
            snapshot_at(str(NODE), []),
            added=[ref],
            withdrawn=[],
            now_micros=n,
            checks={},
            reason=f"writer {n}",
        )
        for n in range(1, 33)
    ]
    outcomes = await asyncio.gather(
        *(store.append_release(NODE, entry) for entry in entries), return_exceptions=True
    )
    assert sum(isinstance(outcome, ReleaseConflict) for outcome in outcomes) == 31
    assert outcomes.count(None) == 1
    winner = entries[outcomes.index(None)]
    assert await ArtifactStore(str(tmp_path)).list_releases(NODE) == [winner]


async def test_a_log_with_an_altered_or_lost_record_is_refused(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    ref = await store.put_artifact(sealed())
    for n in range(1, 4):
        before = snapshot_at(str(NODE), await store.list_releases(NODE))
        added = [replace(ref, end=ref.end + n)]
        gone = before.artifacts
        entry = next_release(before, added=added, withdrawn=gone, now_micros=n, checks={}, reason="test")
        await store.append_release(NODE, entry)
    records = [path for path in files(tmp_path) if "_releases" in str(path)]
    assert len(await ArtifactStore(str(tmp_path)).list_releases(NODE)) == 3
    kept = records[1].read_bytes()
    for spoiled in (kept.replace(b'"seq":2', b'"seq":3'), kept[:-2], b"{}"):
        records[1].write_bytes(spoiled)
        with pytest.raises(ArtifactCorrupt):
            await ArtifactStore(str(tmp_path)).list_releases(NODE)
    records[1].unlink()
    with pytest.raises(ArtifactCorrupt, match="breaks at record 2"):
        await ArtifactStore(str(tmp_path)).list_releases(NODE)
