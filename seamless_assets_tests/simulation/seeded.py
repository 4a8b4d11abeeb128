"""What every kind of run has in common: from its beginning to its verdict, and a look in peace at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from seamless_assets_tests.simulation.crew import Crew
from seamless_assets_tests.simulation.fate import Fate, Trace, Worker
from seamless_assets_tests.simulation.loop import SimLoop
from seamless_assets_tests.simulation.verdict import Verdict

T = TypeVar("T")


class SeededRun(ABC):
    """One seeded run, set up by its kind; nothing has happened in it before `go`."""

    faults: list[str]
    trace: Trace
    loop: SimLoop
    fate: Fate
    crew: Crew
    deadline: float
    """When the crew must be done, by the clock of the run."""

    def go(self) -> Verdict:
        """Run to the end and judge."""
        try:
            self.schedule()
            self.crew.start()
            self.loop.run_until(self._is_over, self.deadline)
            if not self.faults:
                self.judge()
        except AssertionError as error:
            self.faults.append(str(error))
        finally:
            self.loop.bury()
        return Verdict(self.trace.digest, tuple(self.faults + self.loop.mishaps), self.fate.befallen)

    @abstractmethod
    def schedule(self) -> None:
        """Plan what happens of itself while the crew works."""

    @abstractmethod
    def judge(self) -> None:
        """Add to `faults` what is wrong with what the crew left behind."""

    def in_peace(self, work: Callable[[Worker], Coroutine[Any, Any, T]], seconds: float) -> T:
        """Let one more worker do `work` within so many seconds, with nothing going wrong any more."""
        self.fate.calm_down()
        inspector = Worker(self.loop, 0, "inspector", Random(0), 0.0)
        task = inspector.start(work(inspector))
        self.loop.run_until(task.done, self.loop.time() + seconds)
        done: T = task.result()
        return done

    def _is_over(self) -> bool:
        return bool(self.faults) or self.crew.is_done()
