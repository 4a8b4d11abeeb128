"""What people and clean-ups do to a release log, and what every older `as_of` keeps showing."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.ports import embedded_ports
from support.worlds import JANUARY, NODE, World, day

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.log import snapshot_at
from seamless_assets.errors import (
    ArtifactDiscarded,
    InvalidChoice,
    NothingReleased,
    ReleasePinned,
    ReleaseRefused,
)
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import diff, release_by_hand, rollback, unpin, withdraw
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.flows.releasing.publish import release
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import DAY, START

TWO_DAYS = Segment(START, START + 2 * DAY)
THIRD_DAY = day(2)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path, Segment(START, START + 3 * DAY))
    assert await made.materialize(TWO_DAYS)
    return made


@pytest.fixture
async def month(tmp_path: Path) -> World:
    made = World(tmp_path, Segment(START, START + 33 * DAY))
    assert await made.materialize(JANUARY)
    return made


async def test_a_rollback_holds_against_materializing_until_a_release_by_hand(world: World) -> None:
    first = (await world.log())[-1]
    good = await world.read(TWO_DAYS)
    world.correct(START + 600)
    assert await world.materialize(TWO_DAYS)
    entry = await rollback(world.ports, NODE, "the correction was a mistake", as_of=first.as_of)
    assert (entry.kind, entry.seq, entry.reason) == ("rollback", 4, "the correction was a mistake")
    assert entry.dataset_fingerprint == first.dataset_fingerprint
    assert [(item.partition, item.changed) for item in entry.revisions] == [("2025-01-01", 1)]
    report = await materialize(world.ports, NODE, TWO_DAYS)
    assert not report.released and "waits for a release by hand" in report.problems[0]
    assert [part.released for part in report.partitions] == [False, True]
    assert (await world.read(TWO_DAYS)).bars == good.bars and len(await world.log()) == 4
    world.correct(START + 1_200)
    assert not await world.materialize(TWO_DAYS)
    by_hand = await release_by_hand(world.ports, NODE, "now it is right")
    assert by_hand.kind == "by_hand" and by_hand.seq == 5
    assert await world.materialize(TWO_DAYS)
    assert (await world.read(TWO_DAYS)).bars != good.bars
    assert (await world.read(TWO_DAYS, as_of=entry.as_of)).bars == good.bars


async def test_a_rollback_reaches_back_to_fewer_and_shorter_artifacts(tmp_path: Path) -> None:
    world = World(tmp_path, Segment(START, START + DAY))
    assert await world.materialize(day(1))
    short = (await world.log())[-1]
    world.exchange.clock.time += 2 * DAY
    assert await world.materialize(TWO_DAYS)
    entry = await rollback(world.ports, NODE, "back to the first hour", to=1)
    assert entry.dataset_fingerprint == short.dataset_fingerprint
    assert [ref.partition for ref in entry.withdrawn] == ["2025-01-01", "2025-01-02"]
    assert not await world.materialize(TWO_DAYS)
    again = await rollback(world.ports, NODE, "once more", to=1)
    assert again == entry and len(await world.log()) == 4
    lifted = await unpin(world.ports, NODE, "nothing new, go on")
    assert (lifted.added, lifted.withdrawn, lifted.kind) == ((), (), "by_hand")
    assert await unpin(world.ports, NODE, "again") == lifted
    assert await world.materialize(TWO_DAYS)
    with pytest.raises(NothingReleased, match="there is 1 to 7"):
        await rollback(world.ports, NODE, "too far", to=9)


async def test_what_a_report_says_waits_is_what_a_release_by_hand_releases(world: World) -> None:
    """Also where it was released before, and nothing else comes back with it."""
    three = Segment(START, START + 3 * DAY)
    assert await world.materialize(THIRD_DAY)
    world.correct(START + 600)
    assert await world.materialize(day(0))
    correction = (await world.log())[-1].added
    await rollback(world.ports, NODE, "a mistake", to=3)
    await withdraw(world.ports, NODE, "2025-01-03", "a bad day")
    report = await materialize(world.ports, NODE, three)
    waiting = [part.partition.key for part in report.partitions if not part.released]
    assert waiting == ["2025-01-01", "2025-01-03"]
    with pytest.raises(ReleaseRefused, match="2025-01-01, 2025-01-03 wait") as refused:
        await release_by_hand(world.ports, NODE, "which one?")
    assert refused.value.partitions == ("2025-01-01", "2025-01-03")
    by_hand = await release_by_hand(world.ports, NODE, "it was right", "2025-01-01")
    assert by_hand.added == correction and len(by_hand.withdrawn) == 1
    report = await materialize(world.ports, NODE, three)
    assert [part.released for part in report.partitions] == [True, True, False]
    back = await release_by_hand(world.ports, NODE, "it was no bad day")
    assert [ref.partition for ref in back.added] == ["2025-01-03"]
    assert await world.materialize(three) and len(await world.log()) == 8


async def test_several_days_that_a_rollback_holds_are_released_by_their_month(month: World) -> None:
    for number in (3, 5):
        month.correct(START + number * DAY + 600)
        assert await month.materialize(day(number))
    await compact(month.ports, NODE)
    await rollback(month.ports, NODE, "the corrections were wrong", to=31)
    await compact(month.ports, NODE)
    month.correct(START + 7 * DAY + 600)
    assert await month.materialize(day(7))
    entry = await release_by_hand(month.ports, NODE, "they were right", "2025-01")
    assert [ref.partition for ref in entry.added] == ["2025-01-04", "2025-01-06"]
    assert await month.materialize(JANUARY) and (await month.log())[-1] == entry


async def test_what_was_sealed_again_is_what_was_sealed_last(world: World) -> None:
    first = (await world.log())[0].added[0]
    correct = world.exchange.bars[START + 600]
    world.correct(START + 600)
    assert await world.materialize(day(0))
    world.exchange.bars[START + 600] = correct
    assert await world.materialize(day(0))
    await rollback(world.ports, NODE, "the correction after all", to=3)
    assert not await world.materialize(day(0))
    assert (await release_by_hand(world.ports, NODE, "no")).added == (first,)


async def test_pins_stay_where_nothing_can_be_released(world: World) -> None:
    await withdraw(world.ports, NODE, "2025-01-02", "a mistake")
    entry = await rollback(world.ports, NODE, "it was good", to=2)
    for partition in (None, "2025-01-02", "2025"):
        with pytest.raises(ReleaseRefused, match="unpin the node"):
            await release_by_hand(world.ports, NODE, "go on", partition)
    assert (await world.log())[-1] == entry
    assert await release_by_hand(world.ports, NODE, "as it is", "2025-01-01") == entry
    with pytest.raises(NothingReleased, match="publish or materialize"):
        await release_by_hand(world.ports, NODE, "not there", "2025-01-03")
    world.correct(START + DAY + 600)
    assert not await world.materialize(day(1))
    await unpin(world.ports, NODE, "go on")
    assert await world.materialize(day(1))


async def test_content_that_ends_before_what_is_in_force_says_what_stands_in_its_way(tmp_path: Path) -> None:
    world = World(tmp_path, Segment(START, START + DAY // 2))
    assert await world.materialize(day(0))
    world.exchange.clock.time += DAY
    assert await world.materialize(day(0))
    half, whole = [entry.added[0] for entry in await world.log()]
    with pytest.raises(ReleaseRefused, match="withdraw 2025-01-01 first"):
        await release_by_hand(world.ports, NODE, "the first half", fingerprint=half.fingerprint)
    same = await release_by_hand(world.ports, NODE, "it is so", fingerprint=whole.fingerprint)
    assert same == (await world.log())[1]
    await withdraw(world.ports, NODE, "2025-01-01", "the second half is wrong")
    entry = await release_by_hand(world.ports, NODE, "the first half", fingerprint=half.fingerprint)
    assert entry.added == (half,)
    assert not await world.materialize(day(0))
    assert (await release_by_hand(world.ports, NODE, "all of it")).added == (whole,)


async def test_what_is_withdrawn_stays_out_of_force_and_old_snapshots_keep_it(world: World) -> None:
    first, before = await world.log()
    entry = await withdraw(world.ports, NODE, "2025-01-01", "wash trading")
    assert entry.kind == "withdrawal" and [ref.partition for ref in entry.withdrawn] == ["2025-01-01"]
    assert await withdraw(world.ports, NODE, "2025-01-01", "again") == entry
    assert not await world.materialize(TWO_DAYS)
    assert (await world.read(TWO_DAYS, as_of=before.as_of)).bars.num_rows == 576
    assert (await world.read(day(1))).bars.num_rows == 288
    back = await release_by_hand(world.ports, NODE, "it was none", fingerprint=first.added[0].fingerprint)
    assert back.added == first.added and back.kind == "by_hand"
    with pytest.raises(NothingReleased, match="nothing in force of 2025-03-01"):
        await withdraw(world.ports, NODE, "2025-03-01", "not there")
    with pytest.raises(InvalidChoice, match="no partition key"):
        await withdraw(world.ports, NODE, "January", "not a key")


async def test_compaction_changes_files_and_no_bar_at_any_as_of(month: World) -> None:
    log = await month.log()
    before = await month.read(JANUARY)
    report = await compact(month.ports, NODE)
    assert (report.before, report.after) == (31, 1)
    assert report.release is not None and report.release.kind == "compaction"
    after = await month.read(JANUARY)
    assert after.bars == before.bars and len(after.metadata.manifest_uris) == 1
    old = await month.read(JANUARY, as_of=log[-1].as_of)
    assert old.bars == before.bars
    assert old.metadata == replace(before.metadata, requested_as_of=log[-1].as_of)
    again = await compact(month.ports, NODE)
    assert again.release == report.release and len(await month.log()) == 32
    found = await verify(month.ports, NODE)
    assert found.is_sound and (found.releases, found.artifacts) == (32, 32)


async def test_a_correction_inside_a_compacted_month_leaves_its_other_days(month: World) -> None:
    await compact(month.ports, NODE)
    compacted = await month.read(JANUARY)
    assert await month.materialize(JANUARY) and len(await month.log()) == 32
    month.correct(START + 3 * DAY + 600)
    assert await month.materialize(day(3))
    newest = (await month.log())[-1]
    assert len(newest.added) == 31 and len(newest.withdrawn) == 1
    assert [(item.partition, item.changed) for item in newest.revisions] == [("2025-01-04", 1)]
    assert (await month.read(JANUARY)).bars.num_rows == compacted.bars.num_rows
    assert (await month.read(JANUARY, as_of=compacted.metadata.as_of)).bars == compacted.bars
    assert (await compact(month.ports, NODE)).after == 1
    withdrawn = await withdraw(month.ports, NODE, "2025-01-07", "a bad day")
    assert len(withdrawn.added) == 30 and withdrawn.revisions == ()
    month.correct(START + 8 * DAY)
    assert await month.materialize(day(8)) and not await month.materialize(day(6))
    back = await rollback(month.ports, NODE, "all of it", as_of=compacted.metadata.as_of)
    assert back.dataset_fingerprint == compacted.metadata.dataset_fingerprint
    assert (await verify(month.ports, NODE)).is_sound


async def test_a_year_of_months_comes_apart_only_where_it_is_corrected(tmp_path: Path) -> None:
    november, new_year = START - 33 * DAY, START
    window = Segment(november, new_year)
    world = World(tmp_path, Segment(november, new_year + DAY))
    assert await world.materialize(window)
    before = await world.read(window)
    assert (await compact(world.ports, NODE)).after == 2
    assert (await compact(world.ports, NODE, "year")).after == 1
    assert (await world.read(window)).bars == before.bars
    world.correct(new_year - 3 * DAY)
    assert await world.materialize(day(-3))
    newest = (await world.log())[-1]
    assert sorted(ref.partition for ref in newest.added)[:2] == ["2024-11", "2024-12-01"]
    assert len(newest.added) == 32 and [ref.partition for ref in newest.withdrawn] == ["2024"]
    assert [(item.partition, item.changed) for item in newest.revisions] == [("2024-12-29", 1)]
    assert (await compact(world.ports, NODE, "year")).after == 1
    assert (await verify(world.ports, NODE)).is_sound


async def test_a_read_by_fingerprint_is_a_read_at_its_as_of(world: World) -> None:
    first = await world.read(TWO_DAYS)
    world.correct(START + 600)
    await world.materialize(TWO_DAYS)
    context = ComputeContext(dataset_fingerprint=first.metadata.dataset_fingerprint)
    found = await read_released(world.ports, NODE, TWO_DAYS, context, columns=None)
    assert found.bars == first.bars and found.metadata == first.metadata
    other = ComputeContext(dataset_fingerprint="sha256:" + "0" * 64)
    with pytest.raises(NothingReleased, match="no release of the dataset sha256:0000"):
        await read_released(world.ports, NODE, TWO_DAYS, other, columns=None)


async def test_a_diff_counts_bars_and_names_artifacts(world: World) -> None:
    first = (await world.log())[-1]
    world.correct(START + 600)
    await world.materialize(Segment(START, START + 3 * DAY))
    changes = await diff(world.ports, NODE, first.as_of, None)
    assert (changes.bars.added, changes.bars.removed, changes.bars.changed) == (288, 0, 1)
    assert changes.bars.examples[0] == START + 600
    assert [ref.partition for ref in changes.added] == ["2025-01-01", "2025-01-03"]
    assert [ref.partition for ref in changes.withdrawn] == ["2025-01-01"]
    back = await diff(world.ports, NODE, None, first.as_of)
    assert (back.bars.added, back.bars.removed, back.bars.changed) == (0, 288, 1)


async def orphan(world: World) -> list[Path]:
    """Publish what nobody releases: a first try of the third day, and then a second one."""
    known = set(files(world))
    for _ in range(2):
        world.correct(START + 2 * DAY + 600)
        world.exchange.clock.time += 60
        await world.refill(THIRD_DAY)
        await publish(world.ports, NODE, THIRD_DAY)
    return sorted(set(files(world)) - known, key=lambda path: path.stat().st_mtime_ns)


def files(world: World) -> list[Path]:
    return [path for path in Path(world.ports.artifacts.root).rglob("*") if path.is_file()]  # type: ignore[attr-defined]


def age(paths: list[Path]) -> None:
    for path in paths:
        os.utime(path, (START - 30 * DAY, START - 30 * DAY))


async def test_a_clean_up_removes_what_nobody_needs_and_nothing_else(world: World) -> None:
    first_try, second_try = (await orphan(world))[:2], (await orphan(world))[2:]
    leftover = first_try[0].with_name(first_try[0].name + "#1")
    leftover.write_bytes(b"half")
    mirror = first_try[0].parents[1] / "_iceberg" / "metadata"
    mirror.mkdir(parents=True)
    for name in ("v1.metadata.json", "v1.metadata.json#2", "version-hint.text#3", "v1.metadata.json#x"):
        (mirror / name).write_bytes(b"{")
    (mirror / "snap-1.avro#4").write_bytes(b"half, by somebody who is still at it")
    assert (await clean_up(world.ports, NODE)).removed == ()
    kept = set(files(world))
    age(sorted(kept - {mirror / "snap-1.avro#4"}))
    report = await clean_up(world.ports, NODE)
    gone = kept - set(files(world))
    assert {path.name for path in kept - gone if path.parent == mirror} == {
        *("v1.metadata.json", "v1.metadata.json#x", "snap-1.avro#4")
    }
    assert leftover in gone and set(first_try) <= gone and not gone & set(second_try[-2:])
    assert report.freed > 0 and len(report.removed) == len(gone)
    entry = (await world.log())[-1]
    assert (
        entry.kind == "clean_up" and entry.dataset_fingerprint == (await world.log())[-2].dataset_fingerprint
    )
    assert (await clean_up(world.ports, NODE)).removed == ()
    assert (await verify(world.ports, NODE)).is_sound
    by_hand = await release_by_hand(world.ports, NODE, "the third day as it is")
    assert [ref.partition for ref in by_hand.added] == ["2025-01-03"]
    assert (await world.read(Segment(START, START + 3 * DAY))).bars.num_rows == 864


async def test_a_name_that_was_given_up_is_never_released(world: World) -> None:
    """A writer that sealed before the clean-up and releases after it must seal again."""
    assert await world.materialize(THIRD_DAY)
    world.correct(START + 2 * DAY + 600)
    await world.refill(THIRD_DAY)
    (sealed,) = await publish(world.ports, NODE, THIRD_DAY)
    uncorrected = world.exchange.bars[START + 2 * DAY + 900]
    world.correct(START + 2 * DAY + 900)
    assert await world.materialize(THIRD_DAY)
    age(files(world))
    assert len((await clean_up(world.ports, NODE)).removed) == 2
    with pytest.raises(ArtifactDiscarded, match="publish it again"):
        await release(world.ports, NODE, [sealed.ref], {}, "late")
    world.exchange.bars[START + 2 * DAY + 900] = uncorrected
    assert await world.materialize(THIRD_DAY)
    ref = (await world.log())[-1].added[0]
    assert ref.fingerprint == sealed.ref.fingerprint and (ref.copy, ref.edition) == (1, 1)
    assert (await verify(world.ports, NODE)).is_sound


async def test_releases_of_many_workers_at_once_lose_none(tmp_path: Path) -> None:
    world = World(tmp_path, Segment(START, START + 13 * DAY))
    days = [day(n) for n in range(12)]
    for one in days:
        await backfill(world.ports, NODE, one)
    sealed = [(await publish(world.ports, NODE, one))[0] for one in days]
    workers = [embedded_ports(tmp_path, world.exchange) for _ in days]
    await asyncio.gather(
        *(
            release(worker, NODE, [item.ref], {}, "side by side")
            for worker, item in zip(workers, sealed, strict=True)
        )
    )
    log = await world.log()
    assert [entry.seq for entry in log] == list(range(1, 13))
    assert set(snapshot_at(str(NODE), log).artifacts) == {item.ref for item in sealed}
    assert (await verify(world.ports, NODE)).is_sound


async def test_what_would_lose_bars_is_refused(month: World) -> None:
    log = await month.log()
    ref = log[3].added[0]
    half = replace(ref, partition="2025-01", end=ref.end - DAY // 2, manifest_sha256="sha256:" + "1" * 64)
    with pytest.raises(ReleaseRefused, match="reaches beyond"):
        await release(month.ports, NODE, [half], {}, "a shorter one of another partition")
    await rollback(month.ports, NODE, "the first ten days", to=10)
    with pytest.raises(ReleasePinned):
        await release(month.ports, NODE, [log[20].added[0]], {}, "pinned")
