"""A local exchange whose clock stands, and ccxt.pro exchanges that are closed after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.streams import at_home

from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START


@pytest.fixture
async def exchange() -> AsyncIterator[Sandbox]:
    async with Sandbox(now=START + 10 * DAY) as running:
        yield running


@pytest.fixture
async def connect(exchange: Sandbox) -> AsyncIterator[Callable[[str], Any]]:
    """Makes ccxt.pro exchanges by name, and closes them."""
    made: list[Any] = []

    def build(name: str) -> Any:
        made.append(at_home(name, exchange.url))
        return made[-1]

    yield build
    for client in made:
        await client.close()
