"""A release stands whatever becomes of its mirror, and what became of that is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from support.worlds import NODE, World, day

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.iceberg.catalog import TableCatalog
from seamless_assets.adapters.iceberg.mirror import IcebergMirror
from seamless_assets.core.sharing.events import MirrorEvent
from seamless_assets.errors import ArtifactStoreError
from seamless_assets.flows.releasing.commit import mirror
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import RecordingObserver


def of_another_store(folder: Path) -> Path:
    path = folder / "iceberg.sqlite"
    catalog = TableCatalog(path)
    catalog.point(NODE, "file:///moved/node/_iceberg/metadata/v1.metadata.json")
    catalog.close()
    return path


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_bytes(b"")
    return folder / "file" / "iceberg.sqlite"


@pytest.mark.parametrize(
    ("made", "problem"), [(of_another_store, "the store has moved"), (below_a_file, "cannot be written")]
)
async def test_a_catalog_that_cannot_show_a_release_leaves_it_in_force(
    tmp_path: Path, made: Callable[[Path], Path], problem: str
) -> None:
    world = World(tmp_path, day(30))
    catalog = TableCatalog(made(tmp_path))
    follower = IcebergMirror(cast(ArtifactStore, world.ports.artifacts), catalog)
    observer = RecordingObserver()
    ports = replace(world.ports, mirror=follower, observer=observer)
    assert (await materialize(ports, NODE, day(30))).released and len(await world.log()) == 1
    (told,) = [event for event in observer.events if isinstance(event, MirrorEvent)]
    assert problem in told.problem
    with pytest.raises(ArtifactStoreError, match=problem):
        await mirror(ports, NODE)
    if catalog.path.exists():
        await follower.close()
        catalog.path.unlink()
        anew = IcebergMirror(cast(ArtifactStore, world.ports.artifacts), TableCatalog(catalog.path))
        assert await mirror(replace(ports, mirror=anew), NODE) is not None
        await anew.close()
