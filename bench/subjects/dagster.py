"""Many nodes in Dagster beside bare assets; by processor time, which other work changes little.

How many runs workers do in a second is told by the wall clock, since it is what they wait for that counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from bench.measuring.process import run_process
from bench.measuring.sample import Probe, Sample
from bench.places import OURS, ROOT, passing_folder
from bench.running import Bench, Case, Skipped
from bench.worlds.dagster import Deployment, write_bare
from bench.worlds.servers import cluster_servers
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox

FEW, THIRTY = 10, 30
LOADS = (1_000, 5_000)
ROUNDS, RUNS = 3, 5
WORKERS, WORKED = 4, 24
NOWHERE = "http://127.0.0.1:1"
END = 1_740_787_200  # 2025-03-01
SYMBOLS = ("BTC/USDT", *(f"COIN{number}/USDT" for number in range(1, LOADS[-1])))
KEYS = tuple(("ohlcv", "binance", f"{symbol.replace('/', '_')}_1m") for symbol in SYMBOLS[:THIRTY])
MARKETS = tuple(Market(symbol, 100.0, 0.002) for symbol in SYMBOLS[:THIRTY])
HOME = {"telemetry": {"enabled": False}, "freshness": {"enabled": False}}
"""Dagster's own look at freshness writes an event of each asset once, whose cost is no run's."""


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """Each go is a process of its own, or a run of processes that stay."""
    yield from _loads(bench)
    if bench.quick:
        for name in ("webserver-5000", "one-of-5000", "daemon-of-5000", "run", "range-30x30", "celery-4"):
            yield Skipped(f"dagster.{name}", "a quick run starts no webserver, daemon or run of Dagster's")
        return
    if bench.wants("dagster.webserver-5000"):
        made, python = project(bench.folder, LOADS[-1], NOWHERE), bench.peer("Dagster")
        yield Case(
            "dagster.webserver-5000",
            lambda: _webserver(Deployment(made)),
            python if isinstance(python, str) else lambda: _webserver(Deployment.of_bare(made, python)),
            rounds=ROUNDS,
            warm_up=False,
        )
    with Sandbox(now=END, markets=MARKETS).running() as exchange:
        if bench.wants("dagster.one-of-5000"):
            sides = [_one_asset(bench.folder, nodes, exchange.url) for nodes in (LOADS[-1], FEW)]
            yield Case("dagster.one-of-5000", *sides, rounds=ROUNDS)
        yield from _launched(bench, exchange.url)
        if bench.wants("dagster.celery-4"):
            yield from _celery(bench, exchange.url)


def _launched(bench: Bench, url: str) -> Iterator[Case | Skipped]:
    """Runs that a webserver is asked for and a daemon starts, of projects side by side."""
    if bench.wants("dagster.daemon-of-5000"):
        many, few = (Deployment(project(bench.folder, nodes, url, "-ours")) for nodes in (LOADS[-1], FEW))
        with _started(many), _started(few):
            sides = map(_daily_run, (many, few))
            yield Case("dagster.daemon-of-5000", *sides, rounds=RUNS)
    lines = [name for name in ("dagster.run", "dagster.range-30x30") if bench.wants(name)]
    if not lines:
        return
    python = bench.peer("Dagster")
    if isinstance(python, str):
        yield from (Skipped(name, python) for name in lines)
        return
    ours = Deployment(project(bench.folder, THIRTY, url, "-ours"))
    bare = Deployment.of_bare(project(bench.folder, THIRTY, url, "-bare"), python)
    with _started(ours), _started(bare):
        if "dagster.run" in lines:
            yield Case("dagster.run", *map(_daily_run, (ours, bare)), rounds=RUNS)
        if "dagster.range-30x30" in lines:
            sides = [partial(_range, deployment) for deployment in (ours, bare)]
            yield Case("dagster.range-30x30", *sides, rounds=1, warm_up=False)


@contextmanager
def _started(deployment: Deployment) -> Iterator[None]:
    """A webserver and a daemon of it that are ready."""
    with deployment:
        deployment.start_webserver()
        deployment.start_daemon()
        yield


def _loads(bench: Bench) -> Iterator[Case]:
    """A code location of so many nodes, beside bare multi-assets with the same keys and checks."""
    for nodes in LOADS:
        name = f"dagster.load-{nodes}"
        if bench.wants(name):
            folder = project(bench.folder, bench.size(nodes, 3), NOWHERE)
            python = bench.peer("Dagster")
            ours = partial(_load, OURS, "ours", folder / "seamless.yaml")
            bare = python if isinstance(python, str) else partial(_load, python, "bare", write_bare(folder))
            yield Case(name, ours, bare, ROUNDS, warm_up=False)


def _load(python: Path, kind: str, file: Path) -> Sample:
    """CPU seconds that a code location takes, without the imports."""
    ended = run_process([python, "-m", "bench.contenders.dagster", kind, file])
    return Sample(float(ended.output.split()[-1]), memory_mib=ended.peak_mib)


def project(folder: Path, nodes: int, url: str, more: str = "") -> Path:
    """A folder with the seamless.yaml of so many nodes, and its `DAGSTER_HOME`."""
    made = folder / f"{nodes}-{len(url)}{more}"
    if not made.exists():
        (made / "home").mkdir(parents=True)
        (made / "home" / "dagster.yaml").write_text(json.dumps(HOME))
        symbols = json.dumps(SYMBOLS[:nodes])
        (made / "seamless.yaml").write_text(
            "seamless:\n  artifact: {object_store_uri: ./artifacts}\n"
            "  hot_store: {dsn: sqlite:///./hot.sqlite}\n  state_dir: ./state\n"
            "  rate_limit: {tokens_per_interval: 1000000, burst_tokens: 1000000}\n"
            f"exchanges:\n  binance: {{base_url: '{url}', symbols: {symbols}, start: 2025-01-01}}\n"
        )
    return made


def _webserver(deployment: Deployment) -> Sample:
    """CPU seconds until a webserver has loaded the location, its code server's too."""
    with deployment:
        deployment.start_webserver()
        used = deployment.cpu()
    return Sample(used, used)


