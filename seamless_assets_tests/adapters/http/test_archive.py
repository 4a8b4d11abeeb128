"""Files of an archive: what is kept of them, and that nobody else waits while they are read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.file_server import FileServer
from support.services import free_port

from seamless_assets.adapters.http import archive
from seamless_assets.adapters.http.archive import ABSENT_FOR_S, ArchivePlace, HttpArchives
from seamless_assets.core.bars.table import between
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.imports.bars import ImportedBars, imported_bars
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import ArchiveEvent, Event
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
            found = await archives.load_bars(NODE, day, START + 3 * DAY)
            assert found.bars.equals(between(BARS, *day))
            (file,) = found.files
            assert file.segment == day and "checksum" in file.evidence
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


def closed(_: ExitStack, __: pytest.MonkeyPatch) -> int:
    """A port that nobody listens on."""
    return free_port()


def silent(held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that takes connections and never answers."""
    monkeypatch.setattr(archive, "TIMEOUT_S", 0.05)
    return int(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])


def deaf(held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> int:
    """A port whose connections do not come about: as many wait already as may."""
    monkeypatch.setattr(archive, "CONNECT_S", 0.05)
    server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        waiting = held.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(server.getsockname())
    return int(server.getsockname()[1])


@pytest.mark.parametrize("port_of", [closed, silent, deaf], ids=lambda kind: kind.__name__)
async def test_an_archive_that_is_away_is_asked_once_and_then_for_nothing_for_a_while(
    monkeypatch: pytest.MonkeyPatch, port_of: Callable[[ExitStack, pytest.MonkeyPatch], int]
) -> None:
    now = [0.0]
    told: list[Event] = []
    with ExitStack() as held:
        url = f"http://127.0.0.1:{port_of(held, monkeypatch)}"
        places = {"binance": ArchivePlace(url, "{month}.zip", "{day}.zip")}
        archives = HttpArchives(places, {}, (), lambda: now[0], told.append)
        for at, refused in ((0.0, 1), (ABSENT_FOR_S - 1, 1), (ABSENT_FOR_S, 2)):
            now[0] = at
            for window in (Segment(START, START + 3 * DAY), DAYS[1]):
                assert (await archives.load_bars(NODE, window, START + 40 * DAY)).bars.num_rows == 0
            assert len(told) == refused
        await archives.close()
    assert all(isinstance(event, ArchiveEvent) and "for nothing for 600 s" in event.reason for event in told)


async def test_what_one_archive_lacks_is_asked_of_it_and_of_the_others_as_before(files: FileServer) -> None:
    places = {
        "binance": ArchivePlace(f"http://127.0.0.1:{free_port()}", "{month}.zip", "{day}.zip"),
        "kraken": ArchivePlace(files.url, "{month}.zip", "{day}.zip"),
    }
    files.broken["2025-01.zip"] = 500
    files.files["2025-01-02.zip"] = b"no zip"
    archives = HttpArchives(places, {}, (), lambda: 0.0, lambda _: None)
    try:
        whole = Segment(START, START + 3 * DAY)
        assert (await archives.load_bars(NODE, whole, START + 40 * DAY)).bars.num_rows == 0
        found = await archives.load_bars(NodeId.parse("ohlcv:kraken:BTC/USDT:1h"), whole, START + 40 * DAY)
        assert found.bars.num_rows == 48 and len(found.files) == 2
    finally:
        await archives.close()
