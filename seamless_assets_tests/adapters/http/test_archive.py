"""Files of an archive: what is kept of them, and that nobody else waits while they are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.file_server import FileServer

from seamless_assets.adapters.http import archive
from seamless_assets.adapters.http.archive import ArchivePlace, HttpArchives
from seamless_assets.core.bars.table import between
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.imports.bars import ImportedBars, imported_bars
from seamless_assets.core.node import NodeId
from seamless_assets.testing import DAY, START, make_bars

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1h")
BARS = make_bars(START, START + 3 * DAY, "1h")
DAYS = [Segment(START + number * DAY, START + (number + 1) * DAY) for number in range(3)]


@pytest.fixture
def files() -> Iterator[FileServer]:
    """An archive of three days."""
    with FileServer().running() as server:
        for number, day in enumerate(DAYS, 1):
            server.put_archive(f"2025-01-{number:02}.zip", between(BARS, *day))
        yield server


async def loaded(files: FileServer, *asked: Segment) -> list[str]:
    """Load days one after the other; the days that were fetched, in order."""
    places = {"binance": ArchivePlace(files.url, "{month}.zip", "{day}.zip")}
    archives = HttpArchives(places, {}, (), lambda: 0.0, lambda _: None)
    try:
        for day in asked:
            bars = await archives.load_bars(NODE, day, START + 3 * DAY)
            assert bars.equals(between(BARS, *day))
    finally:
        await archives.close()
    return [path[8:10] for path in files.asked if path.endswith(".zip") and path != "2025-01.zip"]


@pytest.mark.parametrize(
    ("kept", "fetched"),
    [(3.0, ["01", "02", "03"]), (2.0, ["01", "02", "03", "02"]), (0.5, ["01", "02", "01", "03", "02"])],
)
async def test_as_many_bytes_are_kept_as_may_be_and_the_last_file_always(
    files: FileServer, monkeypatch: pytest.MonkeyPatch, kept: float, fetched: list[str]
) -> None:
    monkeypatch.setattr(archive, "MAX_HELD_BYTES", kept * between(BARS, *DAYS[0]).nbytes)
    one, two, three = DAYS
    assert await loaded(files, one, two, two, one, one, three, two) == fetched


async def test_files_are_read_beside_the_loop(files: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def read(*args: Any, **how: Any) -> ImportedBars:
        threads.append(threading.current_thread())
        return imported_bars(*args, **how)

    monkeypatch.setattr(archive, "imported_bars", read)
    assert await loaded(files, DAYS[0]) == ["01"]
    assert threads and threading.main_thread() not in threads