def _daily_run(deployment: Deployment) -> Probe:
    """Runs of one asset, of another day each time."""
    days = count(1)
    return lambda: deployment.measured_run([KEYS[0]], {"dagster/partition": f"2025-01-{next(days):02}"})


def _range(deployment: Deployment) -> Sample:
    """A run of all thirty assets over a range of thirty days."""
    first, last = "2025-01-29", "2025-02-27"
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return deployment.measured_run(KEYS, tags)


def _celery(bench: Bench, url: str) -> Iterator[Case | Skipped]:
    """Runs that wait, done by warm workers or by a process for each, all else being as in `ops/cluster`."""
    with cluster_servers(bench.folder) as served:
        if isinstance(served, str):
            yield Skipped("dagster.celery-4", served)
            return
        config = yaml.safe_load((ROOT / "ops" / "cluster" / "dagster.yaml").read_text()) | HOME
        # There is no bucket here for what runs print.
        del config["compute_logs"]
        bare = {name: value for name, value in config.items() if name != "run_launcher"}

        def side(config: dict[str, Any], *, workers: int) -> Sample:
            served.make_database("dagster")
            with passing_folder(within=bench.folder) as folder:
                made = project(folder, FEW, url)
                (made / "home" / "dagster.yaml").write_text(json.dumps(config))
                with Deployment(made, environment=served.environment) as deployment:
                    return Sample(_seconds_a_run(deployment, workers))

        yield Case(
            "dagster.celery-4",
            partial(side, config, workers=WORKERS),
            partial(side, bare, workers=0),
            rounds=1,
            warm_up=False,
        )


def _seconds_a_run(deployment: Deployment, workers: int) -> float:
    """From the first start to the last end of runs that waited, all of different days."""
    deployment.start_webserver()
    for number in range(WORKED):
        deployment.launch([KEYS[number % FEW]], {"dagster/partition": f"2025-01-{number + 1:02}"})
    if workers:
        deployment.start_workers(workers, "binance,dagster")
    deployment.start_daemon()
    done = deployment.await_ends(WORKED)
    return (max(one["endTime"] for one in done) - min(one["startTime"] for one in done)) / WORKED


def _one_asset(folder: Path, nodes: int, url: str) -> Probe:
    """`dagster asset materialize` over one asset, another partition each time."""
    made, days = project(folder, nodes, url), count(1)
    environment = {
        "PATH": os.defpath,
        "HOME": str(made),
        "DAGSTER_HOME": str(made / "home"),
        "SEAMLESS_CONFIG": str(made / "seamless.yaml"),
        "PYTHONPATH": str(ROOT),
    }

    def probe() -> Sample:
        words = ["asset", "materialize", "-m", "seamless_assets.definitions"]
        words += ["--select", "key:ohlcv/binance/BTC_USDT_1m", "--partition", f"2025-01-{next(days):02}"]
        return run_process([OURS.with_name("dagster"), *words], cwd=made, environment=environment).by_cpu

    return probe
