"""Speed of `conform` and `fingerprint` on a million bars, as ratios against their peers in the same run.

    python bench/core_speed.py [--bars 1000000] [--rounds 9]

Each round times the peer and ours right after one another; printed are medians. The peer of `conform` is
a bare pandera validation of the same clean bars, that of `fingerprint` is SHA-256 of the
same columns. Exits with 1 where a ratio is above its goal.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "seamless_assets_tests"))

from support.bars_model import Bars

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.releases.fingerprint import fingerprint

NODE = "ohlcv:binance:BTC/USDT:1m"
START = 1_577_836_800


def clean_bars(rows: int) -> pd.DataFrame:
    """One-minute bars without a flag."""
    random = np.random.default_rng(1)
    close = 100 + np.abs(random.normal(size=rows).cumsum()) / 100
    opened = close + random.normal(size=rows) / 10
    return pd.DataFrame(
        {
            "ts": START + 60 * np.arange(rows),
            "open": opened,
            "high": np.maximum(opened, close) + 0.1,
            "low": np.minimum(opened, close) - 0.1,
            "close": close,
            "volume": random.random(rows),
        }
    )


def dirty_bars(clean: pd.DataFrame, *, blocked: bool) -> pd.DataFrame:
    """The same in milliseconds, shuffled, with gaps and repeats, and with NaN prices where `blocked`."""
    random = np.random.default_rng(2)
    kept = clean.take(random.permutation(len(clean))[: int(len(clean) * 0.98)])
    dirty = pd.concat([kept, kept.iloc[: len(clean) // 50]], ignore_index=True)
    dirty["ts"] *= 1000
    if blocked:
        dirty.loc[random.integers(0, len(dirty), len(clean) // 1000), "open"] = np.nan
    return dirty


def ratio(peer: Callable[[], object], ours: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of the peer, of ours, and the median of their ratios."""
    peer(), ours()
    times = []
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for call in (peer, ours):
            call()
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0], marks[2] - marks[1]))
    theirs, own = zip(*times, strict=True)
    return (
        statistics.median(theirs),
        statistics.median(own),
        statistics.median(b / a for a, b in times),
    )


def main() -> int:
    """Print a line for each measurement; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    clean = clean_bars(options.bars)
    table = pa.Table.from_pandas(clean, preserve_index=False)
    warned, blocked = (dirty_bars(clean, blocked=blocked) for blocked in (False, True))
    columns = [np.ascontiguousarray(clean[name]) for name in clean]

    def validate() -> object:
        return Bars.validate(clean)

    def raw_hash() -> object:
        digest = hashlib.sha256()
        for column in columns:
            digest.update(column.data)
        return digest.hexdigest()

    cases: list[tuple[str, Callable[[], object], Callable[[], object], float]] = [
        ("conform, clean pandas", validate, lambda: conform(clean), 1.5),
        ("conform, clean Arrow", validate, lambda: conform(table), 1.5),
        ("conform, ms, shuffled, repeats, gaps", validate, lambda: conform(warned), 4.0),
        ("conform, the same with NaN", validate, lambda: conform(blocked), 4.0),
        ("fingerprint, pandas", raw_hash, lambda: fingerprint(clean, node_id=NODE, interval=60), 1.3),
        ("fingerprint, Arrow", raw_hash, lambda: fingerprint(table, node_id=NODE, interval=60), 1.3),
    ]
    missed = 0
    print(f"{options.bars:,} bars, medians of {options.rounds} rounds")
    for name, peer, ours, goal in cases:
        theirs, own, measured = ratio(peer, ours, options.rounds)
        missed += measured > goal
        print(
            f"{name:38} {own * 1e3:8.1f} ms   peer {theirs * 1e3:8.1f} ms   "
            f"ratio {measured:5.2f}   goal {goal:.1f}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
