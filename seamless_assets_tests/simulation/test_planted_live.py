"""Bugs planted into the live stream: the simulation must find each of them within the seeds that CI runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.sequence import Sequencer
from seamless_assets.flows.live import look
from seamless_assets.flows.live.follow import Follower
from seamless_assets_tests.simulation.test_planted import found


def test_a_cursor_that_runs_ahead_of_what_was_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Sequencer._place

    def ahead(self: Sequencer) -> Place:
        place = real(self)
        return replace(place, own=replace(place.own, upto=self._frame.shift(place.own.upto, 1)))

    monkeypatch.setattr(Sequencer, "_place", ahead)
    found("live", "were never told", "corrects what was not told")


def test_silence_that_is_taken_for_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sequencer, "_is_decided", lambda *args: True)
    found("live", "silence is no proof")


def test_a_forming_bar_that_is_taken_for_a_closed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Follower._ask_clock

    async def early(self: Follower) -> None:
        await real(self)
        self.closed = self.node.timeframe.shift(self.closed, 1)

    monkeypatch.setattr(Follower, "_ask_clock", early)
    found("live", "was told before it closed", "values that they never had when closed")


def test_corrections_that_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Position.without_old
    monkeypatch.setattr(Position, "without_old", lambda self, frame: replace(real(self, frame), revised=()))
    found("live", "was told twice")


def test_corrections_that_nobody_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "OVERLAP_BARS", 0)
    found("live", "were corrected, and that was not told", "ValueError", "never told")


def test_bars_in_an_order_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Sequencer._new

    def reversed_pairs(self: Sequencer) -> Iterator[Any]:
        events = list(real(self))
        for at in range(0, len(events), 2):
            yield from reversed(events[at : at + 2])

    monkeypatch.setattr(Sequencer, "_new", reversed_pairs)
    found("live", "is out of order")
