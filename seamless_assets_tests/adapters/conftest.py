"""The stores that the contracts run over, each opened anew on the same data by calling the fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support.object_stores import FlakyProxy, InMemoryPlace, Place, S3Server, Trouble, require_s3_server
from support.services import QuestDbServer
from support.tls import Authority, make_authority

from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.node import NodeId
from seamless_assets.flows.ports import HotStore
from seamless_assets.testing import InMemoryHotStore, bars_table

OpenStore = Callable[[], HotStore]
table = bars_table


def address(server: QuestDbServer, **more: float) -> QuestDbAddress:
    """Where a server of the tests listens."""
    return QuestDbAddress("127.0.0.1", server.http_port, server.pg_port, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "sqlite", "questdb"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens a store on the test's data; closed with the test."""
    opened: list[HotStore] = []
    in_memory = InMemoryHotStore()

    def build() -> HotStore:
        if request.param == "memory":
            return in_memory
        if request.param == "sqlite":
            return SqliteHotStore(tmp_path / "hot.sqlite")
        return QuestDbHotStore(address(request.getfixturevalue("questdb_server")))

    def open_one() -> HotStore:
        opened.append(build())
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
def node() -> NodeId:
    """A node that no other test writes to."""
    return NodeId.parse(f"ohlcv:binance:T{uuid4().hex[:12]}/USDT:1m")


def s3_server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(kind, require_s3_server(kind), tmp_path_factory.mktemp(kind))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """moto's S3 server, one for all tests of a worker; tests keep to prefixes of their own."""
    yield from s3_server("moto", tmp_path_factory)


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, one for all tests of a worker; tests keep to prefixes of their own."""
    yield from s3_server("versitygw", tmp_path_factory)


@pytest.fixture(params=["memory", "folder", "moto", "versitygw"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place for artifacts: memory, a folder, or a prefix of a bucket."""
    if request.param == "memory":
        return InMemoryPlace()
    if request.param == "folder":
        return Place(str(tmp_path / "artifacts"), None)
    return Place.in_bucket(request.getfixturevalue(request.param))


@pytest.fixture(params=["moto", "versitygw"])
def flaky(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[int, str, str], Trouble]], Place]]:
    """Makes an empty prefix that is reached through a proxy with the given troubles."""
    server = request.getfixturevalue(request.param)
    proxies: list[FlakyProxy] = []

    def make(trouble: Callable[[int, str, str], Trouble]) -> Place:
        proxies.append(FlakyProxy(server.endpoint, trouble))
        return Place.in_bucket(server, proxies[-1])

    yield make
    for proxy in proxies:
        proxy.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only those know who are given it."""
    return make_authority(tmp_path_factory.mktemp("tls") / "authority")
