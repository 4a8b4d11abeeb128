"""The lease coordinator over plain HTTP: its answers, its memory, its log."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from support.services import Coordinator

from seamless_assets.adapters.http.leases import HttpLeases


async def post(server: Coordinator, action: str, **body: Any) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/v1/leases/{action}", json=body) as answer,
    ):
        return answer.status, await answer.json()


async def get(server: Coordinator, path: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}{path}") as answer:
        assert answer.status == 200
        return dict(await answer.json())


@pytest.fixture
def key() -> str:
    return f"ohlcv:okx:BTC/USDT:USDT:1m@{uuid4()}"


async def test_a_claim_is_granted_once_and_refused_with_who_holds_it(
    lease_coordinator: Coordinator, key: str
) -> None:
    before = int(time.time() * 1000)
    status, granted = await post(lease_coordinator, "claim", key=key, lease_ms=60_000)
    lease = granted["lease"]
    assert status == 200 and lease["key"] == key and isinstance(lease["token"], int)
    assert before + 59_000 < lease["lease_until_ms"] < before + 90_000
    assert granted["completion_ratio"] == 0.0
    status, refused = await post(lease_coordinator, "claim", key=key, lease_ms=60_000)
    assert status == 409 and refused["holder"] == lease["holder"] and lease["holder"] in refused["error"]
    assert refused["lease_until_ms"] == lease["lease_until_ms"]
    assert lease in (await get(lease_coordinator, "/v1/leases"))["leases"]


async def test_a_lease_is_renewed_and_given_back(lease_coordinator: Coordinator, key: str) -> None:
    _, granted = await post(lease_coordinator, "claim", key=key, lease_ms=60_000, holder="w1")
    token = granted["lease"]["token"]
    status, renewed = await post(lease_coordinator, "renew", key=key, token=token, lease_ms=120_000)
    assert status == 200 and renewed["lease"]["lease_until_ms"] > granted["lease"]["lease_until_ms"]
    status, done = await post(lease_coordinator, "complete", key=key, token=token)
    assert status == 200 and done == {"completion_ratio": 1.0}
    for action, more in (("renew", {"lease_ms": 1000}), ("complete", {}), ("fail", {"reason": "late"})):
        status, refused = await post(lease_coordinator, action, key=key, token=token, **more)
        assert status == 409 and "ran out or was given back" in refused["error"]
    _, again = await post(lease_coordinator, "claim", key=key, lease_ms=60_000)
    assert again["lease"]["token"] > token
    status, failed = await post(
        lease_coordinator, "fail", key=key, token=again["lease"]["token"], reason="no luck"
    )
    assert status == 200 and failed == {"completion_ratio": 0.0}
    records = [json.loads(line) for line in lease_coordinator.log.splitlines() if key in line]
    assert [record["event"] for record in records] == [
        "lease_claim", "lease_complete", "lease_claim", "lease_fail",
    ]  # fmt: skip
    assert (
        records[0]["holder"] == "w1" and records[0]["token"] == token and records[-1]["reason"] == "no luck"
    )


@pytest.mark.parametrize(
    "reason", ["", "x" * 20_000, "no file '/data/\udcff'", "\ud83d" * 11_000, "\x00\x1b["]
)
async def test_whatever_the_reason_a_lease_that_failed_is_given_back(
    lease_coordinator: Coordinator, key: str, reason: str
) -> None:
    leases = HttpLeases(lease_coordinator.url)
    try:
        lease = await leases.claim(key, "w", 60.0)
        assert lease is not None
        await leases.fail(lease, reason)
        assert await leases.claim(key, "another", 60.0) is not None
    finally:
        await leases.close()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": "", "lease_ms": 1000},
        {"key": "k"},
        {"key": "k", "lease_ms": 0},
        {"key": "k", "lease_ms": -5},
        {"key": "k", "lease_ms": "soon"},
        {"key": "k", "lease_ms": 10**12},
        {"key": "k" * 2000, "lease_ms": 1000},
        {"key": "k", "lease_ms": "1000"},
        {"key": "k", "lease_ms": 1000.5},
        {"key": "k", "lease_ms": True},
        {"key": 5, "lease_ms": 1000},
        {"key": "k", "lease_ms": 1000, "ttl_ms": 1000},
        {"key": "k", "lease_ms": 1000, "token": 1},
    ],
)
async def test_a_body_that_cannot_mean_anything_is_refused(
    lease_coordinator: Coordinator, body: dict[str, Any]
) -> None:
    status, answer = await post(lease_coordinator, "claim", **body)
    assert status == 422 and answer["detail"]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("claim", '{"key": "k", "lease_ms": NaN}'),
        ("claim", '{"key": "k", "lease_ms": Infinity}'),
        ("claim", '{"key": "\\ud800", "lease_ms": 1000}'),
        ("claim", '{"key": "k", "lease_ms": 1000, "holder": "\\ud800"}'),
        ("renew", '{"key": "k", "token": 1e400, "lease_ms": 1000}'),
        ("complete", '{"key": "k", "token": NaN}'),
        ("fail", '{"key": "k", "token": 1, "reason": "\\ud800"}'),
        ("fail", "NaN"),
        ("fail", '{"key": '),
        ("claim", b"\xff\x04%"),
        ("claim", '{"key": "k", "lease_ms": 1000, "\\ud800": 1}'),
        ("complete", '{"key": "k", "token": 1, "reason": "none is asked for"}'),
        ("renew", '{"key": "k", "token": 9007199254740992, "lease_ms": 1000}'),
        ("renew", '{"key": "k", "token": 1, "lease_ms": 1000, "above": -1}'),
    ],
)
async def test_what_no_json_can_repeat_is_refused_with_a_reason(
    lease_coordinator: Coordinator, action: str, body: str | bytes
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{lease_coordinator.url}/v1/leases/{action}",
            data=body,
            headers={"Content-Type": "application/json"},
        ) as answer,
    ):
        assert answer.status == 422 and (await answer.json())["detail"][0]["msg"]


async def test_leases_and_the_completion_ratio_outlive_the_server(
    own_coordinator: Coordinator, key: str
) -> None:
    assert (await get(own_coordinator, "/v1/leases"))["completion_ratio"] == 1.0
    ratios = []
    for number, outcome in enumerate(["complete", "complete", "fail", None]):
        _, granted = await post(own_coordinator, "claim", key=f"{key}{number}", lease_ms=60_000)
        token = granted["lease"]["token"]
        if outcome:
            _, ended = await post(own_coordinator, outcome, key=f"{key}{number}", token=token)
            ratios.append(ended["completion_ratio"])
    assert ratios == [1.0, 1.0, 0.0] and granted["completion_ratio"] == 0.0
    own_coordinator.kill()
    await asyncio.to_thread(own_coordinator.start)
    status, _ = await post(own_coordinator, "claim", key=f"{key}3", lease_ms=60_000)
    assert status == 409
    tally = await get(own_coordinator, "/v1/leases")
    assert (tally["completed"], tally["failed"], tally["completion_ratio"]) == (2, 1, 0.5)
    status, _ = await post(own_coordinator, "renew", key=f"{key}3", token=token, lease_ms=60_000)
    assert status == 200
    assert (await get(own_coordinator, "/healthz"))["status"] == "ok"
