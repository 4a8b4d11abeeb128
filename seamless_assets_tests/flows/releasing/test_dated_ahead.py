"""A clock that is wrong dates nothing ahead of the exchange's; where nobody could know, it is reported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.worlds import END_OF_JANUARY, NODE, World, day

from seamless_assets.adapters.artifacts.heads import SeenHeads
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.release import record_path
from seamless_assets.flows.filling.clocks import TRUSTED_SKEW_S
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import release_by_hand, rollback, unpin, withdraw
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import DAY, ManualClock

YEAR = 365 * DAY
TRUTH = END_OF_JANUARY.end + 3_600
ACTS: dict[str, Callable[[Ports], Awaitable[Any]]] = {
    "materialize": lambda ports: materialize(ports, NODE, day(30)),
    "withdraw": lambda ports: withdraw(ports, NODE, "2025-01-29", "a bad day"),
    "roll back": lambda ports: rollback(ports, NODE, "it was good", to=1),
    "compact": lambda ports: compact(ports, NODE, "month"),
    "clean up": lambda ports: clean_up(ports, NODE, grace_s=-20 * YEAR),
}


def with_clock(world: World, off: float) -> Ports:
    """The ports of a machine whose clock is off by so many seconds; the exchange's is right."""
    return replace(world.ports, clock=ManualClock(time=world.exchange.clock.now() + off))


async def begun(tmp_path: Path) -> World:
    """Three days released by a machine whose clock is right, the last one corrected since.

    Of the second two other contents were sealed, of which one waits and one is of no use.
    """
    heads = SeenHeads(tmp_path / "heads")
    world = World(tmp_path, END_OF_JANUARY, ArtifactStore(str(tmp_path / "artifacts"), heads=heads))
    assert await world.materialize(END_OF_JANUARY)
    for ts in (day(29).start, day(29).start + 300):
        world.correct(ts)
        await world.refill(day(29))
        await publish(world.ports, NODE, day(29))
    world.correct(day(30).start)
    return world


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("off", [2 * TRUSTED_SKEW_S, 3_600.0, 40.0 * DAY, 5.0 * YEAR, 60.0 * YEAR])
async def test_no_record_is_dated_ahead_of_an_exchange_that_can_be_asked(
    tmp_path: Path, act: str, off: float
) -> None:
    world = await begun(tmp_path)
    before = len(await world.log())
    await ACTS[act](with_clock(world, off))
    log = await world.log()
    assert len(log) == before + 1
    limit = world.exchange.clock.now() + 1
    assert epoch_micros(log[-1].as_of) / 1e6 <= limit
    manifests = [await world.ports.artifacts.load_manifest(NODE, ref) for ref in log[-1].added]
    assert all(epoch_micros(manifest.as_of) / 1e6 <= limit for manifest in manifests)
    # So what others release later is seen by who reads as of now.
    world.exchange.clock.time += 60
    await unpin(world.ports, NODE, "go on")
    now = instant_text(int(world.exchange.clock.now() * 1_000_000))
    snapshot = await world.ports.artifacts.load_snapshot(NODE, now)
    assert snapshot.release == (await world.log())[-1]
    assert (await verify(world.ports, NODE)).is_sound


@pytest.mark.parametrize("off", [-5.0 * YEAR, -3_600.0, -1.0, 0.0, 1.0, TRUSTED_SKEW_S])
async def test_a_clock_that_is_behind_or_about_right_is_kept_to(tmp_path: Path, off: float) -> None:
    world = World(tmp_path, END_OF_JANUARY)
    world.exchange.clock.time = TRUTH
    ports = with_clock(world, off)
    assert await world.materialize(day(28))
    (first,) = await world.log()
    entry = await withdraw(ports, NODE, "2025-01-29", "a bad day")
    at = epoch_micros(entry.as_of) / 1e6
    assert at == pytest.approx(max(TRUTH + off, epoch_micros(first.as_of) / 1e6 + 0.001), abs=1e-3)


async def test_a_release_that_nobody_could_date_rightly_is_reported_and_can_be_taken_back(
    tmp_path: Path,
) -> None:
    """The exchange is away while the clock is years ahead."""
    world = await begun(tmp_path)
    ahead = with_clock(world, 5.0 * YEAR)
    world.exchange.is_away = True
    await withdraw(ahead, NODE, "2025-01-29", "a bad day")
    world.exchange.is_away = False
    report = await materialize(world.ports, NODE, day(30))
    assert report.released and "is dated 2030-01" in report.problems[-1]
    log = await world.log()
    found = await verify(world.ports, NODE)
    assert found.is_sound and f"release {len(log)} is dated 2030-01" in found.warnings[0]
    # The way out: the records that are dated ahead are taken away.
    wrong = [entry for entry in log if entry.as_of > "2026"]
    await world.ports.artifacts.remove_files(NODE, [record_path(entry.seq) for entry in wrong])
    store = ArtifactStore(str(tmp_path / "artifacts"), heads=SeenHeads(tmp_path / "new heads"))
    again = replace(world.ports, artifacts=store)
    mended = await materialize(again, NODE, END_OF_JANUARY)
    assert mended.released and mended.problems == ()
    assert ((await verify(again, NODE)).faults, (await verify(again, NODE)).warnings) == ((), ())
    world.exchange.clock.time += 60
    now = instant_text(int(world.exchange.clock.now() * 1_000_000))
    served = await read_released(again, NODE, day(30), ComputeContext(as_of=now), columns=None)
    assert served.metadata.as_of == (await store.list_releases(NODE))[-1].as_of


async def test_doctor_names_the_nodes_whose_releases_are_dated_ahead(tmp_path: Path) -> None:
    world = await begun(tmp_path)
    world.exchange.is_away = True
    await withdraw(with_clock(world, 40.0 * YEAR), NODE, "2025-01-29", "a bad day")
    warning = (await world.ports.artifacts.status()).warning
    assert str(NODE) in warning and "until 2065-" in warning


async def test_what_was_sealed_under_one_clock_is_released_by_hand_under_another(tmp_path: Path) -> None:
    """What waits is what was sealed after the last decision, whatever clocks said."""
    world = await begun(tmp_path)
    await withdraw(with_clock(world, 40.0 * DAY), NODE, "2025-01-30", "a bad day")
    world.correct(day(29).start + 300)
    await world.refill(day(29))
    (sealed,) = await publish(with_clock(world, 3_600.0), NODE, day(29))
    entry = await release_by_hand(with_clock(world, -60.0), NODE, "it is right", "2025-01-30")
    assert entry.added == (sealed.ref,)
