"""Processes that write one log at once, or get SIGKILL before any call to the store: nothing is torn."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from support.killing import (
    ACTIONS,
    NO_GRACE,
    SPAWN,
    TWO_DAYS,
    in_a_child,
    perform,
    perform_and_die,
    perform_together,
)
from support.worlds import NODE, World

from seamless_assets.core.releases.artifact import artifact_number
from seamless_assets.core.releases.release import LOG_FOLDER, record_path
from seamless_assets.core.releases.supersession import by_path
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.verify import verify


async def state(folder: Path) -> tuple[object, list[tuple[str, object]]]:
    """Artifacts in force, and the bars of every release, all verified."""
    world = World(folder, TWO_DAYS)
    assert (await verify(world.ports, NODE)).faults == ()
    scans = []
    for entry in await world.log():
        snapshot = await world.ports.artifacts.load_snapshot(NODE, entry.as_of)
        scan = await world.ports.artifacts.load_scan(NODE, snapshot.artifacts)
        scans.append((entry.as_of, scan.bars))
    newest = await world.ports.artifacts.load_snapshot(NODE)
    await world.ports.hot.close()
    return [(ref.start, ref.end, ref.fingerprint) for ref in newest.artifacts], scans


@pytest.mark.parametrize(
    ("name", "steps"), [*((name, False) for name in ACTIONS if name != "orphans"), ("correction", True)]
)
async def test_killed_before_any_call_nothing_is_torn(tmp_path: Path, name: str, steps: bool) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    for earlier in ACTIONS[name][0]:
        await perform(origin, earlier)
    _, before = await state(origin)
    expected = tmp_path / "unharmed"
    shutil.copytree(origin, expected)
    await perform(expected, name)
    in_force, after = await state(expected)
    for call in range(200):
        folder = tmp_path / str(call)
        shutil.copytree(origin, folder)
        child = in_a_child(perform_and_die, folder, name, call, steps)
        child.join(60)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        _, torn = await state(folder)
        assert torn[: len(before)] == before and len(torn) <= len(after)
        await perform(folder, name)
        again, scans = await state(folder)
        assert again == in_force and scans[: len(torn)] == torn
        assert [bars for _, bars in scans] == [bars for _, bars in after]
        await nothing_is_left(folder)
        shutil.rmtree(folder)
    assert call >= (12 if steps else 4)


async def nothing_is_left(folder: Path) -> None:
    """A clean-up finds whatever no release names; the rest is the log and what it names."""
    world = World(folder, TWO_DAYS)
    await clean_up(world.ports, NODE, NO_GRACE)
    log = await world.log()
    left = {file.path for file in await world.ports.artifacts.list_files(NODE)} - by_path(log).keys()
    assert {path for path in left if not path.startswith(f"{LOG_FOLDER}/")} == set()
    assert all(artifact_number(path) for path in by_path(log))
    await world.ports.hot.close()


async def test_the_same_content_from_four_processes_at_once_is_released_once(tmp_path: Path) -> None:
    start = SPAWN.Barrier(4)
    children = [in_a_child(perform_together, tmp_path, "release", start) for _ in range(4)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    world = World(tmp_path, TWO_DAYS)
    log = await world.log()
    assert [[ref.partition for ref in entry.added] for entry in log] == [["2025-01-30"], ["2025-01-31"]]
    paths = {file.path for file in await world.ports.artifacts.list_files(NODE)}
    assert paths == by_path(log).keys() | {record_path(1), record_path(2)}
    assert (await verify(world.ports, NODE)).faults == ()
