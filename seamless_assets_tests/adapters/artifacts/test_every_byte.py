"""Every byte of a record, a manifest and a file, altered in turn: verify names it and a read refuses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.artifacts import NODE, sealed
from support.worlds import END_OF_JANUARY, World

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.release import Release, record_path
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.publish import release
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import START

WINDOW = Segment(START, START + 120)


async def publish(world: World, rows: int) -> Release:
    """A release of a partition that has grown to `rows` bars."""
    ref = await world.ports.artifacts.put_artifact(sealed(rows))
    entry = await release(world.ports, NODE, [ref], {}, "by a test")
    assert entry is not None
    return entry


async def assert_refused(world: World, uri: str) -> None:
    found = await verify(world.ports, NODE)
    assert found.faults and found.faults[0].uri == uri, f"verify does not name {uri}"
    store = ArtifactStore(world.ports.artifacts.root)  # type: ignore[attr-defined]
    fresh = replace(world.ports, artifacts=store)
    with pytest.raises(ArtifactCorrupt):
        await read_released(fresh, NODE, WINDOW, ComputeContext(), columns=None)


def spoiled(uri: str) -> Iterator[bytes]:
    """Spoil a file in one way after the other, each byte among them; mended at the end."""
    path = Path(uri)
    whole = path.read_bytes()
    flipped = (whole[:at] + bytes([byte ^ 1 << at % 8]) + whole[at + 1 :] for at, byte in enumerate(whole))
    cut = (whole[:length] for length in range(0, len(whole), 97))
    for altered in (*flipped, *cut, whole + b"\n"):
        path.write_bytes(altered)
        yield altered
    path.write_bytes(whole)


def swap(one: str, other: str) -> None:
    """Exchange the content of two files."""
    left, right = Path(one), Path(other)
    content = left.read_bytes()
    left.write_bytes(right.read_bytes())
    right.write_bytes(content)


@pytest.mark.parametrize("which", ["file", "manifest", "record"])
async def test_every_byte_counts(tmp_path: Path, which: str) -> None:
    world = World(tmp_path, END_OF_JANUARY)
    ref = (await publish(world, 2)).added[0]
    path = {"file": ref.file_path, "manifest": ref.manifest_path, "record": record_path(1)}[which]
    uri = world.ports.artifacts.file_uri(NODE, path)
    tried = 0
    for _ in spoiled(uri):
        await assert_refused(world, uri)
        tried += 1
    assert tried > 500
    assert (await verify(world.ports, NODE)).faults == ()


async def test_files_that_changed_places_are_named(tmp_path: Path) -> None:
    world = World(tmp_path, END_OF_JANUARY)
    first, last = [(await publish(world, rows)).added[0] for rows in (2, 3)]
    for pair in (
        (first.file_path, last.file_path),
        (first.manifest_path, last.manifest_path),
        (record_path(1), record_path(2)),
        (last.file_path, last.manifest_path),
    ):
        uris = [world.ports.artifacts.file_uri(NODE, path) for path in pair]
        swap(*uris)
        found = await verify(world.ports, NODE)
        assert {fault.uri for fault in found.faults} == set(uris)
        await assert_refused(world, found.faults[0].uri)
        swap(*uris)
    assert (await verify(world.ports, NODE)).faults == ()


async def test_files_of_another_node_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path, END_OF_JANUARY)
    entry = await publish(world, 2)
    other = NodeId.parse(str(NODE).replace("BTC", "ETH"))
    for path in (record_path(1), entry.added[0].file_path, entry.added[0].manifest_path):
        copy_file(world.ports.artifacts.file_uri(NODE, path), world.ports.artifacts.file_uri(other, path))
    with pytest.raises(ArtifactCorrupt, match=r"ETH.* holds record 1 of .*BTC"):
        await read_released(world.ports, other, WINDOW, ComputeContext(), columns=None)
    assert "it is a record of" in (await verify(world.ports, other)).faults[0].problem


def copy_file(origin: str, target: str) -> None:
    """Copy a file into a folder that may not be there."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin, target)
