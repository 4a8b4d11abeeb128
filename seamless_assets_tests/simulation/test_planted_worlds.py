"""Bugs planted in what worlds are served: the simulation must find each within the seeds that CI runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seamless_assets.core.reading.cache import CacheKey
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.flows.reading import answer, blended, gather, published, read, sessions
from seamless_assets.flows.reading.gather import gather_blended
from seamless_assets_tests.simulation.test_planted import found


def test_a_session_that_is_served_the_newest_release(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sessions.bind_live

    async def newest(ports: Any, request: Any, context: Any) -> Any:
        return await real(ports, replace(request, keeps_as_of=False), context)

    monkeypatch.setattr(read, "bind_live", newest)
    found("worlds", "by a read of its session")


def test_a_session_that_follows_whatever_it_was_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(record: Any, as_of: str | None, fingerprint: str | None) -> Any:
        return record if as_of is None else replace(record, as_of=as_of, dataset_fingerprint=fingerprint)

    monkeypatch.setattr(sessions, "advance", follow)
    found("worlds", "went back from", "by a read of its session")


def test_a_verdict_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real, kept = answer.judge, {}

    def judge(evidence: Any) -> Any:
        return kept.setdefault((evidence.domain, evidence.as_of, evidence.expected), real(evidence))

    monkeypatch.setattr(answer, "judge", judge)
    found("worlds", "PASS, and", "PARTIAL, and", "is held although")


def test_a_hold_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sessions.observe

    def stay(record: Any, *args: Any) -> Any:
        return record if record.state == "HOLD" else real(record, *args)

    monkeypatch.setattr(sessions, "observe", stay)
    found("worlds", "is held although nothing is wrong")


def test_a_dry_run_that_is_served_what_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hot_too(ports: Any, node: Any, window: Any, layers: Any) -> Any:
        return await gather_blended(ports, node, window, layers[-1], None), layers[-1]

    monkeypatch.setattr(published, "gather_layered", hot_too)
    monkeypatch.setattr(published, "refuse_uncovered", lambda *args: None)
    found("worlds", "in no release that it is bound to or made", "now")


def test_a_cache_that_knows_no_as_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def unbound(**args: Any) -> CacheKey:
        return CacheKey(**{**args, "as_of": "", "dataset_fingerprint": ""})

    monkeypatch.setattr(gather, "CacheKey", unbound)
    found("worlds", "other bars than released", "reads otherwise than it was", "in no release", "and is")


def test_a_live_read_that_leaves_released_bars_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hot_first(ports: Any, node: Any, window: Any, snapshot: Any, context: Any) -> Gathered:
        fewer = replace(snapshot, artifacts=snapshot.artifacts[1:])
        return await gather_blended(ports, node, window, fewer, context)

    monkeypatch.setattr(blended, "gather_blended", hot_first)
    found("worlds", "left out", "neither released nor true")
