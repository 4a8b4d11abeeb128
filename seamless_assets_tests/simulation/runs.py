"""Runs by name and seed, many at once, and how a failing one is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seamless_assets_tests.simulation.fate import Odds
from seamless_assets_tests.simulation.fetching import FetchRun
from seamless_assets_tests.simulation.governance import GovernanceRun
from seamless_assets_tests.simulation.seeded import SeededRun
from seamless_assets_tests.simulation.verdict import Verdict

RUNS: dict[str, Callable[[int, Odds | None, int | None], SeededRun]] = {
    "fetch": FetchRun,
    "governance": GovernanceRun,
}
SEEDS = {"fetch": range(300), "governance": range(300)}
"""What CI runs."""


def play(kind: str, seed: int, odds: Odds | None = None) -> Verdict:
    """One run from its beginning to its verdict."""
    return RUNS[kind](seed, odds, 0).go()


def failing(kind: str, seeds: Iterable[int]) -> list[str]:
    """What the runs of these seeds found, each with the command that replays it."""
    found = []
    for seed in seeds:
        verdict = play(kind, seed)
        if verdict.faults:
            found.append(told(kind, seed, verdict))
    return found


def told(kind: str, seed: int, verdict: Verdict) -> str:
    """A failing seed in words."""
    more = f" and {len(verdict.faults) - 1} more" if len(verdict.faults) > 1 else ""
    command = f"python -m seamless_assets_tests.simulation {kind} --seed {seed}"
    return f"{verdict.faults[0]}{more}\n  replay: {command}"
