"""What the service holds at the moment of a scrape: streams, requests, leases, sessions, fills, frames."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from service.conftest import NODE, TOKENS

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SessionStoreError
from seamless_assets.metrics import levels
from seamless_assets.metrics.levels import Levels
from seamless_assets.metrics.recording import Sample
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.pipeline.wiring.metrics import scrape
from seamless_assets.service.app import service_app
from seamless_assets.testing import DAY, START


def shown(text: str) -> dict[str, float]:
    """The samples of a scrape by their series."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


async def test_a_scrape_shows_what_is_held(
    pipeline: Seamless, make_leases: Callable[[], MachineLeases], tmp_path: Path
) -> None:
    held = Levels()
    app = service_app(pipeline, make_leases(), lambda: scrape(tmp_path / "m.sqlite", held=held), held=held)
    transport = httpx.ASGITransport(app)
    node, later = NodeId.parse(NODE), Segment(START + DAY, START + 2 * DAY)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
        before = shown((await ask.get("/metrics")).text)
        await ask.post("/v1/leases/claim", json={"key": "k", "lease_ms": 60_000})
        await ask.post("/v1/sessions/bind", json={"node": NODE, "world_id": "levels"})
        await ask.get("/v1/history", params={"node": NODE, "start": START, "end": START + 3_600})
        await pipeline.aio.portal.do(lambda ports: ports.fill_queue.add(node, later, 60.0))
        after = shown((await ask.get("/metrics")).text)
        await pipeline.aio.portal.do(lambda ports: ports.fill_queue.remove(node, later))
    grown = {
        series.removeprefix("seamless_"): value - before.get(series, 0.0) for series, value in after.items()
    }
    assert grown["leases_held"] == grown["sessions_remembered"] == grown["fills_wanted"] == 1
    assert after["seamless_cache_frames"] >= 1 and after["seamless_cache_bytes"] > 2_000
    assert after["seamless_webhook_messages_waiting"] == 0
    # The scrape itself is under way.
    assert after['seamless_requests_open{client="anybody"}'] == 1


async def test_streams_are_shown_by_bearer_while_they_last(
    pipeline: Seamless, make_leases: Callable[[], MachineLeases], tmp_path: Path
) -> None:
    held = Levels()
    settings = ServiceSettings.model_validate(
        {"tokens": {"bot": {"sha256": hash_of(TOKENS["reader"]), "scopes": ["read"]}}}
    )
    app = service_app(
        pipeline, make_leases(), lambda: scrape(tmp_path / "m.sqlite", held=held), settings, held=held
    )
    begun, gone = asyncio.Event(), asyncio.Event()

    async def receive() -> Any:
        if begun.is_set():
            await gone.wait()
            return {"type": "http.disconnect"}
        begun.set()
        return {"type": "http.request", "body": b"", "more_body": False}

    told: asyncio.Queue[Any] = asyncio.Queue()
    token = TOKENS["reader"].encode()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": f"nodes={NODE}".encode(),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + token)],
    }

    async def open_streams() -> float:
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {TOKENS['reader']}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
            return shown((await ask.get("/metrics", headers=headers)).text).get(
                'seamless_streams_open{client="bot"}', 0.0
            )

    assert await open_streams() == 0
    streaming = asyncio.create_task(app(scope, receive, told.put))
    assert (await told.get())["status"] == 200
    assert await open_streams() == 1
    gone.set()
    await streaming
    assert await open_streams() == 0


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def test_what_is_away_or_hangs_is_not_shown_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "PATIENCE_S", 0.02)
    held = Levels()

    async def away() -> list[Sample]:
        raise SessionStoreError("away")

    async def hanging() -> list[Sample]:
        await asyncio.Event().wait()
        return []

    async def there() -> list[Sample]:
        return [Sample("seamless_leases_held", (), 3)]

    for source in (away, hanging, there):
        held.add(source)
    values = shown(await scrape(tmp_path / "m.sqlite", held=held))
    assert values["seamless_leases_held"] == 3 and "seamless_sessions_remembered" not in values
