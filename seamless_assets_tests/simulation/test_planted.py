"""Bugs planted on purpose: the simulation must find each of them within the seeds that CI runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from seamless_assets.adapters.artifacts.log_reader import LogReader
from seamless_assets.adapters.artifacts.scan import ScanReader, _slices
from seamless_assets.core.bars.table import empty_bars, timestamps
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import LOG_FOLDER
from seamless_assets.flows.filling import fetch
from seamless_assets.flows.releasing import clean_up, compact, govern, materialize, publish, sealing
from seamless_assets.flows.sharing import leases
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.testing import (
    InMemoryBudgetStore,
    InMemoryFiles,
    InMemoryHotStore,
    InMemoryLeaseStore,
    ManualClock,
)
from seamless_assets_tests.simulation.cluster import Cluster
from seamless_assets_tests.simulation.faults import FaultRates
from seamless_assets_tests.simulation.hot_store import FaultyHotStore, RecordingHotStore
from seamless_assets_tests.simulation.leases import RecordingLeaseStore, lost_leases
from seamless_assets_tests.simulation.process import Machine
from seamless_assets_tests.simulation.runner import MANY, simulate


def found(kind: str, *clues: str, first: int = 0) -> None:
    """Some seed violates an invariant that the planted bug breaks. `first` is the seed to begin with."""
    seeds = MANY[kind]
    for seed in sorted(seeds, key=lambda seed: (seed < first, seed)):
        if violations := "\n".join(simulate(kind, seed).violations):
            assert any(clue in violations for clue in clues), f"seed {seed} found {violations}"
            return
    pytest.fail(f"{len(seeds)} seeds found nothing wrong")


def test_a_renewal_that_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dropped(*args: Any) -> bool:
        return True

    monkeypatch.setattr(leases, "_renew", dropped)
    found("fetch", "ran out although nothing hindered its holder", first=58)


async def test_a_lease_that_runs_out_half_given_back_was_not_lost() -> None:
    clock = ManualClock(100.0)
    shared, machine = RecordingLeaseStore(clock), RecordingLeaseStore(clock)
    for key in ("given back", "held"):
        assert await shared.claim(key, "w1#1", 10.0) and await machine.claim(key, "w1#1", 10.0)
    clock.advance(9.0)
    machine.begin_to_end(machine.live["given back"])
    clock.advance(2.0)
    shared.begin_to_end(shared.live["given back"])
    machine.begin_to_end(machine.live["held"])
    for key in ("given back", "held"):
        assert await shared.claim(key, "w2#2", 10.0)
    assert [lease.key for lease in lost_leases([shared, machine])] == ["held"]


def test_a_claim_made_again_that_gains_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = InMemoryLeaseStore._claim

    def as_it_was(self: InMemoryLeaseStore, key: str, holder: str, ttl: float) -> Any:
        held = self.live.get(key)
        is_own = held is not None and held.holder == holder and held.until > self.clock.now()
        return held if is_own else claim(self, key, holder, ttl)

    # Answers are so late on a slow network alone. Seeds where leases run out by rights tell nothing.
    slow = FaultRates(latency=0.7)
    for seed in range(4, 40):
        if simulate("fetch", seed, slow).violations:
            continue
        with monkeypatch.context() as planted:
            planted.setattr(InMemoryLeaseStore, "_claim", as_it_was)
            violations = "\n".join(simulate("fetch", seed, slow).violations)
        if violations:
            assert "ran out although nothing hindered its holder" in violations
            return
    pytest.fail("no seed found anything wrong")


def test_leases_that_everybody_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = InMemoryLeaseStore._claim

    def granted(self: InMemoryLeaseStore, key: str, *args: Any) -> Any:
        self.live.pop(key, None)
        return claim(self, key, *args)

    monkeypatch.setattr(InMemoryLeaseStore, "_claim", granted)
    found("fetch", "a stale write", "although nothing went wrong", "was left behind", first=18)


def test_a_store_that_ignores_fences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InMemoryHotStore, "_pass_fence", lambda *args: None)
    found("fetch", "a stale write", first=8)


def test_a_writer_that_sends_no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FaultyHotStore.write_bars

    async def unfenced(self: FaultyHotStore, *args: Any, fence: Any, **more: Any) -> Any:
        return await real(self, *args, **more)

    monkeypatch.setattr(FaultyHotStore, "write_bars", unfenced)
    found("fetch", "without a fence")


def test_facts_that_are_written_before_their_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FaultyHotStore.write_bars

    async def facts_first(self: Any, node: Any, bars: Any, facts: Sequence[Any], **args: Any) -> Any:
        await real(self, node, empty_bars(), facts, **args)
        return await real(self, node, bars, [], **args)

    monkeypatch.setattr(FaultyHotStore, "write_bars", facts_first)
    found("fetch", "stands without its bars")


def test_a_rate_budget_that_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cluster.gate

    def own(self: Cluster, *args: Any) -> RateGate:
        shared, self.budget = self.budget, InMemoryBudgetStore(Machine(self.loop))
        gate = real(self, *args)
        self.budget = shared
        return gate

    monkeypatch.setattr(Cluster, "gate", own)
    found("fetch", "the rate budget was exceeded", first=10)


def test_no_pace_while_the_shared_budget_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*args: Any) -> None:
        return None

    monkeypatch.setattr(RateGate, "_own_pace", at_once)
    found("fetch", "the rate budget was exceeded", first=15)


def test_a_cool_down_that_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unshared(*args: Any) -> None:
        return None

    monkeypatch.setattr(RateGate, "cool_down", unshared)
    found("fetch", "during the cool-down", first=99)


def test_a_clean_up_that_removes_without_giving_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unrecorded(ports: Any, node: Any, plan: Any) -> Any:
        before = await ports.artifacts.load_snapshot(node)
        entry = await plan(before)
        if entry is not None:
            await ports.artifacts.remove_files(node, entry.discarded)
        return before.release

    monkeypatch.setattr(clean_up, "commit", unrecorded)
    found("governance", "needs", first=58)


def test_a_release_of_what_a_clean_up_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for flow in (publish, govern, compact):
        monkeypatch.setattr(flow, "refuse_discarded", lambda *args: None)
    found("governance", "needs", first=147)


def test_a_release_that_overwrites(monkeypatch: pytest.MonkeyPatch) -> None:
    real = InMemoryFiles.create

    async def overwrite(self: InMemoryFiles, path: str, payload: bytes) -> bool:
        if f"/{LOG_FOLDER}/" in path:
            self.held.pop(path, None)
        return await real(self, path, payload)

    monkeypatch.setattr(InMemoryFiles, "create", overwrite)
    found("governance", f"/{LOG_FOLDER}/", "is lost", "reads otherwise", "needs it", first=14)


def test_a_compaction_that_drops_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    real = compact.sealed_artifact

    def short(ports: Any, node: Any, bars: Any, **facts: Any) -> Any:
        return real(ports, node, bars.slice(0, bars.num_rows - 1), **facts)

    monkeypatch.setattr(compact, "sealed_artifact", short)
    found("governance", "changed bars")


def test_a_scan_that_is_looked_up_again_after_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(self: ScanReader, node: Any, folder: str, refs: Sequence[Any]) -> Any:
        key = (folder, *refs)
        kept = self._cache.get(key)
        if kept is not None and await self._is_unchanged(key, kept):
            return self._cache[key].scan
        return await self._load_and_cache(key, node, _slices(folder, refs))

    monkeypatch.setattr(ScanReader, "load", load)
    found("readers", "died of KeyError", first=23)


def test_a_log_that_two_readers_read_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(self: LogReader, node: Any, folder: str) -> Any:
        log = self._logs.setdefault(node, ReleaseLog(str(node)))
        while records := await self._records_after(folder, len(log.releases)):
            log = self._logs[node] = await self._read_on(log, folder, records)
        return log

    monkeypatch.setattr(LogReader, "load", load)
    found("readers", "read as damaged")


def test_unsorted_rows_that_are_cut_by_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(rows: Any, start: int, end: int) -> Any:
        low, high = (int(at) for at in np.searchsorted(timestamps(rows), (start, end)))
        return rows.slice(low, max(0, high - low))

    for flow in (fetch, materialize):
        monkeypatch.setattr(flow, "within", searched)
    found("governance-disasters", "is not released in peace", first=258)


def test_a_look_of_a_wrong_clock_that_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def believed(self: Fact, now: float) -> bool:
        return not self.is_proof and self.next_try is not None and now < self.next_try

    monkeypatch.setattr(Fact, "rests_at", believed)
    found("fetch-disasters", "not over", first=77)


def test_a_damaged_bar_that_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordingHotStore, "notices_damage", False)
    monkeypatch.setattr(sealing, "refuse_unsound", lambda *args: None)
    found("governance-disasters", "that never was", first=247)


def test_a_hot_store_that_outweighs_what_was_released(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hot_first(ports: Any, node: Any, window: Any, seen: Any = None) -> Any:
        return await known(ports, node, window, await ports.hot.load_opens(node, window))

    known = publish.known_bars
    monkeypatch.setattr(publish, "known_bars", hot_first)
    found("governance-disasters", "brings back an older bar", first=253)
