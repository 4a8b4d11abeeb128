"""Many processes that fetch, under one rate budget that binds and without one.

The wall clock decides here, since a budget is one of time; ours is timed inside the processes, from the
moment in which all of them are ready to that in which the last one is done.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.measuring.process import running
from bench.measuring.sample import Sample
from bench.places import OURS, ROOT, child_environment, passing_folder
from bench.running import Bench, Case
from bench.subjects.fetching import ANSWER_S, BINDING, DAY_BARS, END, LOOSE, PAGE, project_settings
from bench.worlds.servers import LocalExchange, local_exchange

WORKERS = (1, 2, 4, 8)
SYMBOLS = tuple(f"{coin}/{quote}" for coin in ("BTC", "ETH", "SOL", "XRP") for quote in ("USDT", "EUR"))
"""As many as the most workers; the local exchange has them all."""
BUDGET_DAYS, LOOSE_DAYS = 100, 400
WORKER = """
import sys
import ccxt.async_support  # what is loaded at its first use is no part of it
import seamless_assets as sa
with sa.connect(sys.argv[1]) as s:
    print("ready", flush=True)
    sys.stdin.readline()
    for node in sys.argv[4:]:
        s.backfill(node, sys.argv[2], sys.argv[3])
    print("done", flush=True)
"""


def cases(bench: Bench) -> Iterator[Case]:
    """The same days of eight nodes, or of one, shared among the workers."""
    with local_exchange(END.timestamp(), ANSWER_S) as served:
        for days in (100, 300):
            name = f"workers.budget-{days}-days"
            if bench.wants(name):
                yield _budget(served, name, 1, bench.size(days, 1), SYMBOLS[:1])
        for workers in WORKERS[1:]:
            name = f"workers.budget-{workers}"
            if bench.wants(name):
                yield _budget(served, name, workers, bench.size(BUDGET_DAYS, 1), SYMBOLS)
        if bench.wants("workers.requests-8"):
            yield _requests(served, 8, bench.size(BUDGET_DAYS, 1))
        for workers in WORKERS[1:]:
            name = f"workers.free-{workers}"
            if bench.wants(name):
                days = bench.size(LOOSE_DAYS, 1) / 8
                many, one = (partial(_fetch, served, count, days, SYMBOLS, LOOSE) for count in (workers, 1))
                yield Case(name, many, one, rounds=3, warm_up=False)


def _budget(served: LocalExchange, line: str, workers: int, days: float, symbols: tuple[str, ...]) -> Case:
    """Workers that share a budget, beside the time that it takes for the requests they made."""

    def granted() -> Sample:
        return Sample(served.requests() * BINDING["interval_ms"] / 1_000 / BINDING["tokens_per_interval"])

    def facts() -> dict[str, Any]:
        return {"requests": served.requests(), "fewest_requests": _fewest(days, symbols)}

    fetch = partial(_fetch, served, workers, days, symbols, BINDING)
    return Case(line, fetch, granted, 3 if len(symbols) == 1 else 1, warm_up=False, facts=facts)


def _requests(served: LocalExchange, workers: int, days: float) -> Case:
    """The requests that workers make in all, beside the fewest full pages that hold the bars."""

    def fetch() -> Sample:
        _fetch(served, workers, days, SYMBOLS, LOOSE)
        return Sample(float(served.requests()))

    line, fewest = f"workers.requests-{workers}", Sample(float(_fewest(days, SYMBOLS)))
    return Case(line, fetch, lambda: fewest, rounds=1, warm_up=False)


def _fewest(days: float, symbols: tuple[str, ...]) -> int:
    return len(symbols) * -(-round(days * DAY_BARS) // PAGE)


def _fetch(
    served: LocalExchange, workers: int, days: float, symbols: tuple[str, ...], budget: dict[str, int]
) -> Sample:
    """Seconds from the moment in which all workers are ready to that in which the last one is done."""
    served.steer("DELETE", "requests")
    start = END - timedelta(days=days)
    with passing_folder() as folder, ExitStack() as stack:
        config = folder / "seamless.yaml"
        config.write_text(json.dumps(project_settings(str(folder), served.url, start, budget, symbols)))
        nodes = [f"ohlcv:bybit:{symbol}:1m" for symbol in symbols]
        started = [
            stack.enter_context(_started(config, start, nodes[number::workers])) for number in range(workers)
        ]
        for process in started:
            _awaited(process, "ready")
        began = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in started:
            _awaited(process, "done")
        seconds = time.perf_counter() - began
        for process in started:
            process.communicate()
    return Sample(seconds)


def _started(
    config: Path, start: datetime, nodes: list[str]
) -> AbstractContextManager[subprocess.Popen[str]]:
    words = [OURS, "-c", WORKER, config, start.isoformat(), END.isoformat(), *nodes]
    return running(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=child_environment(),
    )


def _awaited(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    said = process.stdout.readline()
    if said.strip() != word:
        raise RuntimeError(f"a worker said {said!r} instead of {word!r}")
