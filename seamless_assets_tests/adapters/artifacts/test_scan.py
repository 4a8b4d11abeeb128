"""Scans of released bars: verified when they are read, however packed, and held while they are so."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from support.artifacts import NODE, seal_bars, sealed, sealed_before, with_extents

from seamless_assets.adapters.artifacts import proof as artifact_proof
from seamless_assets.adapters.artifacts import scan as scanning
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.bars.parquet import encode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.releases.artifact import ArtifactRef, SealedArtifact
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing
from seamless_assets.testing.twins import START, walk


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
    told, times = os.stat(path), 0
    while times % 2 == 0 or os.stat(path).st_ctime_ns == told.st_ctime_ns:
        flip(Path(path))
        times += 1
        if keeps_time:
            os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


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
        bars = table_of(((ts, *values) for ts, values in walk(start, last).items()), BARS_SCHEMA)
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
        ([1, 2, 3, 4, 5], [False, True, True, True, True]),
        ([1, 2, 9, 20], [False, False, True, True]),
        ([1, 2, 40], [False, False, True]),
    ],
)
async def test_a_process_holds_few_runs_and_not_too_many_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int], held: list[bool]
) -> None:
    monkeypatch.setattr(scanning, "KEPT_ROWS", 30)
    monkeypatch.setattr(scanning, "KEPT_SCANS", 4)
    store = ArtifactStore(str(tmp_path))
    refs = [await store.put_artifact(sealed(many)) for many in rows]
    scans = [await store.load_scan(NODE, [ref]) for ref in refs]
    # From the newest on: what is loaded anew then drives out nothing that is still asked for.
    pairs = list(zip(refs, scans, strict=True))[::-1]
    assert [await store.load_scan(NODE, [ref]) is scan for ref, scan in pairs] == held[::-1]
