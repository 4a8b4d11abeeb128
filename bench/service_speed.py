"""History over HTTP beside what a server can do at all: the same bytes from a bare route, and from a file.

    python bench/service_speed.py

A day bound to an as_of and the newest day, in requests a second and p99, against a FastAPI route that returns
the same bytes; a year of minutes in Arrow, in seconds, against the same bytes served from a file. Then 200
clients at once, each of which reads a day of 50 nodes.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import aiohttp
import uvicorn
from fastapi import FastAPI
from starlette.responses import FileResponse, Response

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "seamless_assets_tests"))

from support.services import await_answer, free_port

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.core.wire.frames import ARROW_TYPE
from seamless_assets.service.app import service_app
from seamless_assets.service.serving import serve
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODE = "ohlcv:binance:BTC/USDT:1m"
YEAR = 365 * DAY
FLEET = [f"ohlcv:binance:C{number}/USDT:5m" for number in range(50)]
CLIENTS, REQUESTS, ROUNDS = 8, 2_000, 5
BOTS = 200
LEAST_SHARE, MOST_TIMES = 0.67, 2.0


@dataclass(frozen=True)
class Told:
    """Requests a second, and the time that all but one of a hundred took, in ms."""

    rate: float
    p99: float


def run_service(port: int, folder: Path) -> None:
    """Serve a year of minutes, released month by month."""
    days = {node: random_walk(START, START + 2 * DAY, step=300, seed=seed) for seed, node in enumerate(FLEET)}
    exchange = InMemoryExchange.serving({NODE: random_walk(START, START + YEAR), **days})

    async def scrape() -> str:
        return ""

    with connect_in_memory(exchange, {"partitions": {"1m": "month"}}) as pipeline:
        pipeline.materialize(NODE, START, START + YEAR)
        for node in FLEET:
            pipeline.materialize(node, START, START + DAY)
        serve(service_app(pipeline, MachineLeases(folder / "leases.sqlite"), scrape), "127.0.0.1", port)


def run_bare(port: int, folder: Path) -> None:
    """Serve bytes that are there already, as FastAPI and uvicorn do it by themselves."""
    app, day = FastAPI(), (folder / "day").read_bytes()

    @app.get("/day")
    async def one_day() -> Response:
        return Response(day, media_type=ARROW_TYPE)

    @app.get("/year")
    async def one_year() -> FileResponse:
        return FileResponse(folder / "year", media_type=ARROW_TYPE)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {}

    uvicorn.run(app, port=port, log_level="warning")


@contextmanager
def running(what: str, folder: Path) -> Iterator[str]:
    """A server in a process of its own; its URL once it answers."""
    port, log = free_port(), folder / f"{what}.log"
    with log.open("wb") as output:
        words = [sys.executable, __file__, what, str(port), str(folder)]
        server = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    try:
        # A year of minutes takes a while to be made up and released.
        while not log.exists() or server.poll() is None:
            try:
                await_answer(server, f"http://127.0.0.1:{port}/healthz", log)
                break
            except AssertionError:
                if server.poll() is not None:
                    raise
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


async def asked(url: str, requests: int) -> Told:
    """What `CLIENTS` at once get of a server."""
    times: list[float] = []
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            while len(times) < requests:
                began = time.perf_counter()
                async with session.get(url) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                times.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        taken = time.perf_counter() - began
    return Told(len(times) / taken, sorted(times)[int(len(times) * 0.99)] * 1_000)


async def fleet_of(bots: int, service: str) -> Told:
    """What so many clients get that read a day of every node, each by its own connection."""
    times: list[float] = []

    async def bot(number: int) -> None:
        async with aiohttp.ClientSession() as session:
            for at in range(len(FLEET)):
                node = FLEET[(number + at) % len(FLEET)]
                began = time.perf_counter()
                query = f"node={node}&start={START}&end={START + DAY}"
                async with session.get(f"{service}/v1/history?{query}") as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(bot, range(bots)))
    taken = time.perf_counter() - began
    return Told(len(times) / taken, sorted(times)[int(len(times) * 0.99)] * 1_000)


def compared(ours: str, theirs: str, requests: int) -> tuple[Told, Told, float]:
    """Both, in turns; and the median of our share of their rate."""
    rounds = [
        (asyncio.run(asked(ours, requests)), asyncio.run(asked(theirs, requests))) for _ in range(ROUNDS)
    ]
    shares = [mine.rate / other.rate for mine, other in rounds]
    return (*max(rounds, key=lambda pair: pair[0].rate), statistics.median(shares))


def main() -> None:
    """Measure, and say whether it is enough."""
    with tempfile.TemporaryDirectory() as name, running("service", Path(name)) as service:
        folder = Path(name)
        with urlopen(f"{service}/v1/nodes") as answer:
            as_of = next(one["as_of"] for one in json.load(answer)["nodes"] if one["node_id"] == NODE)
        day = f"{service}/v1/history?node={NODE}&start={START}&end={START + DAY}"
        year = f"{service}/v1/history?node={NODE}"
        for part, url in (("day", day), ("year", year)):
            with urlopen(url) as answer:
                (folder / part).write_bytes(answer.read())
        with running("bare", folder) as bare:
            results = {
                "a day as of a release": compared(f"{day}&as_of={as_of}", f"{bare}/day", REQUESTS),
                "the same day, newest": compared(day, f"{bare}/day", REQUESTS),
                "a year, newest": compared(year, f"{bare}/year", 40),
            }
        fleet = asyncio.run(fleet_of(BOTS, service))
    for what, (ours, theirs, share) in results.items():
        print(
            f"{what}: {ours.rate:.0f} requests/s, p99 {ours.p99:.1f} ms; "
            f"bare {theirs.rate:.0f}/s; {share:.2f} x"
        )
    print(f"{BOTS} clients x {len(FLEET)} nodes: {fleet.rate:.0f} requests/s, p99 {fleet.p99:.0f} ms")
    assert results["a day as of a release"][2] >= LEAST_SHARE
    assert results["the same day, newest"][2] >= LEAST_SHARE
    assert results["a year, newest"][2] >= 1 / MOST_TIMES


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["service", port, where]:
            run_service(int(port), Path(where))
        case ["bare", port, where]:
            run_bare(int(port), Path(where))
        case _:
            main()
