"""Bugs planted into the feeds of streams: the simulation must find each within the seeds that it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from seamless_assets.core.live import cursor as cursors
from seamless_assets.core.live.cursor import Place, write_cursor
from seamless_assets.core.live.events import Event
from seamless_assets.core.live.feed import finality
from seamless_assets.core.live.feed.finality import FinalityJudge
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.sequence import Sequencer
from seamless_assets_tests.simulation.test_planted import found

FORMING = ("values that they never had when closed", "values that it never had when closed")


def test_a_first_snapshot_that_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FinalityJudge._begin

    def believe(self: FinalityJudge, update: CandleUpdate) -> None:
        real(self, update)
        self._first_message = -1

    monkeypatch.setattr(FinalityJudge, "_begin", believe)
    found("streams", *FORMING, first=16)


def test_a_mark_that_is_believed_before_the_bar_has_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(self: FinalityJudge, update: CandleUpdate, now: float) -> None:
        self._open[update.ts] = finality._Candle(
            update.values, now, bool(update.is_closed), is_unmarked=False
        )

    monkeypatch.setattr(FinalityJudge, "_note", believe)
    found("streams", *FORMING, "was told before it closed", first=20)


def test_silence_that_makes_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FinalityJudge._final_at

    def silent(self: FinalityJudge, ts: int) -> float | None:
        at, end = real(self, ts), self._frame.shift(ts, 1)
        return at if at is not None or ts < self._whole_from else end + finality.SETTLE_S

    monkeypatch.setattr(FinalityJudge, "_final_at", silent)
    found("streams", *FORMING, first=57)


def test_disorder_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finality, "SETTLE_S", 0.0)
    found("streams", *FORMING, first=190)


def test_a_cursor_that_forgets_what_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(positions: Mapping[str, Position]) -> str:
        return write_cursor({name: replace(own, unstored=None) for name, own in positions.items()})

    monkeypatch.setattr(cursors, "write_cursor", forgetful)
    found("streams", "its cursor does not say so", first=8)


def test_a_correction_of_what_was_not_stored_that_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Sequencer._reconciled

    def silent(self: Sequencer) -> Iterator[Event]:
        list(real(self))
        return iter(())

    monkeypatch.setattr(Sequencer, "_reconciled", silent)
    found("streams", "were corrected, and that was not told", first=288)


def test_a_cursor_that_runs_ahead_of_what_was_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Sequencer._place

    def ahead(self: Sequencer) -> Place:
        place = real(self)
        return replace(place, own=replace(place.own, upto=self._frame.shift(place.own.upto, 1)))

    monkeypatch.setattr(Sequencer, "_place", ahead)
    found("streams", "were never told", "corrects what was not told", first=14)
