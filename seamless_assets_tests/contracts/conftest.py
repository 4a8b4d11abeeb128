"""The stores that the contracts run over, each opened anew on the same data by calling the fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from services import QuestDbServer

from seamless_assets.adapters.questdb import QuestDbHotStore
from seamless_assets.adapters.questdb_client import QuestDbAddress
from seamless_assets.adapters.sqlite import SqliteHotStore
from seamless_assets.core.bars import BARS_SCHEMA
from seamless_assets.core.node import NodeId
from seamless_assets.flows.ports import HotStore

OpenStore = Callable[[], HotStore]


def address(server: QuestDbServer, **more: float) -> QuestDbAddress:
    """Where a server of the tests listens."""
    return QuestDbAddress("127.0.0.1", server.http_port, server.pg_port, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "questdb"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens a store on the test's data; closed with the test."""
    opened: list[HotStore] = []

    def build() -> HotStore:
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


def table(bars: dict[int, tuple[float, ...]]) -> pa.Table:
    """Bars by open as a table."""
    columns = list(zip(*[(ts, *row) for ts, row in bars.items()], strict=True))
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)
