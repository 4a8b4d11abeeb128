"""Seeded runs of the real flows: nothing may be found wrong, and a seed tells the same story every time."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from seamless_assets_tests.simulation.runner import MANY, SEEDS, WORKLOADS, failing, simulate
from seamless_assets_tests.simulation.simulation import Result

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 15
REPLAY_S = 200
EVENTFUL = 3
"""A seed in which much goes wrong, whatever the workload."""


def blocks(seeds: range) -> list[range]:
    """All of them, so many at once."""
    return [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]


BLOCKS = [(kind, block) for kind, seeds in SEEDS.items() for block in blocks(seeds)]
MORE = [(kind, block) for kind, seeds in MANY.items() for block in blocks(seeds[len(SEEDS[kind]) :])]


def test_every_seed_is_run() -> None:
    run = {kind: [seed for one, block in (*BLOCKS, *MORE) if one == kind for seed in block] for kind in MANY}
    assert run == {kind: list(seeds) for kind, seeds in MANY.items()}


@pytest.mark.parametrize(("kind", "seeds"), BLOCKS, ids=[f"{kind}-{seeds.start}" for kind, seeds in BLOCKS])
def test_nothing_goes_wrong(kind: str, seeds: range) -> None:
    found = failing(kind, seeds)
    assert not found, "\n".join(found)


@pytest.mark.deep
@pytest.mark.parametrize(("kind", "seeds"), MORE, ids=[f"{kind}-{seeds.start}" for kind, seeds in MORE])
def test_nothing_goes_wrong_in_many_more_seeds(kind: str, seeds: range) -> None:
    found = failing(kind, seeds)
    assert not found, "\n".join(found)


@cache
def eventful(kind: str) -> Result:
    """The eventful seed as this process runs it, once for all tests that ask."""
    return simulate(kind, EVENTFUL)


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_seed_replays_exactly(kind: str) -> None:
    first = eventful(kind)
    assert first.injected > 20
    assert first == simulate(kind, EVENTFUL) and first != simulate(kind, EVENTFUL + 1)


def replay(hash_seed: str) -> subprocess.CompletedProcess[str]:
    """The eventful seed of all workloads, replayed by a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "seamless_assets_tests.simulation", "--seed", str(EVENTFUL)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=REPLAY_S,
    )


def test_a_seed_replays_exactly_in_processes_that_hash_differently() -> None:
    with ThreadPoolExecutor() as pool:
        replays = list(pool.map(replay, ("1", "2")))
    starts = [f"{kind} {EVENTFUL}: trace " for kind in WORKLOADS]
    ours = [eventful(kind) for kind in WORKLOADS]
    expected = [f"{start}{run.trace}, {run.injected} faults" for start, run in zip(starts, ours, strict=True)]
    for replayed in replays:
        assert replayed.returncode == 0, replayed.stdout[-2000:] + replayed.stderr
        # Not all that happened: pytest would explain for minutes where two such texts differ.
        told = [line for line in replayed.stdout.splitlines() if line.startswith(tuple(starts))]
        assert told == expected, replayed.stderr
