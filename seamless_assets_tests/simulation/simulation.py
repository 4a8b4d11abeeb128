"""What every workload has in common: from its beginning to its result, and a look in peace at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from seamless_assets.errors import SeamlessError
from seamless_assets_tests.simulation.cluster import Cluster
from seamless_assets_tests.simulation.faults import FaultInjector, Trace
from seamless_assets_tests.simulation.process import Machine, Process
from seamless_assets_tests.simulation.scheduler import SeededLoop
from seamless_assets_tests.simulation.worker_pool import WorkerPool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """The hash of all that happened, the invariants that were violated, and how many faults were injected."""

    trace: str
    violations: tuple[str, ...]
    injected: int


class Simulation(ABC):
    """One seeded run of a workload, set up by its kind; nothing has happened in it before `run`."""

    violations: list[str]
    trace: Trace
    loop: SeededLoop
    injector: FaultInjector
    cluster: Cluster
    pool: WorkerPool
    deadline: float
    """When all processes must be done, in true time."""

    def run(self) -> Result:
        """Run to the end and check the invariants."""
        try:
            self.schedule()
            self.pool.start()
            self.loop.run_until(self._is_over, self.deadline)
            if not self.violations:
                self.check()
        except (AssertionError, SeamlessError) as error:
            self.violations.append(f"{type(error).__name__}: {error}")
        finally:
            self.loop.abandon()
        violations = tuple(self.violations + self.loop.unhandled)
        return Result(self.trace.digest, violations, self.injector.injected)

    @abstractmethod
    def schedule(self) -> None:
        """Plan what happens of itself while the processes work."""

    @abstractmethod
    def check(self) -> None:
        """Add to `violations` what is wrong with what the processes left behind."""

    def in_peace(self, work: Callable[[Process], Coroutine[Any, Any, T]], seconds: float, slot: int = 0) -> T:
        """Let one more process do `work` within so many seconds, with nothing going wrong any more."""
        self.injector.stop()
        inspector = Process(self.loop, Machine(self.loop), slot, "inspector", Random(0))
        task = inspector.start(work(inspector))
        self.loop.run_until(task.done, self.loop.time() + seconds)
        done: T = task.result()
        return done

    def _is_over(self) -> bool:
        return bool(self.violations) or self.pool.is_done()
