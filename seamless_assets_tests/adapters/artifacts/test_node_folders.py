"""Folders of nodes: no two differ in case alone, and what lies under a former name goes on there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.artifacts import seal_bars
from support.ports import embedded_ports

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef, SealedArtifact
from seamless_assets.core.releases.release import record_path
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, make_bars, random_walk

LOWER = NodeId.parse("ohlcv:hyperliquid:kPEPE/USDC:USDC:1h")
MONTHS = NodeId.parse("ohlcv:okx:BTC/USDT:USDT:1M")
MINUTES = NodeId.parse("ohlcv:okx:BTC/USDT:USDT:1m")


def of(node: NodeId, rows: int = 10) -> SealedArtifact:
    """An artifact of so many of a node's bars."""
    return seal_bars(
        make_bars(START, node.timeframe.shift(START, rows), node.timeframe), "2025-01-01", node=node
    )


async def released(store: ArtifactStore, node: NodeId) -> ArtifactRef:
    ref = await store.put_artifact(of(node))
    before = await store.load_snapshot(node)
    entry = next_release(before, added=[ref], withdrawn=[], now_micros=1, checks={}, reason="test")
    await store.append_release(node, entry)
    return ref


def folders(root: Path, node: NodeId) -> tuple[Path, Path]:
    """The folder of a node as it is named today, and as it was by the first version."""
    template = "exchange={exchange}/symbol={symbol}/timeframe={timeframe}"
    return root / template.format(**node.path_values), root / template.format(**node.former_path_values)


def rename(root: Path, node: NodeId) -> None:
    """Let the node's folder be one of the first version."""
    named, former = folders(root, node)
    former.parent.mkdir(parents=True, exist_ok=True)
    named.rename(former)


def below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_folders_differ_in_more_than_case(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    nodes = [MONTHS, MINUTES, LOWER, replace(LOWER, symbol="KPEPE/USDC:USDC")]
    for node in nodes:
        await released(store, node)
    names = below(tmp_path)
    assert len({name.casefold() for name in names}) == len(names)
    assert [len(await store.list_releases(node)) for node in nodes] == [1] * 4


@pytest.mark.parametrize("node", [MONTHS, LOWER])
@pytest.mark.parametrize("left", ["log", "artifacts", "later records"])
async def test_what_lies_under_a_former_name_goes_on_there(tmp_path: Path, node: NodeId, left: str) -> None:
    first = ArtifactStore(str(tmp_path))
    ref = await released(first, node)
    log = await first.list_releases(node)
    rename(tmp_path, node)
    named, former = folders(tmp_path, node)
    if left == "artifacts":
        shutil.rmtree(former / "_releases")
    if left == "later records":
        (former / record_path(1)).rename(former / record_path(2))
    store = ArtifactStore(str(tmp_path))
    if left == "later records":
        with pytest.raises(ArtifactCorrupt):
            await store.list_releases(node)
    else:
        assert await store.list_releases(node) == (log if left == "log" else [])
        assert (await store.load_artifact(node, ref)).num_rows == 10
        assert await store.put_artifact(of(node)) == ref
    assert Path(store.file_uri(node, "")) == former
    assert {file.path for file in await store.list_files(node)} >= {ref.file_path, ref.manifest_path}
    assert not named.exists()


async def test_where_case_does_not_count_the_folder_of_another_node_is_not_taken(tmp_path: Path) -> None:
    """As on a disk that takes `timeframe=1M` for `timeframe=1m`."""
    await released(ArtifactStore(str(tmp_path)), MINUTES)
    named, former = folders(tmp_path, MONTHS)
    former.symlink_to(folders(tmp_path, MINUTES)[0])
    store = ArtifactStore(str(tmp_path))
    assert await store.list_releases(MONTHS) == []
    await released(store, MONTHS)
    assert named.is_dir() and len(await ArtifactStore(str(tmp_path)).list_releases(MONTHS)) == 1
    shutil.rmtree(former.resolve() / "_releases")
    assert len(await ArtifactStore(str(tmp_path)).list_releases(MONTHS)) == 1
    shutil.rmtree(named)
    assert await ArtifactStore(str(tmp_path)).list_releases(MONTHS) == []
    await released(ArtifactStore(str(tmp_path)), MONTHS)
    assert named.is_dir()


async def test_a_log_under_both_names_goes_on_under_that_of_today(tmp_path: Path) -> None:
    await released(ArtifactStore(str(tmp_path)), MONTHS)
    rename(tmp_path, MONTHS)
    other = ArtifactStore(str(tmp_path / "other"))
    await released(other, MONTHS)
    named, _ = folders(tmp_path, MONTHS)
    shutil.move(folders(tmp_path / "other", MONTHS)[0], named)
    store = ArtifactStore(str(tmp_path))
    assert len(await store.list_releases(MONTHS)) == 1
    assert Path(store.file_uri(MONTHS, "")) == named


async def test_a_store_by_the_first_version_is_read_proven_extended_and_compacted(tmp_path: Path) -> None:
    clock = ManualClock(time=START + 30 * DAY)
    made = embedded_ports(tmp_path, InMemoryExchange(random_walk(START, START + 60 * DAY, step=3_600), clock))
    january = Segment(START, START + 29 * DAY)
    assert (await materialize(made, LOWER, january)).released
    before = await read_released(made, LOWER, january, ComputeContext(), columns=None)
    root = tmp_path / "artifacts"
    rename(root, LOWER)
    later = replace(made, artifacts=ArtifactStore(str(root)))
    clock.time = START + 60 * DAY
    both = Segment(START, START + 59 * DAY)
    assert (await materialize(later, LOWER, both)).released
    assert (await compact(later, LOWER, "year")).before == 2
    assert (await verify(later, LOWER)).is_sound
    again = await read_released(
        later, LOWER, january, ComputeContext(as_of=before.metadata.as_of), columns=None
    )
    assert again.bars == before.bars
    assert not folders(root, LOWER)[0].exists()
