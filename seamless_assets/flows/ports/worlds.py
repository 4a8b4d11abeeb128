"""Who decides whether a world may trade."""

from __future__ import annotations

from typing import Protocol

from seamless_assets.core.worlds.decision import Decision


class WorldService(Protocol):
    """An outside service that decides of worlds."""

    async def decide(self, world_id: str, as_of: str | None, known: Decision | None) -> Decision:
        """The decision on a world that is bound to `as_of`; `known` is the last one, which may still stand.

        Raises `WorldServiceUnavailable`.
        """


class WorldDecisions(Protocol):
    """The decisions that hold now, each asked for once in its time."""

    async def in_force(self, world_id: str, as_of: str | None) -> Decision:
        """The decision on a world that is bound to `as_of`; compute-only where none can be had."""
