"""Fills that readers want, in real processes: fetched once for all, and done though readers are killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.fills import LIVE, NODE, WINDOW, read_together, settings_at, want_and_die
from support.killing import in_a_child
from support.services import RedisServer

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.server import Sandbox

READERS = 10


def candle_requests(exchange: Sandbox) -> list[str]:
    """Pages of the node's own bars; coarser ones are witnesses."""
    return [request.query for request in exchange.requests if "interval=1m" in request.query]


def drained(settings: Settings) -> None:
    """Drain until every bar is there; what the dead one held is anybody's once its time is over."""
    with sa.connect(settings) as pipeline:
        while pipeline.coverage(NODE, *WINDOW).missing:
            pipeline.drain_fills()


@pytest.mark.parametrize("shared", ["machine", "redis"])
def test_ten_processes_that_read_one_gap_fetch_it_once(
    request: pytest.FixtureRequest, exchange: Sandbox, tmp_path: Path, shared: str
) -> None:
    environment = {}
    if shared == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        environment = {"coordinator_url": server.url, "rate_limiter_redis": server.url}
    settings = settings_at(tmp_path, exchange.url, ttl_ms=120_000, **environment)
    in_a_child(read_together, tmp_path, settings, READERS).join()
    assert [(tmp_path / f"verdict-{number}").read_text() for number in range(READERS)] == ["PASS"] * READERS
    assert len(candle_requests(exchange)) == 1


SOME = [0, 2, 5]
"""Before the first call, once it is on record, in the middle."""


@pytest.mark.parametrize(
    "before_call", [*SOME, *(pytest.param(n, marks=pytest.mark.deep) for n in range(1, 16) if n not in SOME)]
)
def test_what_a_killed_reader_was_promised_is_filled_by_another(
    exchange: Sandbox, tmp_path: Path, before_call: int
) -> None:
    settings = settings_at(tmp_path, exchange.url)
    reader = in_a_child(want_and_die, tmp_path, settings, before_call)
    reader.join()
    assert reader.exitcode == -signal.SIGKILL
    if not (tmp_path / "answered").exists():
        # It was promised nothing, and whoever asks again gets it.
        with sa.connect(settings) as pipeline:
            pipeline.read(NODE, *WINDOW, context=LIVE, strategy="AUTO_BACKFILL")
    drained(settings)
    with sa.connect(settings) as pipeline:
        assert pipeline.read(NODE, *WINDOW, context=LIVE, strategy="FAIL_FAST").metadata.verdict == "PASS"
        pipeline.drain_fills()
    # A page that was on its way is asked for twice, and none more often.
    assert len(candle_requests(exchange)) <= 2


def test_a_reader_that_closes_leaves_its_fill_to_the_next_at_once(exchange: Sandbox, tmp_path: Path) -> None:
    settings = settings_at(tmp_path, exchange.url)
    with sa.connect(settings) as pipeline:
        assert pipeline.read(NODE, *WINDOW, context=LIVE, strategy="PARTIAL_FILL").metadata.rows == 0
    with sa.connect(settings) as pipeline:
        pipeline.drain_fills()
        assert pipeline.coverage(NODE, *WINDOW).missing == 0
        assert pipeline.drain_fills() == []
