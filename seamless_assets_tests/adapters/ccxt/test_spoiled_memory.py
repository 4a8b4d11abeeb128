"""Whatever stands in the memory of exchanges, no bar that exists is told as absent, and none is left out."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1h"
LISTED = START - 20 * DAY
WINDOW = (LISTED - 5 * DAY, START)
NOW, FUTURE = 0.0, 3_650.0 * DAY
"""When a value says that it was seen, from now on."""
SPOILED: list[tuple[str, str, Any, float]] = [
    *(("1h", "page", size, NOW) for size in (0, 1, -3, 2**62, "x")),
    ("1h", "page", 10, FUTURE),
    ("1h", "page", 10, float("inf")),
    *((NODE, "listed", at, NOW) for at in (START - DAY, START - DAY + 1, 0, 2**62)),
    (NODE, "listed", START - DAY, FUTURE),
    *((f"{NODE[:-2]}{frame}", "refused", 1, NOW) for frame in ("1h", "1M")),
    (NODE, "oldest", START - DAY, NOW),
]


@pytest.mark.parametrize(("subject", "name", "value", "seen_in"), SPOILED)
def test_a_value_that_is_wrong_changes_no_answer(
    subject: str, name: str, value: Any, seen_in: float, settings_for: Callable[..., Settings]
) -> None:
    market = Market("BTC/USDT", 60_000.0, listed=LISTED)
    with Sandbox(now=START + 10 * DAY, markets=[market]).running() as exchange:
        venue = {"binance": {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"]}}
        settings = settings_for(venue)
        with sa.connect(settings) as s:
            s.backfill(NODE, START, START + DAY)
        with sqlite3.connect(settings.seamless.state_dir / "exchanges.sqlite") as db:
            ((place,),) = db.execute("SELECT place FROM markets").fetchall()
            db.execute("DELETE FROM facts")
            row = (place, subject, name, value, time.time() + seen_in)
            db.execute("INSERT INTO facts VALUES (?, ?, ?, ?, ?)", row)
        db.close()
        exchange.requests.clear()
        with sa.connect(settings_for(venue, hot_store={"dsn": "sqlite:///./other.sqlite"})) as s:
            report = s.backfill(NODE, *WINDOW)
        assert {gap.reason for gap in report.coverage.gaps} == {"pre_listing"} and report.problems == ()
        assert (report.coverage.present, report.coverage.absent) == (20 * 24, 5 * 24)
        assert len(exchange.requests) < 60
