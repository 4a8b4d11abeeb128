"""A service under everything at once, for long: it answers all of it, and its memory stays as it was."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from service.test_events_killed import NODES, NOW, SINCE, UNTIL, serve_on
from support.killing import in_a_child
from support.services import free_port

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.answers.replies import REPLY_BYTES

CLIENTS = 6
SECONDS = float(os.environ.get("SEAMLESS_SOAK_S", "3600"))
ROUNDS = 8
"""Parts of the time of which each is compared with those before."""
GROWTH = 1.05


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


class Load:
    """Clients that ask for anything, also for what cannot be, and leave in the middle of it."""

    def __init__(self, url: str, as_of: str, seed: int) -> None:
        self.url, self.as_of, self.rng = url, as_of, random.Random(seed)
        self.asked: Counter[int] = Counter()
        self.kinds = [
            *(self.history, self.history, self.look, self.lease, self.session),
            *(self.follow, self.replay, self.nonsense),
        ]

    async def run(self, until: Callable[[], bool]) -> None:
        """Ask until it is over."""
        async with aiohttp.ClientSession(self.url) as session:
            while not until():
                await self.rng.choice(self.kinds)(session)

    async def get(self, session: aiohttp.ClientSession, path: str, **query: Any) -> None:
        async with session.get(path, params=query) as answer:
            await answer.read()
            # On a busy machine its stores may answer later than they are waited for.
            if not (path == "/readyz" and answer.status == 503):
                self.asked[answer.status] += 1

    async def fill_cache(self) -> None:
        """Ask for more than the service keeps of answers, each another one."""
        async with aiohttp.ClientSession(self.url) as session:
            filled = 0
            while filled < 1.5 * REPLY_BYTES:
                start = SINCE + 60 * self.rng.randrange(300)
                end = start + 60 * self.rng.randrange(200, 300)
                query = {"node": NODES[0], "start": start, "end": end, "format": "json", "as_of": self.as_of}
                async with session.get("/v1/history", params=query) as answer:
                    filled += len(await answer.read())

    async def history(self, session: aiohttp.ClientSession) -> None:
        start = SINCE + 60 * self.rng.randrange(300)
        query = {"node": NODES[0], "start": start, "end": start + 60 * self.rng.randrange(1, 300)}
        query["format"] = self.rng.choice(["arrow", "parquet", "json", "csv"])
        if self.rng.random() < 0.5:
            query["as_of"] = self.as_of
        await self.get(session, "/v1/history", **query)

    async def look(self, session: aiohttp.ClientSession) -> None:
        path = self.rng.choice(["/v1/nodes", "/v1/operations", "/v1/worlds", "/metrics", "/readyz", "/page/"])
        await self.get(session, path)

    async def lease(self, session: aiohttp.ClientSession) -> None:
        claim = {"key": f"soak {self.rng.randrange(50)}", "lease_ms": 60_000}
        async with session.post("/v1/leases/claim", json=claim) as answer:
            self.asked[answer.status] += 1
            granted = await answer.json()
        if "lease" in granted:
            body = {"key": claim["key"], "token": granted["lease"]["token"]}
            async with session.post("/v1/leases/complete", json=body) as answer:
                self.asked[answer.status] += 1

    async def session(self, session: aiohttp.ClientSession) -> None:
        body = {"node": NODES[0], "world_id": f"soak {self.rng.randrange(20)}"}
        async with session.post("/v1/sessions/bind", json=body) as answer:
            self.asked[answer.status] += 1

    async def follow(self, session: aiohttp.ClientSession) -> None:
        query: dict[str, str | int] = {"nodes": ",".join(NODES), "since": SINCE}
        if self.rng.random() < 0.5:
            query["until"] = UNTIL
        await self._listen(session, "/v1/events", query)

    async def replay(self, session: aiohttp.ClientSession) -> None:
        query = {"nodes": NODES[0], "start": SINCE, "end": UNTIL, "as_of": self.as_of}
        await self._listen(session, "/v1/replay", query)

    async def _listen(
        self, session: aiohttp.ClientSession, path: str, query: Mapping[str, str | int]
    ) -> None:
        async with session.get(path, params=query) as answer:
            self.asked[answer.status] += 1
            # What has closed comes in a few pieces; then it would be waited for.
            for _ in range(self.rng.randrange(3)):
                if not await answer.content.readany():
                    break

    async def nonsense(self, session: aiohttp.ClientSession) -> None:
        word = "".join(self.rng.choices("abc:/%é\x00", k=self.rng.randrange(1, 400)))
        await self.get(session, self.rng.choice(["/v1/history", "/v1/coverage", "/v1/diff"]), node=word)


async def soak(url: str, pid: int, as_of: str, seconds: float) -> tuple[list[int], Counter[int]]:
    """Memory after each part of the time, and how often each status was answered."""
    loads = [Load(url, as_of, seed) for seed in range(CLIENTS)]
    await loads[0].fill_cache()
    held: list[int] = []
    for _ in range(ROUNDS):
        end = time.monotonic() + seconds / ROUNDS
        await asyncio.gather(*(load.run(lambda: time.monotonic() > end) for load in loads))  # noqa: B023
        held.append(resident(pid))
    return held, sum((load.asked for load in loads), Counter())


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    declared = {"symbols": ["BTC/USDT", "ADA/USDT"], "timeframes": ["1m", "5m"], "start": "2025-01-01"}
    return settings_for({"binance": {**declared, "base_url": exchange.url}})


@pytest.mark.deep
@pytest.mark.timeout(SECONDS + 300)
def test_memory_stays_as_it_was_under_load(settings: Settings, tmp_path: Path) -> None:
    with sa.connect(settings) as pipeline:
        pipeline.materialize(NODES[0], SINCE, NOW)
        as_of = pipeline.releases(NODES[0])[-1].as_of
    port = free_port()
    child = in_a_child(serve_on, settings, tmp_path, port)
    try:
        with sa.connect(f"http://127.0.0.1:{port}") as remote:
            await_service(remote)
        held, asked = asyncio.run(soak(f"http://127.0.0.1:{port}", child.pid or 0, as_of, SECONDS))
    finally:
        child.kill()
        child.join(60)
    print(json.dumps({"held": held, "asked": dict(asked)}))  # noqa: T201
    assert max(asked) < 500 and asked[200] > 100 * SECONDS / 60 and {404, 409, 422} & set(asked)
    # In the first quarter all is met for the first time.
    settled = held[ROUNDS // 4]
    assert held[-1] < settled * GROWTH, held


def await_service(remote: sa.Seamless) -> None:
    """Return once it answers."""
    while True:
        try:
            remote.releases(NODES[0])
        except sa.errors.ServiceUnavailable:
            time.sleep(0.05)
        else:
            return
