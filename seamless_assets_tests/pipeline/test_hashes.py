"""What the page on hashes says is enough to recompute every one of them without the package."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.worlds import NODE, World, day

import seamless_assets as sa
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import rollback, withdraw
from seamless_assets.testing import DAY, START

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hashes.md"
MONTH = Segment(START + 28 * DAY, START + 31 * DAY)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page's code defines."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "seamless_assets" not in code
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A log with a longer edition of a day, a hole, a correction, a merged month and nothing in force."""
    world = World(tmp_path, MONTH)
    world.exchange.clock.time = MONTH.start + DAY // 2
    del world.exchange.bars[MONTH.start + DAY // 4]
    assert await world.materialize(day(28))
    world.exchange.clock.time = MONTH.end + 3_600
    assert await world.materialize(MONTH)
    world.correct(MONTH.start + 600)
    assert await world.materialize(day(28))
    assert (await compact(world.ports, NODE)).after == 1
    await withdraw(world.ports, NODE, "2025-01", 'früher war\'s "besser"\n')
    await rollback(world.ports, NODE, "back", to=4)
    return Path(world.ports.artifacts.file_uri(NODE, ""))


def test_the_page_proves_a_log_and_all_that_it_names(page: dict[str, Any], folder: Path) -> None:
    assert page["prove"](folder) == 8


@pytest.mark.parametrize("suffix", [".parquet", ".manifest.json", "/*.json"])
def test_the_page_finds_an_altered_byte(page: dict[str, Any], folder: Path, suffix: str) -> None:
    pattern = f"_releases{suffix}" if "/" in suffix else f"*/*{suffix}"
    for path in sorted(folder.glob(pattern)):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"0", b"1", 1))
        with pytest.raises((AssertionError, KeyError)):
            page["prove"](folder)
        path.write_bytes(whole)
    assert page["prove"](folder) == 8


def shuffled(count: int) -> pa.Table:
    """Bars in no order, with zeros of both signs and NaNs of two kinds."""
    dice = np.random.default_rng(5)
    values = {name: dice.normal(size=count) for name in ("open", "high", "low", "close", "volume")}
    values["volume"][:4] = [-0.0, 0.0, np.nan, -np.nan]
    return pa.table({"ts": dice.permutation(count) * 60 + START, **values})


@pytest.mark.parametrize(
    ("node", "interval", "interval_text"),
    [
        ("ohlcv:okx:BTC/USDT:USDT:1m", 60, 60),
        ("ohlcv:okx:Ü/USDT:1M", sa.Timeframe("1M"), "1M"),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_page_has_the_fingerprint_of_any_bars(
    page: dict[str, Callable[..., str]], node: str, interval: Any, interval_text: int | str, count: int
) -> None:
    bars = shuffled(max(count, 4)).slice(0, count)
    ours = sa.fingerprint(bars, node_id=node, interval=interval, conformance_version="v2")
    assert page["fingerprint"](bars, node, interval_text, "v2") == ours
