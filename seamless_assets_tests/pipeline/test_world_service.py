"""Live reads under a world service: what it decides holds for its time, and silence is never live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

import seamless_assets as sa
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.core.worlds.decision import Decision, parse_decision
from seamless_assets.errors import WorldServiceUnavailable
from seamless_assets.flows.worlds.decisions import Decisions
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, ManualClock

NODE = "ohlcv:binance:BTC/USDT:1h"
LIVE = sa.ComputeContext(world_id="a world/1", domain="live", max_lag=1e12)
PATIENT = {"total_deadline_ms": 60_000, "max_wait_live_ms": 20_000, "max_wait_storage_ms": 20_000}
SOUND = {"effective_mode": "live", "reason": "all well", "as_of": None, "ttl": "300s", "etag": "e1"}


@dataclass
class Service:
    """A world service that answers what a test says, and remembers what it was asked."""

    answer: Any = field(default_factory=lambda: dict(SOUND))
    status: int = 200
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    async def decide(self, request: web.Request) -> web.Response:
        known = request.headers.get("If-None-Match", "")
        self.asked.append((request.match_info["world"], request.query.get("as_of", ""), known))
        if isinstance(self.answer, str):
            return web.Response(text=self.answer, status=self.status, content_type="text/html")
        if known and known == f'"{self.answer.get("etag")}"':
            return web.Response(status=304)
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
def service() -> Iterator[Service]:
    running, loop = Service(), asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/api/worlds/{world}/decide", running.decide)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        running.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield running
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def pipeline(exchange: Sandbox, service: Service, tmp_path: Any) -> Iterator[sa.Seamless]:
    settings = settings_from_mapping(
        {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "sla": {
                    "total_deadline_ms": 60_000,
                    "max_wait_live_ms": 20_000,
                    "max_wait_storage_ms": 20_000,
                },
                "partitions": {"1h": "day"},
            },
            "exchanges": {
                "binance": {
                    "base_url": exchange.url,
                    "symbols": ["BTC/USDT"],
                    "timeframes": ["1h"],
                    "start": START,
                }
            },
            "environment": {"world_service_url": service.url},
        },
        base=tmp_path,
        environ={},
    )
    with sa.connect(settings) as opened:
        opened.materialize(NODE, START, START + DAY)
        yield opened


def read(pipeline: sa.Seamless) -> sa.ReadMetadata:
    return pipeline.read(NODE, START, START + DAY, context=LIVE, strategy="FAIL_FAST").metadata


@pytest.mark.parametrize(
    ("mode", "verdict", "domain", "code"),
    [
        ("live", "PASS", "live", None),
        ("paper", "PASS", "dryrun", "world_decision"),
        ("shadow", "PASS", "dryrun", "world_decision"),
        ("compute-only", "HOLD", "live", "world_decision"),
        ("validate", "HOLD", "live", "world_decision"),
    ],
)
def test_each_mode_leads_where_it_should(
    pipeline: sa.Seamless, service: Service, mode: str, verdict: str, domain: str, code: str | None
) -> None:
    service.answer = {**SOUND, "effective_mode": mode, "reason": "because"}
    metadata = read(pipeline)
    assert (metadata.verdict, metadata.domain) == (verdict, domain)
    assert [reason.split(":")[0] for reason in metadata.reasons] == ([code] if code else [])
    assert all("because" in reason for reason in metadata.reasons)
    assert service.asked[0][0] == "a world/1"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("<html>down</html>", 200),
        ("", 200),
        (SOUND, 500),
        (SOUND, 404),
        ({}, 200),
        ({**SOUND, "effective_mode": "LIVE"}, 200),
        ({**SOUND, "effective_mode": ["live"]}, 200),
        ({**SOUND, "ttl": 300}, 200),
        ({**SOUND, "ttl": "-1s"}, 200),
        ({**SOUND, "reason": 5}, 200),
        ({**SOUND, "as_of": "soon"}, 200),
        ({**SOUND, "reason": "x" * 100_000}, 200),
    ],
)
def test_an_answer_that_is_no_decision_is_never_live(
    pipeline: sa.Seamless, service: Service, answer: Any, status: int
) -> None:
    service.answer, service.status = answer, status
    metadata = read(pipeline)
    assert metadata.verdict == "HOLD" and metadata.reasons[0].startswith("decision_unavailable: ")
    # It returns by itself.
    service.answer, service.status = SOUND, 200
    assert read(pipeline).verdict == "PASS"


def test_an_unchanged_decision_is_known_by_its_etag_and_backtests_ask_nobody(
    pipeline: sa.Seamless, service: Service
) -> None:
    service.answer = {**SOUND, "ttl": "0s"}
    # The first read binds the session, so the service is asked of another as_of from the second on.
    assert [read(pipeline).verdict for _ in range(3)] == ["PASS"] * 3
    assert [known for _, _, known in service.asked][-1] == '"e1"'
    asked = len(service.asked)
    pipeline.read(NODE, START, START + DAY)
    assert len(service.asked) == asked


async def test_a_decision_holds_for_its_time_and_not_a_moment_longer() -> None:
    clock, asked = ManualClock(), []

    class Counting:
        is_away = False

        async def decide(self, world_id: str, as_of: str | None, known: Decision | None) -> Decision:
            asked.append(world_id)
            if self.is_away:
                raise WorldServiceUnavailable("away")
            return parse_decision(SOUND)

    service = Counting()
    decisions = Decisions(service, clock)
    many = await asyncio.gather(*(decisions.in_force("w", None) for _ in range(20)))
    assert {decision.mode for decision in many} == {"live"} and asked == ["w"]
    service.is_away = True
    clock.advance(299.0)
    assert (await decisions.in_force("w", None)).mode == "live" and asked == ["w"]
    clock.advance(1.0)
    late = await decisions.in_force("w", None)
    assert late.mode == "compute-only" and late.reason.startswith("decision_unavailable")
    # A clock that was set back makes it no younger.
    clock.advance(-1_000.0)
    assert (await decisions.in_force("w", None)).mode == "compute-only"
