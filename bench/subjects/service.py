"""History over HTTP beside what a server can do at all: the same bytes from a bare route, and from a file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import aiohttp

from bench.contenders.service import DAY, FLEET, NODE
from bench.measuring.process import running
from bench.measuring.sample import Sample, memory
from bench.places import OURS, ROOT, child_environment, reach_support
from bench.running import Bench, Case, Skipped
from seamless_assets.testing import START

CLIENTS, REQUESTS, YEAR_REQUESTS, BOTS, ROUNDS = 8, 2_000, 40, 200, 5
PAGES = 3_000
PAGE = "symbol=BTCUSDT&interval=1m&limit=1000"
Asking = Callable[[], Coroutine[Any, Any, list[float]]]


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """Both servers in processes of their own; this one asks."""
    if bench.quick:
        # A server takes seconds until it answers.
        yield Skipped("service.*", "a quick run starts no server")
        return
    with _running(OURS, "ours", bench.folder) as server:
        service, klines = server.url, f"{server.url}/binance/api/v3/klines?{PAGE}"
        day = f"{service}/v1/history?node={NODE}&start={START}&end={START + DAY}"
        year = f"{service}/v1/history?node={NODE}"
        for part, url in (("day", day), ("year", year), ("candles", f"{klines}&startTime={START * 1_000}")):
            with urlopen(url) as answer:
                (bench.folder / part).write_bytes(answer.read())
        newest_folder = bench.folder / "live"
        newest_folder.mkdir()
        with _running(OURS, "newest", newest_folder, days=3) as live:
            newest = f"{live.url}/binance/api/v3/klines?{PAGE}"
            with urlopen(newest) as answer:
                (bench.folder / "newest").write_bytes(answer.read())
            bound = f"{day}&as_of={_as_of(service)}"
            lines = (
                _Line("day-as-of", bound, "day"),
                _Line("day-newest", day, "day"),
                _Line("year", year, "year", YEAR_REQUESTS),
                _Line("candles-page", f"{klines}&startTime={START * 1_000}", "candles"),
                _Line("candles-newest", newest, "newest"),
                _Line("candles-newest-1", newest, "newest", clients=1),
            )
            yield from _beside_bare(bench, lines)
        yield _memory(service, server.pid)
        yield _side_case("service.fleet", lambda: _fleet(service), None, rounds=1)


@dataclass(frozen=True)
class _Line:
    """What is asked of ours at `url` and of the peer at `path`, so often, by so many clients at once."""

    name: str
    url: str
    path: str
    requests: int = REQUESTS
    clients: int = CLIENTS

    def asking(self, url: str) -> Asking:
        return _asking(url, self.requests, self.clients)


def _beside_bare(bench: Bench, lines: Iterable[_Line]) -> Iterator[Case]:
    python = bench.peer("FastAPI")
    if isinstance(python, str):
        for line in lines:
            yield _side_case(f"service.{line.name}", line.asking(line.url), python)
        return
    with _running(python, "bare", bench.folder) as bare:
        for line in lines:
            peer = line.asking(f"{bare.url}/{line.path}")
            yield _side_case(f"service.{line.name}", line.asking(line.url), peer)


def _side_case(line: str, ours: Asking, peer: Asking | str | None, rounds: int = ROUNDS) -> Case:
    """Seconds of a request, by how many are done in a second; p99 of each beside it, without the warm-up."""
    slowest: dict[str, list[float]] = {}

    def side(who: str, asking: Asking) -> Callable[[], Sample]:
        def probe() -> Sample:
            began = time.perf_counter()
            times = asyncio.run(asking())
            taken = time.perf_counter() - began
            slowest.setdefault(who, []).append(sorted(times)[int(len(times) * 0.99)])
            return Sample(taken / len(times))

        return probe

    def facts() -> dict[str, Any]:
        return {f"{who}_p99_ms": median(seconds[1:]) * 1e3 for who, seconds in slowest.items()}

    other = side("peer", peer) if callable(peer) else peer
    return Case(line, side("ours", ours), other, rounds, facts=facts)


def _memory(service: str, pid: int) -> Case:
    """What a server grows by, in MiB, while bots ask for pages that nobody asked for before."""

    begins = count(0, PAGES)

    def probe() -> Sample:
        sizes, begin = [], next(begins)
        # The first pages fill what is kept in memory.
        for first, last in ((begin, begin + PAGES // 2), (begin + PAGES // 2, begin + PAGES)):
            pages = [
                f"{service}/binance/api/v3/klines?{PAGE}&startTime={(START + at * 60) * 1_000}"
                for at in range(first, last)
            ]
            asyncio.run(_all_of(pages))
            sizes.append(memory("VmRSS", pid))
        return Sample(sizes[1] - sizes[0])

    return Case("service.candles-memory", probe, rounds=1, warm_up=False)


@dataclass(frozen=True)
class _Server:
    url: str
    pid: int


@contextmanager
def _running(python: Path, kind: str, folder: Path, days: int = 365) -> Iterator[_Server]:
    """A server, once it answers."""
    reach_support()
    from support.services import await_answer, free_port

    port, log = free_port(), folder / f"{kind}.log"
    words = [python, "-m", "bench.contenders.service", kind, str(port), folder, str(days)]
    how = {"cwd": ROOT, "env": child_environment(), "stderr": subprocess.STDOUT}
    with log.open("wb") as output, running(words, stdout=output, **how) as server:
        # A year of minutes takes a while to be made up and released.
        while True:
            try:
                await_answer(server, f"http://127.0.0.1:{port}/healthz", log)
                break
            except AssertionError:
                if server.poll() is not None:
                    raise
        yield _Server(f"http://127.0.0.1:{port}", server.pid)


def _as_of(service: str) -> str:
    with urlopen(f"{service}/v1/nodes") as answer:
        return next(one["as_of"] for one in json.load(answer)["nodes"] if one["node_id"] == NODE)


def _asking(url: str, requests: int, clients: int) -> Asking:
    """So many requests by so many at once; the seconds of each."""

    async def ask() -> list[float]:
        times: list[float] = []
        async with aiohttp.ClientSession() as session:

            async def client() -> None:
                while len(times) < requests:
                    times.append(await _timed(session, url))

            await asyncio.gather(*(client() for _ in range(clients)))
        return times

    return ask


async def _all_of(urls: list[str]) -> None:
    """Each of the addresses once, by `CLIENTS` at once."""
    waiting = iter(urls)
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            for url in waiting:
                await _timed(session, url)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def _fleet(service: str) -> list[float]:
    """`BOTS` clients that read a day of every node, each by its own connection."""
    times: list[float] = []

    async def bot(number: int) -> None:
        async with aiohttp.ClientSession() as session:
            for at in range(len(FLEET)):
                node = FLEET[(number + at) % len(FLEET)]
                query = f"node={node}&start={START}&end={START + DAY}"
                times.append(await _timed(session, f"{service}/v1/history?{query}"))

    await asyncio.gather(*map(bot, range(BOTS)))
    return times


async def _timed(session: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    async with session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
    return time.perf_counter() - began
