"""What verify tells of a log that is gone, cut, blocked or odd, and that it goes on after each."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.worlds import END_OF_JANUARY, NODE, World, day

from seamless_assets.adapters.artifacts.heads import SeenHeads
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.release import record_path
from seamless_assets.errors import ArtifactStoreError
from seamless_assets.flows.releasing.govern import withdraw
from seamless_assets.flows.releasing.verify import VerifyReport, verify


def store(folder: Path) -> ArtifactStore:
    return ArtifactStore(str(folder / "artifacts"), heads=SeenHeads(folder / "state" / "heads"))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Three days, released one by one."""
    made = World(tmp_path, END_OF_JANUARY, store(tmp_path))
    assert await made.materialize(END_OF_JANUARY)
    return made


async def verified(world: World, folder: Path) -> VerifyReport:
    return await verify(replace(world.ports, artifacts=store(folder)), NODE)


def instead(path: Path, kind: str) -> None:
    """Put something else in the place of a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "dangling link":
        path.symlink_to("/nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "sparse file":
        with path.open("wb") as file:
            file.truncate(10 << 30)


KINDS = ["file", "folder", "pipe", "link", "dangling link", "device", "socket", "sparse file", "nothing"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["newest record", "record", "next record", "manifest", "file"])
async def test_what_stands_in_the_place_of_a_file_is_reported_and_the_rest_is_proven(
    world: World, tmp_path: Path, kind: str, place: str
) -> None:
    """It is not waited for, not followed, and not read whole."""
    log = await world.log()
    ref = log[1].added[0]
    below = {
        "newest record": record_path(3),
        "record": record_path(2),
        "next record": record_path(4),
        "manifest": ref.manifest_path,
        "file": ref.file_path,
    }[place]
    path = Path(world.ports.artifacts.file_uri(NODE, below))
    instead(path, kind)
    if place == "next record" and kind == "nothing":
        assert (await verified(world, tmp_path)).is_sound
        return
    report = await verified(world, tmp_path)
    assert str(path) in [fault.uri for fault in report.faults]
    assert report.artifacts >= 2 and report.releases >= 2
    later = World(tmp_path / "later", END_OF_JANUARY, store(tmp_path))
    if not (place == "newest record" and kind == "nothing"):
        with pytest.raises(ArtifactStoreError):
            await later.read(END_OF_JANUARY)
    with pytest.raises(ArtifactStoreError) if place == "next record" else nothing_said():
        await withdraw(later.ports, NODE, "2025-01-29", "a bad day")
    assert await store(tmp_path).read_file(NODE, record_path(1)) == log[0].to_json()


class nothing_said:  # noqa: N801
    """Lets any error of the store pass: the call has to end, that is all."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        return kind is not None and issubclass(kind, ArtifactStoreError)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: shutil.rmtree(folder / "_releases"),
        lambda folder: instead(folder / "_releases", "file"),
        lambda folder: instead(folder / "_releases", "pipe"),
        lambda folder: instead(folder / "_releases", "link"),
        lambda folder: shutil.rmtree(folder),
        lambda folder: instead(folder, "file"),
        lambda folder: (folder / record_path(3)).unlink(),
        lambda folder: [(folder / record_path(seq)).unlink() for seq in (1, 2, 3)],
        lambda folder: [(folder / record_path(seq)).unlink() for seq in (2, 3)],
    ],
    ids=[
        "log gone",
        "log a file",
        "log a pipe",
        "log a link",
        "all gone",
        "node a file",
        "cut",
        "empty",
        "1 left",
    ],
)
@pytest.mark.parametrize("is_moved", [False, True])
async def test_a_log_that_is_gone_cut_or_blocked_is_no_sound_one(
    world: World, tmp_path: Path, spoil: Callable[[Path], object], is_moved: bool
) -> None:
    """Told from what this machine has seen of it, which moves with the project."""
    home = tmp_path / "moved" if is_moved else tmp_path
    folder = Path(world.ports.artifacts.file_uri(NODE, ""))
    if is_moved:
        for part in ("artifacts", "state"):
            shutil.copytree(tmp_path / part, home / part)
        folder = home / folder.relative_to(tmp_path)
    assert (await verified(world, home)).is_sound
    spoil(folder)
    assert not (await verified(world, home)).is_sound


async def test_a_log_begun_anew_is_reported_until_what_was_seen_is_forgotten(
    world: World, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "artifacts")
    anew = World(tmp_path / "anew", END_OF_JANUARY, store(tmp_path))
    anew.correct(day(29).start)
    assert await anew.materialize(END_OF_JANUARY)
    for _ in range(2):
        report = await verified(anew, tmp_path)
        assert [fault.problem for fault in report.faults if "state_dir/heads" in fault.problem]
    shutil.rmtree(tmp_path / "state" / "heads")
    assert (await verified(anew, tmp_path)).is_sound


@pytest.mark.parametrize("kind", [*KINDS, "garbage", "other mark", "huge seq"])
async def test_what_was_seen_is_believed_only_as_it_was_written(
    world: World, tmp_path: Path, kind: str
) -> None:
    (path,) = (tmp_path / "state" / "heads").iterdir()
    whole = path.read_bytes()
    if kind in KINDS:
        instead(path, kind)
    else:
        path.write_bytes(
            {
                "garbage": bytes([whole[0] ^ 1]) + whole[1:],
                "other mark": whole.replace(b'"seq":3', b'"seq":9'),
                "huge seq": b'[{"seq":1' + b"0" * 5000 + b"]",
            }[kind]
        )
    assert (await verified(world, tmp_path)).is_sound
    await withdraw(replace(world.ports, artifacts=store(tmp_path)), NODE, "2025-01-29", "a bad day")
    assert (await verified(world, tmp_path)).is_sound
    if kind not in ("folder",):
        assert b'"seq":4' in path.read_bytes()


async def test_another_machine_that_goes_on_is_followed(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other", END_OF_JANUARY, ArtifactStore(str(tmp_path / "artifacts")))
    await withdraw(other.ports, NODE, "2025-01-29", "a bad day")
    assert (await verified(world, tmp_path)).is_sound
    await other.ports.artifacts.remove_files(NODE, [record_path(4)])
    assert not (await verified(world, tmp_path)).is_sound
