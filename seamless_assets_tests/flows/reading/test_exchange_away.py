"""Reads while an exchange is away: what stores have is judged as ever, and a refusal says what is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODE = "ohlcv:binance:BTC/USDT:1h"
HOUR = 3_600
NOW = START + 3 * DAY
WINDOWS = {"released": START, "hot": START + DAY, "unknown": START + 2 * DAY}
"""Days of which each is so known."""
PATIENT = dict.fromkeys(
    ("max_wait_storage_ms", "max_wait_backfill_ms", "max_wait_live_ms", "total_deadline_ms"), 600_000
)


@pytest.fixture(scope="module")
def pipeline() -> Iterator[sa.Seamless]:
    exchange = InMemoryExchange.serving({NODE: random_walk(START, NOW, HOUR)}, now=NOW)
    with connect_in_memory(exchange, {"partitions": {"1h": "day"}}) as opened:
        opened.materialize(NODE, START, START + DAY)
        opened.backfill(NODE, START + DAY, START + 2 * DAY)
        exchange.is_away = True
        yield opened


def expected(domain: str | None, known: str) -> str:
    """The verdict, or the error, by the words of the design."""
    if known == "released":
        return "HOLD" if domain == "live" else "PASS"  # for its age
    if domain == "live":
        return "HOLD"
    # No release holds it, and none is made while the clock that says what is settled cannot be read.
    return "CoverageMissing"


def judged(
    pipeline: sa.Seamless, context: sa.ComputeContext | None, strategy: str | None, start: int
) -> tuple[str, str]:
    """The verdict of a read, or the error that refused it, and its sentence."""
    try:
        found = pipeline.read(NODE, start, start + DAY, context, strategy, PATIENT).metadata
    except sa.errors.ReadRefused as refused:
        return type(refused).__name__, str(refused)
    return found.verdict, ""


@pytest.mark.parametrize("known", list(WINDOWS))
@pytest.mark.parametrize("strategy", [None, "FAIL_FAST", "AUTO_BACKFILL", "PARTIAL_FILL", "SEAMLESS"])
@pytest.mark.parametrize("domain", [None, "backtest", "dryrun", "live"])
def test_no_read_raises_what_the_exchange_does(
    pipeline: sa.Seamless, domain: Any, strategy: str | None, known: str
) -> None:
    bound = None if domain == "live" else pipeline.releases(NODE)[-1].as_of
    context = sa.ComputeContext(f"{strategy} {known}", domain, bound) if domain else None
    start, wanted = WINDOWS[known], expected(domain, known)
    verdict, told = judged(pipeline, context, strategy, start)
    assert verdict == wanted
    if verdict == "CoverageMissing":
        is_asked = domain == "dryrun" or (domain is None and strategy not in (None, "FAIL_FAST"))
        assert ("is away" in told) is is_asked
    if context is not None and domain == "dryrun":
        session = pipeline.session(context.world_id, domain, bound)
        assert session.state(NODE) == ("ACTIVE" if wanted == "PASS" else "HOLD")
        assert session.verdicts(NODE)[-1].verdict == ("PASS" if wanted == "PASS" else "REJECT")
