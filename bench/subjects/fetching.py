"""A backfill beside `freqtrade download-data`, beside a bare ccxt loop, and beside its own rate budget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.measuring.process import Ended, ProcessFailed, run_process
from bench.measuring.sample import Sample
from bench.places import OURS, passing_folder
from bench.running import Bench, Case
from bench.worlds.servers import LocalExchange, local_exchange

SYMBOL = "BTC/USDT"
NODE = f"ohlcv:bybit:{SYMBOL}:1m"
END = datetime(2024, 12, 31, tzinfo=UTC)
ANSWER_S, PAGE, DAY_BARS = 0.05, 1_000, 1_440
BINDING = {
    "tokens_per_interval": 10,
    "interval_ms": 1_000,
    "burst_tokens": 1,
    "local_semaphore": 20,
    # Nobody reads meanwhile: the whole budget is for the backfill.
    "reserved_share": 0,
}
LOOSE = {"tokens_per_interval": 10_000, "interval_ms": 1_000, "burst_tokens": 10_000, "local_semaphore": 20}
OURS_CODE = """
import sys, time
import seamless_assets as sa
with sa.connect(sys.argv[1]) as s:
    begun = time.perf_counter()
    added = s.backfill(*sys.argv[2:]).added
    print(added, "added in", time.perf_counter() - begun)
"""
CCXT_CODE = """
import sys, ccxt
url, symbol, start, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
exchange = ccxt.bybit({"enableRateLimit": True, "urls": {"api": dict.fromkeys(
    ("spot", "futures", "v2", "public", "private"), url)}})
bars, since = {}, start
while since < end:
    page = exchange.fetch_ohlcv(symbol, "1m", since, 1000)
    bars.update((row[0], row) for row in page if row[0] < end)
    since = max(page[-1][0], since) + 60_000 if page else since + 60_000_000
print(len(bars), "added")
"""
ROUNDS = 3


def cases(bench: Bench) -> Iterator[Case]:
    """Both fetch the same bars of one local exchange, in processes timed from their start to their end."""
    start = END - timedelta(days=bench.size(120, 1))
    with local_exchange(END.timestamp(), ANSWER_S) as served:
        fetch = partial(_ours, served, start, LOOSE)
        for name, package, peer in (
            ("freqtrade", "freqtrade", partial(_freqtrade, paced=True)),
            ("freqtrade-unpaced", "freqtrade", partial(_freqtrade, paced=False)),
            ("ccxt", "ccxt", _ccxt),
        ):
            if bench.wants(f"fetching.{name}"):
                python = bench.peer(package)
                other = python if isinstance(python, str) else partial(peer, python, served, start)
                yield Case(f"fetching.{name}", fetch, other, ROUNDS, warm_up=False)
        for days in (100, 300):
            if bench.wants(name := f"fetching.requests-{days}-days"):
                yield _requests(served, name, bench.size(days, 1))
        if bench.wants("fetching.budget"):
            yield _budget(bench, served)


def _requests(served: LocalExchange, line: str, days: int) -> Case:
    """The requests of a backfill of every kind, beside the fewest full pages that hold its bars."""

    def fetch() -> Sample:
        served.steer("DELETE", "requests")
        ended = _backfill(served, END - timedelta(days=days), LOOSE)
        return Sample(float(served.requests()), memory_mib=ended.peak_mib)

    fewest = Sample(float(-(-days * DAY_BARS // PAGE)))
    return Case(line, fetch, lambda: fewest, rounds=1, warm_up=False)


def _budget(bench: Bench, served: LocalExchange) -> Case:
    """A backfill under a budget, beside the time that the fewest possible requests take at it."""
    days = bench.size(800, 1)
    fewest = -(-days * DAY_BARS // PAGE)
    asked = fewest * BINDING["interval_ms"] / 1_000 / BINDING["tokens_per_interval"]

    def fetch() -> Sample:
        served.steer("DELETE", "requests")
        ended = _backfill(served, END - timedelta(days=days), BINDING)
        return replace(ended.by_wall, value=float(ended.output.split()[-1]))

    def facts() -> dict[str, Any]:
        return {"requests": served.requests(), "fewest_requests": fewest}

    return Case("fetching.budget", fetch, lambda: Sample(asked), ROUNDS, warm_up=False, facts=facts)


def _ours(served: LocalExchange, start: datetime, budget: dict[str, int]) -> Sample:
    return _backfill(served, start, budget).by_wall


def _backfill(served: LocalExchange, start: datetime, budget: dict[str, int]) -> Ended:
    """A backfill by this project into an empty hot store."""
    with passing_folder() as folder:
        config = folder / "seamless.yaml"
        config.write_text(json.dumps(project_settings(str(folder), served.url, start, budget)))
        words = [OURS, "-c", OURS_CODE, config, NODE, start.isoformat(), END.isoformat()]
        return _expected(run_process(words), "added")


def project_settings(
    folder: str, url: str, start: datetime, budget: dict[str, int], symbols: tuple[str, ...] = (SYMBOL,)
) -> dict[str, Any]:
    """Settings whose stores lie in a folder."""
    declared = {
        "base_url": url,
        "symbols": list(symbols),
        "timeframes": ["1m"],
        "start": f"{start:%Y-%m-%d}",
    }
    return {
        "seamless": {
            "artifact": {"object_store_uri": f"{folder}/artifacts"},
            "hot_store": {"dsn": f"sqlite:///{folder}/hot.sqlite"},
            "state_dir": f"{folder}/state",
            "rate_limit": budget,
        },
        "exchanges": {"bybit": declared},
    }


def _ccxt(python: Path, served: LocalExchange, start: datetime) -> Sample:
    """A loop over `fetch_ohlcv` that keeps the bars in a dict."""
    span = [str(int(instant.timestamp() * 1_000)) for instant in (start, END)]
    return _expected(run_process([python, "-c", CCXT_CODE, served.url, SYMBOL, *span]), "added").by_wall


def _freqtrade(python: Path, served: LocalExchange, start: datetime, *, paced: bool) -> Sample:
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
    with passing_folder() as folder:
        config = folder / "config.json"
        config.write_text(json.dumps(settings))
        words = [python.with_name("freqtrade"), "download-data", "-c", config, "--userdir", folder]
        words += ["--timeframes", "1m", "--timerange", f"{start:%Y%m%d}-{END:%Y%m%d}", "--pairs", SYMBOL]
        return _expected(run_process(words), "Downloaded data").by_wall


def _expected(ended: Ended, words: str) -> Ended:
    if words not in ended.output:
        raise ProcessFailed(f"{words!r} was expected:\n{ended.output[-2_000:]}")
    return ended
