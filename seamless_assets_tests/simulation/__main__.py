"""Runs any number of seeds, or replays one: `python -m seamless_assets_tests.simulation --seeds 1000`."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from seamless_assets_tests.simulation.runner import WORKLOADS, failing

BLOCK = 10


def main() -> int:
    """0 where every run was clean, 1 where one was not."""
    asked = _arguments()
    kinds = [asked.workload] if asked.workload else list(WORKLOADS)
    if asked.seed is not None:
        return max(_replay(kind, asked.seed) for kind in kinds)
    return max(_sweep(kind, range(asked.first, asked.first + asked.seeds), asked.jobs) for kind in kinds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m seamless_assets_tests.simulation", description=__doc__)
    parser.add_argument("workload", nargs="?", choices=list(WORKLOADS), help="one of them (default: all)")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds of each workload")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one, with everything that happened")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    return parser.parse_args()


def _replay(kind: str, seed: int) -> int:
    simulation = WORKLOADS[kind](seed, None, None)
    result = simulation.run()
    sys.stdout.writelines(simulation.trace.lines)
    print(f"{kind} {seed}: trace {result.trace}, {result.injected} faults")
    print("\n".join(result.violations) or "nothing was found wrong")
    return 1 if result.violations else 0


def _sweep(kind: str, seeds: range, jobs: int) -> int:
    blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
    found: list[str] = []
    with ProcessPoolExecutor(jobs) as pool:
        for violations in pool.map(partial(failing, kind), blocks):
            found += violations
            for violation in violations:
                print(violation, flush=True)
    print(f"{kind}: {len(seeds)} seeds, {len(found)} of them with violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
