"""Runs workloads by name and seed, many at once, and tells a failing one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seamless_assets_tests.simulation.faults import FaultRates
from seamless_assets_tests.simulation.simulation import Result, Simulation
from seamless_assets_tests.simulation.workloads.fetch import FetchDisastersWorkload, FetchWorkload
from seamless_assets_tests.simulation.workloads.governance import (
    GovernanceDisastersWorkload,
    GovernanceWorkload,
)
from seamless_assets_tests.simulation.workloads.live import LiveWorkload
from seamless_assets_tests.simulation.workloads.readers import ReadersWorkload
from seamless_assets_tests.simulation.workloads.streams import StreamsWorkload
from seamless_assets_tests.simulation.workloads.worlds import WorldsWorkload

WORKLOADS: dict[str, Callable[[int, FaultRates | None, int | None], Simulation]] = {
    "fetch": FetchWorkload,
    "governance": GovernanceWorkload,
    "live": LiveWorkload,
    "readers": ReadersWorkload,
    "streams": StreamsWorkload,
    "worlds": WorldsWorkload,
    "fetch-disasters": FetchDisastersWorkload,
    "governance-disasters": GovernanceDisastersWorkload,
}
SEEDS = {
    "fetch": range(90),
    "governance": range(75),
    "live": range(40),
    "readers": range(20),
    "streams": range(300),
    "worlds": range(10),
    "fetch-disasters": range(62, 70),
    "governance-disasters": range(240, 255),
}
"""What CI runs."""
MANY = {
    **SEEDS,
    "fetch": range(450),
    "governance": range(300),
    "live": range(10_000),
    "readers": range(30),
    "streams": range(10_000),
    "worlds": range(400),
    "fetch-disasters": range(62, 78),
    "governance-disasters": range(240, 540),
}
"""Where planted bugs are looked for, and what a long run tries."""


def simulate(kind: str, seed: int, rates: FaultRates | None = None) -> Result:
    """Run one seed from its beginning to its result."""
    return WORKLOADS[kind](seed, rates, 0).run()


def failing(kind: str, seeds: Iterable[int]) -> list[str]:
    """What the runs of these seeds found, each with the command that replays it."""
    found = []
    for seed in seeds:
        result = simulate(kind, seed)
        if result.violations:
            found.append(report(kind, seed, result))
    return found


def report(kind: str, seed: int, result: Result) -> str:
    """A failing seed in words."""
    more = f" and {len(result.violations) - 1} more" if len(result.violations) > 1 else ""
    command = f"python -m seamless_assets_tests.simulation {kind} --seed {seed}"
    return f"{result.violations[0]}{more}\n  replay: {command}"
