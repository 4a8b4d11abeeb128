"""A log in memory finds the snapshot that replaying it from the start would find, at any instant."""

from __future__ import annotations

import random
import tracemalloc
from itertools import combinations, pairwise

import pytest

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import canonical_json, sha256_text
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import ReleaseLog, _Packed, _Packing, _State, snapshot_at
from seamless_assets.core.releases.release import GENESIS, Release, as_record
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
DAYS = 9
KINDS = ("automatic", "by_hand", "rollback", "withdrawal", "compaction", "clean_up")


def artifact(start: int, end: int, number: int) -> ArtifactRef:
    name = sha256_text(f"{start} {end} {number}".encode())
    return ArtifactRef(f"{start}", START + start * DAY, START + end * DAY, 1, name, name, name)


def long_log(releases: int) -> tuple[ReleaseLog, list[Release]]:
    """Days that come, go and are merged, in records ten microseconds apart as far as they may be."""
    dice, log, number = random.Random(3), ReleaseLog(NODE), 0
    while len(log.releases) < releases:
        number += 1
        before, kind = log.snapshot(), dice.choice(KINDS)
        added, withdrawn, discarded = [], [], []
        if kind == "clean_up":
            discarded = [f"file {number}"]
        elif kind == "compaction":
            withdrawn = list(before.artifacts)
            if len(withdrawn) > 1:
                days = [(ref.start - START) // DAY for ref in withdrawn]
                added = [artifact(days[0], (withdrawn[-1].end - START) // DAY, number)]
        else:
            day = dice.randrange(DAYS)
            fresh = artifact(day, day + 1, number)
            withdrawn = list(before.overlapping(fresh.segment))
            added = [] if kind == "withdrawal" else [fresh]
        if added or withdrawn or discarded:
            entry = next_release(
                before,
                added=added,
                withdrawn=withdrawn,
                now_micros=number * 10,
                checks={},
                reason="test",
                kind=kind,  # type: ignore[arg-type]
                discarded=discarded,
            )
            log.extend([Release.from_json(entry.to_json(), "test")], "test")
    return log, list(log.releases)


def test_snapshots_are_those_of_a_replay() -> None:
    log, releases = long_log(700)
    at_once = ReleaseLog(NODE)
    at_once.extend(releases, "test")
    for seq in (0, 1, 2, 63, 64, 65, 255, 256, 257, 300, 511, 512, 513, 699, 700):
        as_of = releases[seq - 1].as_of if seq else instant_text(1)
        expected = snapshot_at(NODE, releases, as_of)
        assert log.snapshot(as_of) == at_once.snapshot(as_of) == expected
        assert (expected.release.seq if expected.release else 0) == seq
    between = instant_text(epoch_micros(releases[299].as_of) + 1)
    assert log.snapshot(between) == snapshot_at(NODE, releases, between)
    assert log.snapshot() == snapshot_at(NODE, releases)
    newest = log.snapshot(fingerprint=releases[400].dataset_fingerprint)
    assert newest.release is not None and newest.release.seq >= 401
    assert newest.dataset_fingerprint == releases[400].dataset_fingerprint
    assert log.snapshot(releases[400].as_of, releases[400].dataset_fingerprint).artifacts == (
        snapshot_at(NODE, releases, releases[400].as_of).artifacts
    )
    assert log.snapshot(fingerprint="sha256:none").release is None


def test_the_records_of_a_log_are_those_that_were_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seamless_assets.core.releases.log._OPEN", 200)
    log, releases = long_log(150)
    assert log.releases == releases and log.newest == releases[-1]
    assert log.added == sum(len(release.added) for release in releases)
    for start, end in combinations((0, 1, 63, 64, 65, 127, 128, 149, 150), 2):
        assert log.releases[start:end] == releases[start:end]
        assert log.releases[start] == releases[start]
    assert log.releases[-1] == releases[-1] and log.releases[3:3] == []
    assert log.releases != releases[:-1] and log.releases != releases[1:]
    with pytest.raises(IndexError):
        log.releases[150]


def months_of_days(releases: int) -> list[Release]:
    """Releases of the days of a month, again and again; their fingerprints are of nothing."""
    found: list[Release] = []
    for number in range(releases):
        day = number % 31
        withdrawn = found[-31].added if number >= 31 else ()
        before = found[-1] if found else None
        entry = Release(
            node_id=NODE,
            seq=number + 1,
            as_of=instant_text(number * 1_000),
            previous=before.hash if before else GENESIS,
            dataset_fingerprint=sha256_text(f"{number}".encode()),
            added=(artifact(day, day + 1, number),),
            withdrawn=withdrawn,
            checks={"coverage": True},
            reason="",
        )
        found.append(Release.from_json(entry.to_json(), "test"))
    return found


def held_by_log(releases: list[Release]) -> int:
    """Bytes that a log of them holds, which were decoded for it alone."""
    payloads = [release.to_json() for release in releases]
    tracemalloc.start()
    log = ReleaseLog(NODE)
    for payload in payloads:
        log.extend([Release.from_json(payload, "test")], "test")
    assert log.snapshot(releases[len(releases) // 2].as_of).release == releases[len(releases) // 2]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held


def test_a_log_takes_a_few_hundred_bytes_a_record_however_long_it_is() -> None:
    releases = months_of_days(2_048)
    short, long = held_by_log(releases[:512]), held_by_log(releases)
    assert (long - short) / 1_536 < 800
    assert long < 4.4 * short


def test_snapshots_of_many_artifacts_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seamless_assets.core.releases.log._KEPT_ARTIFACTS", 20)
    log, releases = long_log(60)
    for release in releases:
        assert log.snapshot(release.as_of) == snapshot_at(NODE, releases, release.as_of)
        kept = log._snapshots.values()
        assert len(kept) == 1 or sum(len(one.artifacts) for one in kept) <= 20


def test_who_walks_on_through_a_log_has_each_mark_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[object] = []

    class Counting(_Packing[_State]):
        def unpack(self, packed: _Packed[_State]) -> _State:
            unpacked.append(packed)
            return super().unpack(packed)

    monkeypatch.setattr("seamless_assets.core.releases.log._OPEN", 200)
    monkeypatch.setattr("seamless_assets.core.releases.log._STATES", Counting(_State))
    log, releases = long_log(400)
    walked = [release.as_of for release in releases]
    for as_of in walked:
        assert log.snapshot(as_of) == snapshot_at(NODE, releases, as_of)
    assert len(set(unpacked)) == len(unpacked) < 50
    # And so is what is asked for in any order, after that.
    for as_of in random.Random(1).sample(walked, 100):
        assert log.snapshot(as_of) == snapshot_at(NODE, releases, as_of)


def test_what_a_snapshot_lacks_of_a_window_is_what_none_of_its_artifacts_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seamless_assets.core.releases.snapshot._KEPT_WINDOWS", 7)
    log, releases = long_log(60)
    hour, bounds = 3_600, range(-1, DAYS * 24 + 2, 7)
    for release in releases[::6]:
        snapshot = log.snapshot(release.as_of)
        held = {at for ref in snapshot.artifacts for at in range(ref.start, ref.end, hour)}
        for start, end in list(combinations(bounds, 2))[::5] * 2:
            window = Segment(START + start * hour, START + end * hour)
            lacking = snapshot.lacking(window)
            every = {at for part in lacking for at in range(*part, hour)}
            assert every == set(range(*window, hour)) - held
            assert all(one.end < other.start for one, other in pairwise(lacking))


def test_what_does_not_continue_the_log_is_refused() -> None:
    _, releases = long_log(5)
    for wrong in (releases[1:], [releases[0], releases[2]], [*releases, releases[-1]]):
        with pytest.raises(ArtifactCorrupt, match="breaks at record"):
            ReleaseLog(NODE).extend(wrong, "test")
    with pytest.raises(ArtifactCorrupt, match="holds record 1 of"):
        ReleaseLog(NODE.replace("BTC", "ETH")).extend(releases, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"later": 1}, "not those of a record as it is written here"),
        ({"later": 1, "record_version": 2}, "record_version is 2, and this release reads 1"),
        ({"kind": "other"}, "Invalid enum value 'other'"),
        ({"reason": 7}, "Expected `str`, got `int`"),
    ],
)
def test_a_record_of_another_kind_of_software_is_refused_though_its_hash_is_right(
    change: dict[str, object], message: str
) -> None:
    entry = long_log(3)[1][-1]
    assert Release.from_json(entry.to_json(), "here") == entry
    stored = signed({**as_record(entry), **change})
    with pytest.raises(ArtifactCorrupt, match="here is not a readable release record") as refused:
        Release.from_json(stored, "here")
    assert message in str(refused.value)


@pytest.mark.parametrize("clock", [[0, 0, 0], [5_000_000, 1, 5_000_700], [10, 900, 1_800], [0, 1_000, 2_000]])
def test_releases_stay_apart_where_only_milliseconds_are_kept(clock: list[int]) -> None:
    """Whatever the clock does meanwhile."""
    log = ReleaseLog(NODE)
    for now in clock:
        before = log.snapshot()
        log.extend(
            [next_release(before, added=[], withdrawn=[], now_micros=now, checks={}, reason="test")], "test"
        )
    instants = [epoch_micros(release.as_of) for release in log.releases]
    assert instants[0] == clock[0] and all(
        instant >= now for instant, now in zip(instants, clock, strict=True)
    )
    assert len({instant // 1_000 for instant in instants}) == len(clock)


def test_records_of_earlier_versions_may_stand_a_microsecond_apart() -> None:
    first = next_release(
        snapshot_at(NODE, []), added=[], withdrawn=[], now_micros=5, checks={}, reason="test"
    )
    later = next_release(
        snapshot_at(NODE, [first]), added=[], withdrawn=[], now_micros=5, checks={}, reason="test"
    )
    close = Release.from_json(signed({**as_record(later), "as_of": instant_text(6)}), "test")
    log = ReleaseLog(NODE)
    log.extend([first, close], "test")
    assert log.snapshot(instant_text(5)).release == first and log.snapshot().release == close


def signed(record: dict[str, object]) -> bytes:
    """The stored form of a record under its own hash."""
    body = {name: value for name, value in record.items() if name != "hash"}
    return canonical_json({**body, "hash": sha256_text(canonical_json(body))})
