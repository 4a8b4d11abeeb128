"""Outages of a shared service: noticed once, said once, and ended by the first question that is answered."""

from __future__ import annotations

from seamless_assets.core.sharing.events import CoordinationEvent
from seamless_assets.flows.ports import Clock, Observer

FIRST_PROBE_S = 0.1
LONGEST_PROBE_S = 1.0


class Outage:
    """Whether a service is away. While it is, one caller at a time asks it again, after growing delays.

    `number` counts the outages so far.
    """

    def __init__(self, service: str, clock: Clock, observer: Observer) -> None:
        self._service, self._clock, self._observer = service, clock, observer
        self.number = 0
        self._began: float | None = None
        self._asked = self._delay = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the service is away, as far as is known."""
        return self._began is not None

    def may_ask(self) -> bool:
        """Whether the caller shall ask the service now, rather than do without it."""
        if self._began is None:
            return True
        now = self._clock.now()
        # A clock that was set back must not keep the service away until it has caught up.
        if 0 <= now - self._asked < self._delay:
            return False
        self._asked, self._delay = now, min(2 * self._delay, LONGEST_PROBE_S)
        return True

    def begin(self, error: Exception) -> None:
        """The service did not answer."""
        if self._began is None:
            self.number += 1
            self._began = self._asked = self._clock.now()
            self._delay = FIRST_PROBE_S
            self._observer.notify(CoordinationEvent(self._service, False, str(error)))

    def end(self) -> None:
        """The service answered."""
        if self._began is not None:
            seconds = max(0.0, self._clock.now() - self._began)
            self._began = None
            self._observer.notify(
                CoordinationEvent(self._service, True, f"answers again after {seconds:.1f} s")
            )
