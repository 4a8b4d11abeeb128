"""Speed of a backfill beside `freqtrade download-data` and beside its own rate budget, in one run.

    python bench/fetch_speed.py [--rounds 3] [--days 120] [--budget-days 800]

Both fetch the same one-minute bars of bybit from one local exchange that answers after 50 ms; each is a
process of its own, timed from its start to its end, and they take turns. freqtrade runs as it comes and
with its pacing switched off. Then a backfill of ours runs under a budget of 10 requests a second, beside
the time that the fewest possible requests take at that budget. Printed are medians; exits with 1 where
ours is less than 3 x faster than freqtrade as it comes, or takes more than 1.05 x what the budget asks.
freqtrade is installed beside the project's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "ops"), str(ROOT / "seamless_assets_tests")]

from bootstrap import PYTHON, uv_environment  # noqa: E402
from support.services import free_port  # noqa: E402

FREQTRADE = ROOT / ".venv" / "freqtrade"
SYMBOL = "BTC/USDT"
NODE = f"ohlcv:bybit:{SYMBOL}:1m"
END = datetime(2024, 12, 31, tzinfo=UTC)
ANSWER_S = 0.05
PAGE = 1000
FASTER_GOAL, BUDGET_GOAL = 3.0, 1.05
BINDING = {
    "tokens_per_interval": 10,
    "interval_ms": 1_000,
    "burst_tokens": 1,
    "local_semaphore": 20,
    # Nobody reads meanwhile: the whole budget is for the backfill.
    "reserved_share": 0,
}
LOOSE = {"tokens_per_interval": 10_000, "interval_ms": 1_000, "burst_tokens": 10_000, "local_semaphore": 20}
OURS = """
import sys, time
import seamless_assets as sa
with sa.connect(sys.argv[1]) as s:
    begun = time.perf_counter()
    added = s.backfill(*sys.argv[2:]).added
    print(added, "added in", time.perf_counter() - begun)
"""


@dataclass(frozen=True)
class Run:
    """A process that ended: seconds, peak MiB, candle requests that the exchange counted, last words."""

    seconds: float
    peak_mib: float
    requests: int
    said: str


class Exchange:
    """The local exchange in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Steer it."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def candle_requests(self) -> int:
        """Requests for candles since it was last told to forget them."""
        return sum(request["path"].endswith("/kline") for request in self.ask("GET", "requests"))


