"""What holds of artifacts and release logs in a folder, in moto's S3 and in a real S3 server."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.artifacts import NODE as LONE_NODE
from support.artifacts import sealed
from support.object_stores import Place, Trouble
from support.worlds import END_OF_JANUARY, NODE, World, day

from seamless_assets.core.releases.log import snapshot_at
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing, ArtifactStoreError, ReleaseConflict
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import release_by_hand, rollback, unpin, withdraw
from seamless_assets.flows.releasing.publish import release
from seamless_assets.flows.releasing.verify import verify

HASTY = {"max_retries": 0, "retry_timeout": timedelta(seconds=5)}
Flaky = Callable[[Callable[[int, str, str], Trouble]], Place]


async def test_the_same_content_from_many_writers_is_one_artifact(place: Place) -> None:
    stores = [place.open() for _ in range(4)]
    made = [sealed(as_of=f"2025-01-02T00:00:00.00000{n}Z") for n in range(8)]
    refs = await asyncio.gather(*(store.put_artifact(item) for item in made for store in stores))
    assert len(set(refs)) == 1
    store = place.open()
    assert {file.path for file in await store.list_files(LONE_NODE)} == {
        refs[0].file_path,
        refs[0].manifest_path,
    }
    assert (await store.load_artifact(LONE_NODE, refs[0])).num_rows == 10
    avoided = await store.put_artifact(sealed(), avoid={refs[0].file_path, refs[0].manifest_path})
    assert (avoided.copy, avoided.edition, avoided.fingerprint) == (1, 1, refs[0].fingerprint)
    assert (await store.status()).address == place.root


async def test_one_writer_wins_each_place_of_the_log(place: Place) -> None:
    entries = [entry_of(n) for n in range(1, 17)]
    outcomes = await asyncio.gather(
        *(place.open().append_release(LONE_NODE, entry) for entry in entries), return_exceptions=True
    )
    assert sum(isinstance(outcome, ReleaseConflict) for outcome in outcomes) == 15
    winner = entries[outcomes.index(None)]
    assert await place.open().list_releases(LONE_NODE) == [winner]
    await place.open().append_release(LONE_NODE, winner)


async def test_files_beside_a_log_are_created_once_replaced_and_removed_in_one_go(place: Place) -> None:
    stores = [place.open() for _ in range(3)]
    changes = [
        store.change_files(
            LONE_NODE,
            create=[(f"x/{number}", b"first" * 9), (f"x/of-{writer}", bytes([writer]))],
            replace=[("x/hint", b"%d" % writer)],
        )
        for writer, store in enumerate(stores)
        for number in range(3)
    ]
    await asyncio.gather(*changes)
    store = place.open()
    await store.change_files(LONE_NODE, create=[("x/1", b"later"), ("x/new", b"")], remove=["x/2", "x/none"])
    names = {"0", "1", "new", "hint", *(f"of-{writer}" for writer in range(3))}
    assert await store.list_names(LONE_NODE, "x") == names
    assert [await store.read_file(LONE_NODE, f"x/{name}") for name in ("1", "new")] == [b"first" * 9, b""]
    assert await store.read_file(LONE_NODE, "x/hint") in {b"0", b"1", b"2"}


def entry_of(n: int) -> Release:
    before = snapshot_at(str(LONE_NODE), [])
    return next_release(before, added=[], withdrawn=[], now_micros=n, checks={}, reason=f"writer {n}")


@pytest.fixture
async def world(place: Place, tmp_path: Path) -> World:
    """Three days released one by one, the second corrected, all in a store of its own."""
    made = World(tmp_path, END_OF_JANUARY, place.open())
    assert await made.materialize(END_OF_JANUARY)
    made.correct(day(29).start + 600)
    assert await made.materialize(day(29))
    return made


async def test_the_whole_life_of_a_log(world: World, place: Place, tmp_path: Path) -> None:
    first = [await world.read(END_OF_JANUARY, entry.as_of) for entry in (await world.log())[2:]]
    await rollback(world.ports, NODE, "the correction was wrong", to=3)
    assert (await compact(world.ports, NODE)).after == 1
    await withdraw(world.ports, NODE, "2025-01-31", "a bad day")
    await unpin(world.ports, NODE, "go on")
    assert await world.materialize(END_OF_JANUARY)
    later = World(tmp_path / "later", END_OF_JANUARY, place.open())
    again = [await later.read(END_OF_JANUARY, item.metadata.as_of) for item in first]
    assert [item.bars for item in again] == [item.bars for item in first]
    assert (await clean_up(world.ports, NODE)).removed == ()
    report = await verify(later.ports, NODE)
    assert report.is_sound and report.releases == len(await world.log()) == 10


async def test_altered_and_lost_bytes_are_named_and_refused(world: World, place: Place) -> None:
    log = await world.log()
    ref = log[-1].added[0]
    store = world.ports.artifacts
    for path in (ref.file_path, ref.manifest_path, "_releases/0000000002.json"):
        uri = store.file_uri(NODE, path)
        whole = place.read(uri)
        middle = len(whole) // 2
        for altered in (b"", whole[:-1], whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]):
            place.write(uri, altered)
            assert [fault.uri for fault in (await verify(world.ports, NODE)).faults][:1] == [uri]
            fresh = World(Path(world.ports.hot._path).parent / "fresh", END_OF_JANUARY, place.open())  # type: ignore[attr-defined]
            with pytest.raises(ArtifactCorrupt):
                await fresh.read(END_OF_JANUARY)
        place.write(uri, whole)
    assert (await verify(world.ports, NODE)).is_sound
    await store.remove_files(NODE, [ref.file_path])
    assert [fault.uri for fault in (await verify(world.ports, NODE)).faults] == [
        store.file_uri(NODE, ref.file_path)
    ]
    with pytest.raises(ArtifactMissing):
        await place.open().load_artifact(NODE, ref)


async def test_what_is_no_record_and_no_artifact_by_its_name_is_left_alone(
    world: World, place: Place, tmp_path: Path
) -> None:
    store, log = world.ports.artifacts, await world.log()
    names = (".DS_Store", "0000000001.json.bak", "notes.txt", "00000000001.json")
    orphans = [f"_releases/{name}" for name in names] + ["2025-01-31/copy.manifest.json"]
    for path in orphans:
        place.write(store.file_uri(NODE, path), b"x")
    fresh = World(tmp_path / "fresh", END_OF_JANUARY, place.open())
    assert await fresh.log() == log
    assert (await clean_up(fresh.ports, NODE, grace_s=-math.inf)).removed == ()
    report = await verify(fresh.ports, NODE)
    assert report.is_sound and report.releases == len(log)
    assert set(report.orphans) == {store.file_uri(NODE, path) for path in orphans}
    await withdraw(fresh.ports, NODE, "2025-01-31", "a bad day")
    await release_by_hand(fresh.ports, NODE, "a good one")
    place.write(store.file_uri(NODE, "_releases/0000000009.json"), b"x")
    with pytest.raises(ArtifactCorrupt, match="is not a readable release record"):
        await place.open().list_releases(NODE)


async def test_a_node_whose_folder_lies_in_that_of_another(place: Place, tmp_path: Path) -> None:
    """The artifacts of each are its own."""
    outer = World(tmp_path / "outer", END_OF_JANUARY, place.open(template="{exchange}/{symbol}/{timeframe}"))
    inner = World(tmp_path, END_OF_JANUARY, place.open(template="{exchange}/{symbol}/{timeframe}/v2"))
    assert await outer.materialize(day(28)) and await inner.materialize(END_OF_JANUARY)
    assert (await clean_up(outer.ports, NODE, grace_s=-math.inf)).removed == ()
    await withdraw(outer.ports, NODE, "2025-01-29", "a bad day")
    fingerprint = (await outer.log())[0].added[0].fingerprint
    entry = await release_by_hand(outer.ports, NODE, "a good one", fingerprint=fingerprint)
    assert [ref.partition for ref in entry.added] == ["2025-01-29"]
    reports = [await verify(each.ports, NODE) for each in (outer, inner)]
    assert [(report.is_sound, report.releases, report.orphans) for report in reports] == [
        (True, 3, ()),
        (True, len(await inner.log()), ()),
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_throttling_and_lost_connections_cost_nothing_but_time(
    flaky: Flaky, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)

    def trouble(number: int, method: str, path: str) -> Trouble:
        if dice.random() > 0.2:
            return ""
        return dice.choice(["slow down", "reset before", "reset after"])  # type: ignore[return-value]

    place = flaky(trouble)
    quick: Any = {"max_retries": 20, "backoff": {"init_backoff": timedelta(milliseconds=1), "base": 1.1}}
    world = World(tmp_path, END_OF_JANUARY, place.open(retry_config=quick))
    assert await world.materialize(END_OF_JANUARY)
    await withdraw(world.ports, NODE, "2025-01-30", "not good")
    await rollback(world.ports, NODE, "it was good", to=3)
    assert (await compact(world.ports, NODE)).after == 1
    assert [entry.kind for entry in await world.log()] == [
        *["automatic"] * 3,
        "withdrawal",
        "rollback",
        "compaction",
    ]
    assert (await verify(world.ports, NODE)).is_sound
    assert {"slow down", "reset before", "reset after"} <= set(place.proxy.troubles)  # type: ignore[union-attr]


@pytest.mark.long
async def test_a_store_that_stays_away_is_a_typed_error_and_a_rerun_completes(
    flaky: Flaky, tmp_path: Path
) -> None:
    """It fails at each request in turn; whatever was done by then, the next run goes on from it."""
    fails_at = 0

    def trouble(number: int, method: str, path: str) -> Trouble:
        return "slow down" if number >= fails_at else ""

    while True:
        place = flaky(trouble)
        world = World(tmp_path / str(fails_at), END_OF_JANUARY, place.open(retry_config=HASTY))
        try:
            await world.materialize(day(30))
            break
        except ArtifactStoreError:
            pass
        direct = World(tmp_path / f"{fails_at} again", END_OF_JANUARY, Place(place.root, place.server).open())
        assert await direct.materialize(day(30))
        report = await verify(direct.ports, NODE)
        assert report.is_sound and (report.releases, report.artifacts) == (1, 1)
        fails_at += 1
    assert fails_at >= 5


async def test_a_lost_answer_to_a_release_is_no_conflict(flaky: Flaky, tmp_path: Path) -> None:
    def trouble(number: int, method: str, path: str) -> Trouble:
        return "reset after" if method == "PUT" and "_releases" in path and number % 2 else ""

    place = flaky(trouble)
    store = place.open()
    ref = await store.put_artifact(sealed())
    world = World(tmp_path, END_OF_JANUARY, store)
    entry = await release(world.ports, LONE_NODE, [ref], {}, "once")
    again = await release(world.ports, LONE_NODE, [ref], {}, "twice")
    assert entry == again and len(await place.open().list_releases(LONE_NODE)) == 1
