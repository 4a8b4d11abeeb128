"""Many nodes in Dagster beside bare assets; by processor time, which other work changes little."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from bench.measuring.process import run_process
from bench.measuring.sample import Probe, Sample
from bench.places import OURS, ROOT
from bench.running import Bench, Case, Skipped
from seamless_assets.sandbox.server import Sandbox

FEW = 10
LOADS = (1_000, 5_000)
ROUNDS = 3


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """Each go is a process of its own."""
    yield from _loads(bench)
    if bench.wants("dagster.one-of-5000"):
        if bench.quick:
            yield Skipped("dagster.one-of-5000", "a quick run materializes nothing through Dagster")
        else:
            with Sandbox().running() as exchange:
                sides = [_one_asset(bench.folder, nodes, exchange.url) for nodes in (LOADS[-1], FEW)]
                yield Case("dagster.one-of-5000", *sides, rounds=ROUNDS)


def _loads(bench: Bench) -> Iterator[Case]:
    """A code location of so many nodes, beside bare multi-assets with the same keys and checks."""
    for nodes in LOADS:
        name = f"dagster.load-{nodes}"
        if bench.wants(name):
            folder = project(bench.folder, bench.size(nodes, 3), "http://127.0.0.1:1")
            python = bench.peer("Dagster")
            bare = python if isinstance(python, str) else partial(_load, OURS, folder, "bare")
            yield Case(name, partial(_load, OURS, folder, "ours"), bare, ROUNDS, warm_up=False)


def _load(python: Path, folder: Path, kind: str) -> Sample:
    """CPU seconds that a code location takes, without the imports."""
    words = [python, "-m", "bench.contenders.dagster", kind, folder / "seamless.yaml"]
    ended = run_process(words)
    return Sample(float(ended.output.split()[-1]), memory_mib=ended.peak_mib)


def project(folder: Path, nodes: int, url: str) -> Path:
    """A folder with the seamless.yaml of so many nodes, and its `DAGSTER_HOME`."""
    made = folder / f"{nodes}-{len(url)}"
    if not made.exists():
        (made / "home").mkdir(parents=True)
        (made / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        symbols = json.dumps(["BTC/USDT", *(f"COIN{number}/USDT" for number in range(1, nodes))])
        (made / "seamless.yaml").write_text(
            "seamless:\n  artifact: {object_store_uri: ./artifacts}\n"
            "  hot_store: {dsn: sqlite:///./hot.sqlite}\n  state_dir: ./state\n"
            f"exchanges:\n  binance: {{base_url: '{url}', symbols: {symbols}, start: 2025-01-01}}\n"
        )
    return made


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
