"""Who hears what happens."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from seamless_assets.core.sharing.events import Event


class Observer(Protocol):
    """Hears what happens."""

    def notify(self, event: Event) -> None:
        """Take note; never blocks, never raises."""


Facts = Mapping[str, str | int | float]
"""What a span tells by name, beside its own name and times."""


class Tracer(Protocol):
    """Hears how long a piece of work takes, inside which other one, and how it ends."""

    def span(self, name: str, facts: Facts) -> AbstractContextManager[object]:
        """A block that is one piece of work; an error that leaves it is told too."""
