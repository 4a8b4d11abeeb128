"""The service over a pipeline in memory: two series, one of them with a hole and a corrected bar."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.node import NodeId
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.service.app import service_app
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODE, THIN = "ohlcv:binance:BTC/USDT:1m", "ohlcv:okx:BTC/USDT:USDT:1h"
HOLE = (START + 6_000, START + 6_300)
TOKENS = {"reader": "r-token", "worker": "l-token", "operator": "o-token", "all": "a-token"}
SCOPES = {
    "reader": ("read",),
    "worker": ("lease",),
    "operator": ("operate",),
    "all": ("read", "lease", "operate"),
}
Client = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session")
def pipeline() -> Iterator[Seamless]:
    """Two releases of `NODE`, the second with a corrected bar; one of `THIN`."""
    bars = {ts: bar for ts, bar in random_walk(START, START + 2 * DAY).items() if not HOLE[0] <= ts < HOLE[1]}
    thin = random_walk(START, START + 2 * DAY, step=3_600)
    exchange = InMemoryExchange.serving({NODE: bars, THIN: thin})
    with connect_in_memory(exchange) as opened:
        for node in (NODE, THIN):
            opened.materialize(node, START, START + DAY)
        series = exchange.series[NodeId.parse(NODE)]
        series[START] = (*series[START][:-1], series[START][-1] + 1)
        opened.materialize(NODE, START, START + DAY)
        yield opened


@pytest.fixture(scope="session")
def make_leases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], MachineLeases]]:
    """Leases in a file of their own."""
    stores: list[MachineLeases] = []

    def make() -> MachineLeases:
        stores.append(MachineLeases(tmp_path_factory.mktemp("served") / "leases.sqlite"))
        return stores[-1]

    yield make
    for leases in stores:
        asyncio.run(leases.close())


@pytest.fixture(scope="session")
def make_app(pipeline: Seamless, make_leases: Callable[[], MachineLeases]) -> Callable[..., FastAPI]:
    """The application with settings of `service`; `tokens=True` lets in those of `TOKENS`.

    Making one takes a while, so the same settings give the same one.
    """
    made: dict[str, FastAPI] = {}

    async def scrape() -> str:
        return "# HELP seamless_up Up.\n"

    def make(*, tokens: bool = False, **settings: Any) -> FastAPI:
        if tokens:
            settings["tokens"] = {
                name: {"sha256": hashlib.sha256(text.encode()).hexdigest(), "scopes": SCOPES[name]}
                for name, text in TOKENS.items()
            }
        if repr(settings) not in made:
            parsed = ServiceSettings.model_validate(settings)
            made[repr(settings)] = service_app(pipeline, make_leases(), scrape, parsed)
        return made[repr(settings)]

    return make


@pytest.fixture
def client(make_app: Callable[..., FastAPI]) -> Client:
    """A client of the application in this process, under a name of this machine."""

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(make_app(**settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asked:
            yield asked

    return opened
