"""Local copies beside a folder or a bucket: they spare it, and hide nothing that was done to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from artifacts import NODE, sealed
from object_stores import Place, Trouble

from seamless_assets.adapters import bucket_files
from seamless_assets.adapters.artifact_store import ArtifactStore
from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.run import Run
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing


async def published(store: ArtifactStore) -> list[ArtifactRef]:
    refs = [await store.put_artifact(sealed(rows)) for rows in (3, 5, 4)]
    await store.close()
    return refs


async def loaded(store: ArtifactStore, refs: list[ArtifactRef]) -> Run:
    run = await store.load_run(NODE, refs)
    await store.close()
    return run


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


@pytest.mark.parametrize("at_once", [64, 2])
async def test_a_bucket_sends_nothing_that_is_here(
    flaky: Callable[[Callable[[int, str, str], Trouble]], Place],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    monkeypatch.setattr(bucket_files, "AT_ONCE", at_once)
    asked: list[tuple[str, str]] = []

    def trouble(number: int, method: str, path: str) -> Trouble:
        asked.append((method, path))
        return ""

    place = flaky(trouble)
    refs = await published(place.open(copies=tmp_path / "publisher"))
    for copies, objects_sent in (("publisher", 0), ("reader", 6), ("reader", 0)):
        asked.clear()
        await loaded(place.open(copies=tmp_path / copies), refs)
        sent = [path for method, path in asked if method == "GET" and "list-type" not in path]
        assert len(sent) == objects_sent
        looks = 6 if at_once == 64 else 1
        assert len(asked) - len(sent) == (0 if objects_sent else looks)
