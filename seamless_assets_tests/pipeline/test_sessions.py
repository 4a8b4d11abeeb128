"""Sessions of worlds on a real pipeline: an as_of never goes back, holds end, dry runs repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.errors import (
    AsOfRegression,
    AsOfRequired,
    CoverageMissing,
    InvalidInput,
    NothingReleased,
    SeamlessError,
    SeamlessSLAExceeded,
)
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1h"


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    declared = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": START}
    return settings_for({"binance": declared}, partitions={"1h": "day"})


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[sa.Seamless]:
    with sa.connect(settings) as opened:
        yield opened


def corrected(exchange: Sandbox, pipeline: sa.Seamless, day: int) -> str:
    """Release a day; with another seed a moment later its bars are others."""
    report = pipeline.materialize(NODE, START + day * DAY, START + (day + 1) * DAY)
    assert report.released and report.as_of
    return report.as_of


def test_an_as_of_never_goes_back_through_restarts_and_only_a_pin_sets_it_back(
    exchange: Sandbox, pipeline: sa.Seamless, settings: Settings
) -> None:
    first, second = corrected(exchange, pipeline, 0), corrected(exchange, pipeline, 1)
    world = pipeline.session(world_id="w1")
    assert world.as_of(NODE) == second
    third = corrected(exchange, pipeline, 2)
    # What was released since is not seen until the session moves.
    assert world.as_of(NODE) == second and world.advance(NODE) == third
    with pytest.raises(AsOfRegression, match="pin"):
        world.advance(NODE, first)
    with sa.connect(settings) as again:
        assert again.session(world_id="w1").as_of(NODE) == third
        back = again.read(NODE, limit=3, context=sa.ComputeContext("w1", "live", first))
        assert back.metadata.verdict == "HOLD"
        assert any(reason.startswith("as_of_regression") for reason in back.metadata.reasons)
        assert again.session(world_id="other").as_of(NODE) == third
    assert world.pin(NODE, first, reason="the second day is doubtful") == first
    pinned = world.read(NODE, START, START + DAY)
    assert pinned.metadata.as_of == first and any("doubtful" in text for text in pinned.metadata.reasons)
    # A pin holds the session, whatever is released; lifted, the session moves on from there.
    assert world.advance(NODE) == first
    for later in (second, third):
        with pytest.raises(InvalidInput, match="doubtful"):
            world.advance(NODE, later)
    assert world.advance(NODE, first) == first == pipeline.session(world_id="w1", as_of=third).as_of(NODE)
    world.unpin(NODE)
    assert world.advance(NODE) == third
    with pytest.raises(InvalidInput, match="reason"):
        world.pin(NODE, first, reason=" ")


def test_a_live_session_holds_while_bars_are_late_and_returns_by_itself(
    exchange: Sandbox, pipeline: sa.Seamless, caplog: pytest.LogCaptureFixture
) -> None:
    world = pipeline.session(world_id="w1", max_lag=1e12, sla="baseline")
    caplog.set_level("INFO", "seamless_assets")
    exchange.faults.add(Fault("status", code=500, times=None))
    window = (START + 5 * DAY, START + 6 * DAY)
    held = world.read(NODE, *window, strategy="AUTO_BACKFILL")
    assert held.metadata.verdict == "HOLD" and world.state(NODE) == "HOLD"
    (failed,) = [reason for reason in held.metadata.reasons if reason.startswith("fill_failed")]
    # Times are told as people read them.
    assert not re.search(r"\d{10}", failed)
    exchange.faults.clear()
    assert world.read(NODE, *window, strategy="AUTO_BACKFILL").metadata.verdict == "PASS"
    assert world.state(NODE) == "ACTIVE"
    assert [change.verdict for change in world.verdicts(NODE)] == ["HOLD", "PASS"]
    names = [record.event["event"] for record in caplog.records if "event" in record.__dict__]  # type: ignore[attr-defined]
    assert [name for name in names if name.startswith("session_")] == [
        "session_downgraded",
        "session_restored",
    ]


def test_a_dry_run_serves_what_it_published_from_then_on(exchange: Sandbox, pipeline: sa.Seamless) -> None:
    bound = corrected(exchange, pipeline, 0)
    dry = pipeline.session(world_id="w1", domain="dryrun", as_of=bound)
    window = (START + DAY, START + 2 * DAY)
    with pytest.raises(CoverageMissing):
        dry.read(NODE, *window, strategy="FAIL_FAST")
    made = dry.read(NODE, *window, strategy="AUTO_BACKFILL")
    assert made.metadata.verdict == "PASS" and made.metadata.source == "artifacts"
    assert (made.metadata.requested_as_of, made.metadata.as_of) == (bound, pipeline.releases(NODE)[-1].as_of)
    corrected(exchange, pipeline, 2)
    for strategy in ("FAIL_FAST", "SEAMLESS"):
        again = dry.read(NODE, *window, strategy=strategy)
        assert again.metadata.as_of == made.metadata.as_of and again.to_arrow().equals(made.to_arrow())
    # What another world published is not this one's.
    other = pipeline.session(world_id="w2", domain="dryrun", as_of=bound)
    with pytest.raises(CoverageMissing):
        other.read(NODE, START + 3 * DAY, START + 4 * DAY, strategy="FAIL_FAST")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"domain": "backtest"}, AsOfRequired),
        ({"domain": "dryrun"}, AsOfRequired),
        ({"domain": "paper"}, InvalidInput),
        ({"world_id": ""}, InvalidInput),
        ({"sla": "basline"}, InvalidInput),
        ({"sla": {"total_deadline": 5}}, InvalidInput),
        ({"as_of": "yesterday"}, InvalidInput),
    ],
)
def test_what_a_session_cannot_be_is_refused_at_once(
    pipeline: sa.Seamless, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        pipeline.session(**arguments)


@pytest.mark.parametrize("strategy", [None, "FAIL_FAST", "AUTO_BACKFILL"])
@pytest.mark.parametrize("domain", [None, "dryrun", "live"])
def test_a_misspelt_node_learns_the_nearest_declared_one(
    pipeline: sa.Seamless, domain: Any, strategy: str | None
) -> None:
    as_of = START if domain == "dryrun" else None
    context = sa.ComputeContext(domain=domain, as_of=as_of) if domain else None  # type: ignore[arg-type]
    asked = ("ohlcv:binance:BTC/USTD:1h", START, START + DAY)
    try:
        told = str(pipeline.read(*asked, context=context, strategy=strategy, sla="baseline").metadata.reasons)
    except (NothingReleased, CoverageMissing) as refused:
        told = str(refused)
    assert "did you mean ohlcv:binance:BTC/USDT:1h?" in told
    # Why a fill came to nothing is told too.
    assert ("UnknownSymbol" in told) is (strategy == "AUTO_BACKFILL")


def test_a_session_sees_what_was_released_when_it_was_made_and_not_when_it_is_first_used(
    exchange: Sandbox, pipeline: sa.Seamless
) -> None:
    first = corrected(exchange, pipeline, 0)
    clock = pipeline.aio.ports.clock
    released = clock.now
    # Releases are dated by the exchange, which stands still; the session is made at just that time.
    clock.now = lambda: epoch_micros(first, "as_of") / 1_000_000  # type: ignore[method-assign]
    world = pipeline.session(world_id="w1")
    clock.now = released  # type: ignore[method-assign]
    second = corrected(exchange, pipeline, 1)
    assert second > first and world.as_of(NODE) == first


def test_a_pin_holds_against_reads_that_name_another_release(
    exchange: Sandbox, pipeline: sa.Seamless
) -> None:
    as_ofs = [corrected(exchange, pipeline, day) for day in range(3)]
    world = pipeline.session(world_id="w1", max_lag=1e12)
    world.pin(NODE, as_ofs[1], reason="a doubt")
    for as_of, verdict, code in zip(
        as_ofs, ("HOLD", "PASS", "HOLD"), ("as_of_regression", "pinned", "pinned"), strict=True
    ):
        context = sa.ComputeContext("w1", "live", as_of, max_lag=1e12)
        metadata = pipeline.read(
            NODE, START, START + DAY, context, strategy="FAIL_FAST", sla="baseline"
        ).metadata
        assert (metadata.verdict, metadata.reasons[0].split(":")[0]) == (verdict, code)
        assert sum(reason.startswith("pinned:") for reason in metadata.reasons) == 1
    assert world.as_of(NODE) == as_ofs[1]


def test_a_refused_read_is_a_verdict_of_its_session_and_is_counted(
    exchange: Sandbox, pipeline: sa.Seamless, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "seamless_assets")
    bound = corrected(exchange, pipeline, 0)
    world = pipeline.session(world_id="w1", max_lag=1e12)
    exchange.faults.add(Fault("delay", seconds=2.0, times=None))
    sla = {"max_wait_backfill_ms": 50, "on_violation": "FAIL_FAST"}
    with pytest.raises(SeamlessSLAExceeded):
        world.read(NODE, START + DAY, START + 2 * DAY, strategy="AUTO_BACKFILL", sla=sla)
    exchange.faults.clear()
    last = world.verdicts(NODE)[-1]
    assert (last.verdict, last.as_of, world.state(NODE)) == ("REJECT", bound, "HOLD")
    assert last.reasons[0].startswith("sla_exceeded: ")
    events = [record.event for record in caplog.records if "event" in record.__dict__]  # type: ignore[attr-defined]
    (read,) = [event for event in events if event["event"] == "read"]
    assert read["violations"] == ("backfill_wait",) and read["coverage_ratio"] is None
    (fall,) = [event for event in events if event["event"] == "session_downgraded"]
    assert (fall["as_of"], fall["after"]) == (bound, "HOLD")
    assert world.read(NODE, START, START + DAY, sla="baseline").metadata.verdict == "PASS"
    assert world.state(NODE) == "ACTIVE"


@pytest.mark.parametrize("domain", ["backtest", "dryrun"])
def test_sessions_of_the_past_keep_their_verdicts_too(
    exchange: Sandbox, pipeline: sa.Seamless, domain: Any
) -> None:
    as_of = corrected(exchange, pipeline, 0)
    with pipeline.session("w9", domain, as_of=as_of) as world:
        world.read(NODE, START, START + DAY, strategy="FAIL_FAST")
        with pytest.raises(SeamlessError):
            world.read(NODE, START + 2 * DAY, START + 3 * DAY, strategy="FAIL_FAST")
        assert world.state(NODE) == "HOLD"
        world.read(NODE, START, START + DAY, strategy="FAIL_FAST")
        assert world.state(NODE) == "ACTIVE"
        verdicts = [change.verdict for change in world.verdicts(NODE)]
        assert verdicts == ["PASS", "REJECT", "PASS"]
    # Another as_of is another session, and so is a plain read of a backtest.
    context = sa.ComputeContext("w9", domain, as_of)
    with pytest.raises(SeamlessError):
        pipeline.read(NODE, START + 2 * DAY, START + 3 * DAY, context=context, strategy="FAIL_FAST")
    assert world.state(NODE) == ("ACTIVE" if domain == "backtest" else "HOLD")


@pytest.mark.parametrize("by", ["as_of", "a later instant", "dataset_fingerprint", "nothing"])
@pytest.mark.parametrize("is_warm", [True, False])
def test_a_refusal_of_the_past_names_the_release_that_it_was_bound_to(
    pipeline: sa.Seamless, exchange: Sandbox, caplog: pytest.LogCaptureFixture, by: str, is_warm: bool
) -> None:
    caplog.set_level("INFO", "seamless_assets")
    as_of = corrected(exchange, pipeline, 0)
    corrected(exchange, pipeline, 1)
    first = pipeline.releases(NODE)[0]
    known = {"as_of": as_of, "dataset_fingerprint": first.dataset_fingerprint}
    bound: dict[str, Any] = {
        "as_of": {"as_of": as_of},
        "a later instant": {"as_of": epoch_micros(as_of, "as_of") / 1_000_000 + 0.000001},
        "dataset_fingerprint": {"dataset_fingerprint": first.dataset_fingerprint},
        "nothing": {"dataset_fingerprint": "sha256:" + "0" * 64},
    }[by]
    context = sa.ComputeContext("w1", "dryrun", **bound)
    if is_warm and by != "nothing":
        pipeline.read(NODE, START, START + DAY, context, strategy="FAIL_FAST", sla="baseline")
    with pytest.raises((CoverageMissing, NothingReleased)):
        pipeline.read(NODE, START + 3 * DAY, START + 4 * DAY, context, strategy="FAIL_FAST", sla="baseline")
    events = [record.event for record in caplog.records if "event" in record.__dict__]  # type: ignore[attr-defined]
    (fall,) = [event for event in events if event["event"] == "session_downgraded"]
    if by == "nothing":
        known = {"as_of": None, "dataset_fingerprint": bound["dataset_fingerprint"]}
    assert {name: fall[name] for name in known} == known