@contextmanager
def exchange() -> Iterator[Exchange]:
    """A local exchange that answers after 50 ms, its clock stopped behind the bars fetched."""
    words = ["-m", "seamless_assets.sandbox", "--port", str(free_port()), "--now", str(int(END.timestamp()))]
    process = subprocess.Popen([PYTHON, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        served = Exchange(process.stdout.readline().split()[-1])
        served.ask("POST", "faults", {"kind": "delay", "seconds": ANSWER_S, "times": None})
        yield served
    finally:
        process.terminate()
        process.wait()


def freqtrade_program() -> Path:
    """freqtrade in an environment of its own."""
    program = FREQTRADE / "bin" / "freqtrade"
    if not program.exists():
        for words in (
            ["venv", "-q", str(FREQTRADE)],
            ["pip", "install", "-q", "--python", str(FREQTRADE / "bin" / "python"), "freqtrade"],
        ):
            subprocess.run([PYTHON, "-m", "uv", *words], env=uv_environment(), check=True)
    return program


def run(served: Exchange, words: list[str], expected: str) -> Run:
    """Run a process to its end; it must say `expected`."""
    served.ask("DELETE", "requests")
    with tempfile.TemporaryFile("w+") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        output.seek(0)
        said = output.read()
    if status or expected not in said:
        raise SystemExit(f"{words[0]} failed ({expected!r} expected):\n{said[-2_000:]}")
    return Run(seconds, usage.ru_maxrss / 1024, served.candle_requests(), said)


def ours(served: Exchange, start: datetime, budget: dict[str, int]) -> Run:
    """A backfill by this project into an empty hot store."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "seamless": {
                "artifact": {"object_store_uri": f"{folder}/artifacts"},
                "hot_store": {"dsn": f"sqlite:///{folder}/hot.sqlite"},
                "state_dir": f"{folder}/state",
                "rate_limit": budget,
            },
            "exchanges": {
                "bybit": {
                    "base_url": served.url,
                    "symbols": [SYMBOL],
                    "timeframes": ["1m"],
                    "start": f"{start:%Y-%m-%d}",
                }
            },
        }
        config = Path(folder) / "seamless.yaml"
        config.write_text(json.dumps(settings))
        return run(
            served, [PYTHON, "-c", OURS, str(config), NODE, start.isoformat(), END.isoformat()], "added"
        )


def freqtrade(served: Exchange, start: datetime, *, paced: bool) -> Run:
    """The same download by freqtrade into an empty folder."""
    side = {"price_side": "same", "use_order_book": True, "order_book_top": 1}
    settings = {
        "stake_currency": "USDT",
        "dry_run": True,
        "entry_pricing": side,
        "exit_pricing": side,
        "exchange": {
            "name": "bybit",
            "ccxt_config": {
                "enableRateLimit": paced,
                "urls": {"api": dict.fromkeys(("spot", "futures", "v2", "public", "private"), served.url)},
            },
            "pair_whitelist": [SYMBOL],
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(settings))
        words = [str(freqtrade_program()), "download-data", "-c", str(config), "--userdir", folder]
        words += ["--timeframes", "1m", "--timerange", f"{start:%Y%m%d}-{END:%Y%m%d}", "--pairs", SYMBOL]
        return run(served, words, "Downloaded data")


def shown(name: str, runs: list[Run]) -> float:
    """Print the medians of a contender; its seconds."""
    seconds = statistics.median(run.seconds for run in runs)
    peak = statistics.median(run.peak_mib for run in runs)
    print(f"{name:<34} {seconds:8.2f} s {peak:8.0f} MiB {runs[-1].requests:6} requests")
    return seconds


def main() -> int:
    """Run all contenders in turn; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--budget-days", type=int, default=800)
    options = parser.parse_args()
    start = END - timedelta(days=options.days)
    freqtrade_program()
    with exchange() as served:
        ours(served, start, LOOSE)
        rounds = [
            (
                freqtrade(served, start, paced=True),
                freqtrade(served, start, paced=False),
                ours(served, start, LOOSE),
            )
            for _ in range(options.rounds)
        ]
        bound = [
            ours(served, END - timedelta(days=options.budget_days), BINDING) for _ in range(options.rounds)
        ]
    paced, unpaced, own = map(list, zip(*rounds, strict=True))
    print(f"{options.days} days of 1m bars, answers after {ANSWER_S * 1000:.0f} ms, {options.rounds} rounds")
    faster = shown("freqtrade download-data", paced), shown("freqtrade, its pacing off", unpaced)
    loose = shown("ours", own)
    needed = -(-options.budget_days * 1440 // PAGE)
    asked = needed * BINDING["interval_ms"] / 1_000 / BINDING["tokens_per_interval"]
    ratio = statistics.median(float(run.said.split()[-1]) for run in bound) / asked
    print(f"ours is {faster[0] / loose:.1f} x faster than freqtrade (goal {FASTER_GOAL:.1f})")
    print(f"ours is {faster[1] / loose:.1f} x faster than freqtrade with its pacing off")
    print(
        f"{options.budget_days} days under a budget: {bound[-1].requests} requests where {needed} are the "
        f"fewest, {ratio:.3f} x their time (goal {BUDGET_GOAL:.2f})"
    )
    return int(faster[0] / loose < FASTER_GOAL or ratio > BUDGET_GOAL)


if __name__ == "__main__":
    sys.exit(main())
