"""Two versions on one store: whatever either of them does, both read what a model of the releases says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.versions import BEFORE, OtherVersion, ThisVersion, digest, unpacked

from seamless_assets.sandbox.generator import BAR
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

MONTH_END = START + 31 * DAY
DAYS = {f"2025-01-{number}": START + (number - 1) * DAY for number in (29, 30, 31)}
"""The last days of a month, which a compaction merges."""
STEP = 300
NODES = 400
"""One for each run of the machine."""
VALUES = 3
"""So many different values a day may have, so that old ones come back."""


@dataclass
class Entry:
    """A record of the log, and the value of each day that is in force after it."""

    as_of: str
    hash: str
    in_force: dict[str, int]


@dataclass
class World:
    """An exchange, and both versions on one folder of artifacts, each with a hot store of its own."""

    replay: Replay
    versions: dict[str, ThisVersion | OtherVersion]
    unused: Iterator[int] = field(default_factory=count)


def bars_of(values: dict[str, int]) -> np.ndarray:
    """Three days of bars; the value of a day shows in the volume of one bar of it."""
    bars = np.zeros(3 * DAY // STEP, BAR)
    bars["ts"] = np.arange(min(DAYS.values()), MONTH_END, STEP)
    bars["open"] = bars["close"] = 100.0 + np.arange(len(bars)) % 7
    bars["high"], bars["low"], bars["volume"] = bars["open"] + 1, bars["open"] - 1, 10.0
    for day, value in values.items():
        bars["volume"][np.searchsorted(bars["ts"], DAYS[day] + 12 * 3_600)] += value
    return bars


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("versions")
    try:
        before = unpacked(BEFORE, folder / "before")
    except LookupError as error:
        pytest.skip(f"the version before this one cannot be had: {error}")
    replay = Replay()
    symbols = [f"C{number}/USDT" for number in range(NODES)]
    for symbol in symbols:
        replay.add(symbol, "5m", bars_of({}))
    with Sandbox(now=MONTH_END + 5 * DAY, replay=replay).running() as exchange:
        other = OtherVersion(before, settings_of(exchange.url, symbols, folder, "before"))
        this = ThisVersion(settings_of(exchange.url, symbols, folder, "now"))
        yield World(replay, {"before": other, "now": this})
        other.close()
        this.close()


def settings_of(url: str, symbols: list[str], folder: Path, name: str) -> Path:
    """Settings of a version, as JSON, which is YAML."""
    path = folder / f"{name}.yaml"
    declared = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": f"sqlite:///./{name}.sqlite"},
            "state_dir": f"./state-{name}",
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
        },
        "exchanges": {
            "binance": {"base_url": url, "symbols": symbols, "timeframes": ["5m"], "start": "2025-01-01"}
        },
    }
    path.write_text(json.dumps(declared))
    return path


ANY_VERSION = st.sampled_from(["before", "now"])
ANY_DAY = st.sampled_from(sorted(DAYS))


class ReleasesMachine(RuleBasedStateMachine):
    """A node whose history the exchange corrects, and whose releases both versions make and undo."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.symbol = f"C{next(world.unused) % NODES}/USDT"
        self.node = f"ohlcv:binance:{self.symbol}:5m"
        self.served = dict.fromkeys(DAYS, 0)
        self.log: list[Entry] = []
        self.pinned: set[str] = set()
        # Content by day and value: when it was sealed, as long as its files are there.
        self.sealed: dict[tuple[str, int], int] = {}
        self.named: set[tuple[str, int]] = set()
        self.last_sealed: dict[str, int] = {}
        self.decided: dict[str, int] = {}
        self.steps = count(1)

    @property
    def in_force(self) -> dict[str, int]:
        return dict(self.log[-1].in_force) if self.log else {}

    def ask(self, version: str, call: str, **arguments: Any) -> Any:
        return self.world.versions[version].call(call, node=self.node, **arguments)

    def waiting(self, day: str) -> int | None:
        """The value of a day that waits for a release by hand."""
        found = self.last_sealed.get(day) if day in self.pinned else None
        for (of, value), at in sorted(self.sealed.items(), key=lambda item: item[1]):
            if of == day and (of, value) not in self.named and at > self.decided.get(day, 0):
                found = value
        return None if found == self.in_force.get(day) else found

    def changed(self, version: str, in_force: dict[str, int], *, sealed_now: bool = False) -> None:
        """Take note of what became of the log: the records that were there are, and at most one is new."""
        log = self.ask(version, "log")
        assert [entry["hash"] for entry in log[: len(self.log)]] == [entry.hash for entry in self.log]
        assert len(log) - len(self.log) in ([1] if in_force != self.in_force else [0, 1])
        before = self.in_force
        for entry in log[len(self.log) :]:
            assert not self.log or entry["as_of"] > self.log[-1].as_of
            self.log.append(Entry(entry["as_of"], entry["hash"], in_force))
        for day in DAYS:
            if before.get(day) != in_force.get(day):
                self.decided[day] = next(self.steps)
                value = in_force.get(day)
                if value is not None and (sealed_now or (day, value) not in self.named):
                    self.last_sealed[day] = value
                if value is not None:
                    self.named.add((day, value))

    @initialize(version=ANY_VERSION)
    def release_all(self, version: str) -> None:
        for day in DAYS:
            self.materialize(version, day)

    @rule(day=ANY_DAY, value=st.integers(0, VALUES - 1))
    def correct(self, day: str, value: int) -> None:
        self.served[day] = value
        self.world.replay.add(self.symbol, "5m", bars_of(self.served))

    @rule(version=ANY_VERSION, day=ANY_DAY)
    def materialize_again(self, version: str, day: str) -> None:
        self.materialize(version, day)

    def materialize(self, version: str, day: str) -> None:
        start, value = DAYS[day], self.served[day]
        released = self.ask(version, "materialize", start=start, end=start + DAY)
        self.sealed.setdefault((day, value), next(self.steps))
        is_held = day in self.pinned and self.in_force.get(day) != value
        assert released is not is_held
        self.changed(version, self.in_force if is_held else {**self.in_force, day: value}, sealed_now=True)

    @rule(version=ANY_VERSION, day=st.none() | ANY_DAY)
    def release_by_hand(self, version: str, day: str | None) -> None:
        waiting = {of: value for of in ([day] if day else DAYS) if (value := self.waiting(of)) is not None}
        answer = self.ask(version, "release", partition=day)
        refused = self.refusal(day, waiting)
        assert (answer["error"] if isinstance(answer, dict) else None) == refused, answer
        if refused is None:
            self.changed(version, {**self.in_force, **waiting})
            self.pinned -= waiting.keys()

    def refusal(self, day: str | None, waiting: dict[str, int]) -> str | None:
        """Why nothing is released by hand where `waiting` is what waits of `day`, or of any."""
        if day is None and len(waiting) > 1 and self.pinned & waiting.keys():
            return "ReleaseRefused"
        if waiting:
            return None
        if self.pinned if day is None else day in self.pinned:
            return "ReleaseRefused"
        is_there = self.log if day is None else day in self.in_force
        return None if is_there else "NothingReleased"

    @precondition(lambda self: self.log)
    @rule(version=ANY_VERSION, data=st.data())
    def roll_back(self, version: str, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(range(len(self.log))))
        before, wanted = self.in_force, dict(self.log[target].in_force)
        assert self.ask(version, "roll back", as_of=self.log[target].as_of) is True
        self.changed(version, wanted)
        self.pinned |= {day for day in DAYS if before.get(day) != wanted.get(day)}

    @rule(version=ANY_VERSION, day=ANY_DAY)
    def withdraw(self, version: str, day: str) -> None:
        before = self.in_force
        answer = self.ask(version, "withdraw", partition=day)
        if day not in before and day not in self.pinned:
            assert answer["error"] == "NothingReleased"
            return
        assert answer is True
        self.changed(version, {of: value for of, value in before.items() if of != day})
        self.pinned.add(day)

    @precondition(lambda self: self.log)
    @rule(version=ANY_VERSION)
    def unpin(self, version: str) -> None:
        assert self.ask(version, "unpin") is True
        self.changed(version, self.in_force)
        self.pinned.clear()

    @rule(version=ANY_VERSION)
    def compact(self, version: str) -> None:
        assert isinstance(self.ask(version, "compact"), int)
        self.changed(version, self.in_force)

    @rule(version=ANY_VERSION)
    def clean_up(self, version: str) -> None:
        wanted = {(day, value) for day in DAYS if (value := self.waiting(day)) is not None}
        assert isinstance(self.ask(version, "clean up"), int)
        self.changed(version, self.in_force)
        self.sealed = {one: at for one, at in self.sealed.items() if one in self.named | wanted}

    @precondition(lambda self: self.log)
    @rule(version=ANY_VERSION, data=st.data())
    def read(self, version: str, data: st.DataObject) -> None:
        self.hold_against_the_model(version, self.log[data.draw(st.sampled_from(range(len(self.log))))])

    @rule(version=ANY_VERSION)
    def verify(self, version: str) -> None:
        assert self.ask(version, "faults") == []

    def hold_against_the_model(self, version: str, entry: Entry) -> None:
        """Every day reads as it was released, and one that is not in force is an error."""
        for day, start in DAYS.items():
            answer = self.ask(version, "read", start=start, end=start + DAY, as_of=entry.as_of)
            if day not in entry.in_force:
                assert answer["error"] == ("CoverageMissing" if entry.in_force else "NothingReleased"), answer
                continue
            bars = bars_of(entry.in_force)
            bars = bars[(bars["ts"] >= start) & (bars["ts"] < start + DAY)]
            names = ("ts", "open", "high", "low", "close", "volume")
            assert answer == digest([np.ascontiguousarray(bars[name]) for name in names])

    def teardown(self) -> None:
        for version in self.world.versions:
            assert self.ask(version, "faults") == []
            for entry in self.log:
                self.hold_against_the_model(version, entry)


def held(world: World, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: ReleasesMachine(world),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_read_is_the_model_s(world: World) -> None:
    held(world, 10, 25)


@pytest.mark.deep
def test_every_read_of_many_histories_is_the_model_s(world: World) -> None:
    held(world, 300, 40)
