"""A local exchange whose clock stands, and a service over it that speaks as it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.dialects import SYMBOLS, Rig, running

from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY + 1_234
DECLARED = START + 9 * DAY
BEGIN = START + 10 * DAY - 43_200


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Spot and swaps of all venues of which nothing is fetched yet."""
    exchange = Sandbox(now=NOW)
    with (
        exchange.running(),
        running(tmp_path_factory.mktemp("rig"), exchange, SYMBOLS, "2025-01-10") as made,
    ):
        yield made
