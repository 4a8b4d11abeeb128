"""Who hears what happens."""

from __future__ import annotations

from typing import Protocol

from seamless_assets.core.sharing.events import Event


class Observer(Protocol):
    """Hears what happens."""

    def notify(self, event: Event) -> None:
        """Take note; never blocks, never raises."""
