"""Seeded runs of the real flows: nothing may be found wrong, and a seed tells the same story every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seamless_assets_tests.simulation.runner import MANY, SEEDS, WORKLOADS, failing, simulate

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 15
EVENTFUL = 3
"""A seed in which much goes wrong, whatever the workload."""
BLOCKS = [(kind, seeds[at : at + BLOCK]) for kind, seeds in SEEDS.items() for at in seeds[::BLOCK]]


@pytest.mark.parametrize(("kind", "seeds"), BLOCKS, ids=[f"{kind}-{seeds.start}" for kind, seeds in BLOCKS])
def test_nothing_goes_wrong(kind: str, seeds: range) -> None:
    found = failing(kind, seeds)
    assert not found, "\n".join(found)


MORE = [
    (kind, seeds[at : at + BLOCK])
    for kind, seeds in MANY.items()
    for at in range(len(SEEDS[kind]), len(seeds), BLOCK)
]


@pytest.mark.deep
@pytest.mark.parametrize(("kind", "seeds"), MORE, ids=[f"{kind}-{seeds.start}" for kind, seeds in MORE])
def test_nothing_goes_wrong_in_many_more_seeds(kind: str, seeds: range) -> None:
    found = failing(kind, seeds)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_seed_replays_exactly(kind: str) -> None:
    first = simulate(kind, EVENTFUL)
    assert first.injected > 10
    assert first == simulate(kind, EVENTFUL) and first != simulate(kind, EVENTFUL + 1)


def test_a_seed_replays_exactly_in_processes_that_hash_differently() -> None:
    replays = [
        subprocess.Popen(
            [sys.executable, "-m", "seamless_assets_tests.simulation", "--seed", str(EVENTFUL)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    first, second = (replay.communicate()[0] for replay in replays)
    assert [replay.returncode for replay in replays] == [0, 0], first[-2000:]
    assert first == second
    assert all(f"{kind} {EVENTFUL}: trace " in first for kind in WORKLOADS)
