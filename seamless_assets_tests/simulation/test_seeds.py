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
    results = ((seed, simulate(kind, seed)) for seed in SEEDS[kind])
    seed, first = next((seed, result) for seed, result in results if result.injected > 20)
    assert first == simulate(kind, seed) and first != simulate(kind, seed + 1)
    for hash_seed in ("1", "2"):
        replayed = subprocess.run(
            [sys.executable, "-m", "seamless_assets_tests.simulation", kind, "--seed", str(seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert replayed.returncode == 0, replayed.stdout[-2000:] + replayed.stderr
        assert f"trace {first.trace}, {first.injected} faults" in replayed.stdout
