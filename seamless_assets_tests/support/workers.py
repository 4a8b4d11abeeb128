"""Child processes of tests, each with the real parts of a worker: `python workers.py NAME ARGUMENTS`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

FILE = Path(__file__).resolve()


async def start(name: str, *arguments: object) -> asyncio.subprocess.Process:
    """Start one, its output piped."""
    words = [str(argument) for argument in arguments]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(FILE), name, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


def tell(what: object) -> None:
    """Say one line to whoever started us."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def alone(marker: Path) -> None:
    """Fail where another process is here at the same time."""
    marker.touch(exist_ok=False)
    marker.unlink()


def leases_at(place: str) -> Any:
    """The lease store at a URL or in a file."""
    if place.startswith("redis://"):
        from seamless_assets.adapters.redis.leases import RedisLeases

        return RedisLeases(place)
    if place.startswith("http://"):
        from seamless_assets.adapters.http.leases import HttpLeases

        return HttpLeases(place)
    from seamless_assets.adapters.machine.leases import MachineLeases

    return MachineLeases(Path(place))


async def claim(place: str, key: str, ttl: str) -> None:
    """Claim a lease, tell its token, and do nothing more."""
    lease = await leases_at(place).claim(key, "doomed", float(ttl))
    tell(lease.token)
    await asyncio.Event().wait()


def turns(place: str, key: str, count: str, each: str, marker: str) -> None:
    """Fork workers that take turns with one lease."""
    leases_at(place)  # for its imports; nothing is opened before its first use
    pids = forked(int(count), lambda number: asyncio.run(take_turns(place, key, number, int(each), marker)))
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    sys.exit(max(statuses, key=abs))


async def take_turns(place: str, key: str, number: int, each: int, marker: str) -> None:
    """Hold a lease several times, each with a marker file that must not be there yet; tell the tokens."""
    store, name = leases_at(place), f"p{number}"
    for _ in range(each):
        while (lease := await store.claim(key, name, 60.0)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        alone(Path(marker))
        tell(lease.token)
        await store.complete(lease)
    await store.close()


def presses(url: str, folder: str, redis: str, budget: str, seconds: str, cool_at: str, count: str) -> None:
    """Fork workers that send requests as fast as their gates let them; the first hears a 429 at `cool_at`."""
    import aiohttp  # noqa: F401

    def work(number: int) -> None:
        asyncio.run(press(url, Path(folder), redis, budget, float(seconds), 0 if number else float(cool_at)))

    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in forked(int(count), work)]
    sys.exit(max(statuses, key=abs))


async def press(url: str, folder: Path, redis: str, budget: str, seconds: float, cool_at: float) -> None:
    """Send requests as fast as the gate lets them go, five at a time."""
    import aiohttp

    from seamless_assets.adapters.machine.budget import MachineBudget
    from seamless_assets.adapters.machine.clock import SystemClock
    from seamless_assets.adapters.machine.log import LogEvents
    from seamless_assets.adapters.redis.budget import RedisBudget
    from seamless_assets.core.sharing.token_bucket import Budget
    from seamless_assets.flows.sharing.gate import RateGate

    allowed = Budget(*json.loads(budget))
    machine = MachineBudget(folder / "budget.sqlite")
    shared = RedisBudget(redis) if redis else None
    gate = RateGate(SystemClock(), LogEvents(), machine, shared)
    began = time.monotonic()

    async def ask(session: aiohttp.ClientSession) -> None:
        while time.monotonic() - began < seconds:
            await gate.acquire("rl:test", allowed, 1)
            async with session.get(f"{url}/api/v3/time") as answer:
                await answer.read()

    async def cool() -> None:
        await asyncio.sleep(cool_at)
        await gate.cool_down("rl:test", allowed, 2.0)
        tell(time.monotonic())

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(ask(session) for _ in range(5)), *([cool()] if cool_at else []))
    await machine.close()
    if shared is not None:
        await shared.close()


def forked(count: int, work: Callable[[int], None]) -> list[int]:
    """The process ids of children that do `work`; forking spares each of them the imports."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    return pids


def fleet(folder: str, settings: str, count: str, window: str) -> None:
    """Fork workers that all backfill all nodes; tell their process ids, then their exit statuses.

    Worker `n` keeps its machine's state in `state-n` where the settings say `state-{n}`, and its log in
    `worker-n.log`.
    """
    import ccxt.async_support  # noqa: F401
    import pandas as pd  # noqa: F401
    import redis.asyncio  # noqa: F401

    import seamless_assets.pipeline.connect  # noqa: F401

    def work(number: int) -> None:
        backfill_all(Path(folder), settings.replace("{n}", str(number)), number, json.loads(window))

    pids = forked(int(count), work)
    tell(json.dumps(pids))
    tell(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]))


def backfill_all(folder: Path, settings: str, number: int, window: list[int]) -> None:
    """Backfill every node of the settings at once, in an order of its own, its events in a log file."""
    import seamless_assets as sa
    from seamless_assets.config.load import settings_from_mapping

    log = logging.FileHandler(folder / f"worker-{number}.log")
    logging.getLogger("seamless_assets").addHandler(log)
    logging.getLogger("seamless_assets").setLevel(logging.INFO)
    with sa.connect(settings_from_mapping(json.loads(settings), base=folder, environ={})) as s:
        nodes = [str(item.node) for item in s.settings.nodes]
        Random(number).shuffle(nodes)

        async def everything() -> None:
            reports = await asyncio.gather(*(s.aio.backfill(node, *window) for node in nodes))
            problems = [problem for report in reports for problem in report.problems]
            assert not problems, problems

        asyncio.run(everything())


WORK: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"claim": claim}
FORKING: dict[str, Callable[..., None]] = {"fleet": fleet, "presses": presses, "turns": turns}

if __name__ == "__main__":
    name, *words = sys.argv[1:]
    if name in FORKING:
        FORKING[name](*words)
    else:
        asyncio.run(WORK[name](*words))
