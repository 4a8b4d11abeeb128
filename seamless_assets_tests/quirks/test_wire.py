"""What breaks on the way: quirks 15, 21, 23 to 25 and 27, each fault on each venue through real ccxt."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from quirks.conftest import NOW, Stage
from quirks.test_pages import CANDLES, VENUES

from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S
from seamless_assets.sandbox.faults import Fault
from seamless_assets.testing import DAY, START

HOUR = 3_600
Staged = Callable[..., Stage]
ALL_VENUES = {**VENUES, "kraken": "BTC/USD"}
FAULTS = {
    "429": {"kind": "status", "code": 429},
    "418": {"kind": "status", "code": 418, "retry_after": 0.2},
    "503": {"kind": "status", "code": 503},
    "html": {"kind": "html"},
    "truncated": {"kind": "truncated"},
    "reset": {"kind": "reset"},
}
QUICK = {"backfill": {"retry_backoff_ms": 1, "max_attempts": 3}}
HUNG_MS = 3_000


def stage_of(staged: Staged, venue: str, **more: object) -> tuple[Stage, str, int]:
    symbol = ALL_VENUES[venue]
    stage = staged({venue: [symbol]}, seamless=QUICK, per_exchange=more)
    return stage, f"ohlcv:{venue}:{symbol}:1m", NOW - 6 * HOUR


@pytest.mark.parametrize(("venue", "fault"), [(venue, fault) for venue in ALL_VENUES for fault in FAULTS])
def test_23_to_25_a_passing_fault_costs_nothing_but_time(staged: Staged, venue: str, fault: str) -> None:
    stage, node, start = stage_of(staged, venue)
    stage.exchange.faults.add(Fault(path=CANDLES[venue], times=2, **FAULTS[fault]))  # type: ignore[arg-type]
    report = stage.backfill(node, start, NOW)
    assert report.problems == () and report.coverage.missing == 0
    assert stage.exchange.faults.as_records() == []


@pytest.mark.parametrize(
    ("venue", "fault"),
    [
        *(("binance", fault) for fault in FAULTS),
        *((v, f) for v in ("kraken", "bybit") for f in ("429", "html", "reset")),
    ],
)
def test_23_to_25_a_lasting_fault_ends_in_what_is_missing_and_why(
    staged: Staged, venue: str, fault: str
) -> None:
    stage, node, start = stage_of(staged, venue)
    stage.exchange.faults.add(Fault(path=CANDLES[venue], times=None, **FAULTS[fault]))  # type: ignore[arg-type]
    report = stage.backfill(node, start, NOW)
    assert report.coverage.missing == 360 and stage.reasons(node, start, NOW) == {"missing": 360}
    assert report.problems and all(node in problem for problem in report.problems)


@pytest.mark.parametrize("venue", ["binance", "okx"])
def test_23_a_hung_socket_is_given_up_and_asked_again(staged: Staged, venue: str) -> None:
    stage, node, start = stage_of(staged, venue, timeout_ms=HUNG_MS)
    stage.exchange.faults.add(Fault("hang", path=CANDLES[venue], times=1))
    report = stage.backfill(node, start, NOW)
    assert report.problems == () and report.coverage.missing == 0


@pytest.mark.parametrize("venue", ALL_VENUES)
def test_an_exchange_that_is_wholly_away_is_reported_and_not_raised(staged: Staged, venue: str) -> None:
    stage, node, start = stage_of(staged, venue)
    stage.exchange.faults.add(Fault("status", code=503, times=None))
    report = stage.backfill(node, start, NOW)
    assert report.coverage.missing == 360 and "markets" in report.problems[0]


def test_15_retry_after_is_waited_for(staged: Staged) -> None:
    stage, node, start = stage_of(staged, "binance")
    stage.exchange.faults.add(Fault("status", path="klines", code=429, retry_after=1.2, times=1))
    began = time.monotonic()
    assert stage.backfill(node, start, NOW).problems == ()
    assert time.monotonic() - began >= 1.2


def test_15_a_ban_of_hours_is_not_waited_out(staged: Staged) -> None:
    stage, node, start = stage_of(staged, "binance")
    stage.exchange.faults.add(Fault("status", path="klines", code=418, retry_after=7_200, times=None))
    report = stage.backfill(node, start, NOW)
    assert report.coverage.missing == 360 and "DDoSProtection" in " ".join(report.problems)
    # The window lies in two chunks, which are asked for side by side.
    assert stage.asked("klines") <= 2
    asked = stage.asked("")
    later = stage.backfill(node, NOW - 9 * HOUR, NOW)
    assert stage.asked("") == asked and "without requests" in later.problems[0]


@pytest.mark.parametrize("seconds", [float("inf"), 999_999_999_999.0])
def test_15_no_ban_is_believed_to_last_for_ever(staged: Staged, seconds: float) -> None:
    stage, node, start = stage_of(staged, "binance")
    stage.exchange.faults.add(
        Fault("status", path="klines", code=429, headers={"Retry-After": f"{seconds}"}, times=None)
    )
    stage.backfill(node, start, NOW)
    problems = " ".join(stage.backfill(node, NOW - 9 * HOUR, NOW).problems)
    (left,) = {int(found) for found in re.findall(r"asks for (\d+) s without requests", problems)}
    assert 0 < left <= LONGEST_COOL_DOWN_S


@pytest.mark.parametrize("venue", ALL_VENUES)
def test_21_one_client_serves_many_nodes_at_once(staged: Staged, venue: str) -> None:
    symbol = ALL_VENUES[venue]
    stage = staged({venue: [symbol]}, timeframes=("1m", "5m", "1h"))
    nodes = [f"ohlcv:{venue}:{symbol}:{frame}" for frame in ("1m", "5m", "1h") for _ in range(3)]

    async def all_at_once() -> list[int]:
        import asyncio

        done = await asyncio.gather(
            *(stage.pipeline.aio.backfill(node, NOW - DAY / 4, NOW) for node in nodes)
        )
        return [report.coverage.missing for report in done]

    import asyncio

    assert asyncio.run(all_at_once()) == [0] * 9
    lists = [
        request for request in stage.exchange.requests if "symbols" in request.path or "Info" in request.path
    ]
    assert len({(request.path, request.query) for request in lists}) == len(lists)


def test_27_pages_are_paced_by_the_shared_budget_and_not_by_ccxt(staged: Staged) -> None:
    """ccxt alone would ask kraken once a second; twelve questions are asked in less."""
    stage, node, _ = stage_of(staged, "kraken")
    began = time.monotonic()
    for frame in ("1m", "5m", "15m", "1h"):
        stage.backfill(node.replace("1m", frame), NOW - DAY / 4, NOW)
    stamps = [request.at for request in stage.exchange.requests]
    assert len(stamps) >= 8 and max(stamps) - min(stamps) < len(stamps) - 1
    assert time.monotonic() - began < 60


def test_secrets_are_never_shown(staged: Staged) -> None:
    secret = "s3cret-K3y"
    stage, node, start = stage_of(staged, "binance", api_key=secret, secret=secret)
    stage.exchange.faults.add(Fault("status", path="klines", code=503, times=None))
    report = stage.backfill(node, start, NOW)
    assert secret not in repr(report) and secret not in repr(stage.pipeline.settings)
    assert start > START
