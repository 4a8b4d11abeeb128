"""Where the sessions of worlds are remembered."""

from __future__ import annotations

from typing import Protocol

from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord


class SessionStore(Protocol):
    """Sessions by key, shared by all who name the same world. All raise `SessionStoreError`."""

    async def load(self, key: SessionKey) -> SessionRecord:
        """What is remembered; an empty record where nothing is."""

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        """Change a record at once, against all who change it too; the record before and after.

        `change` may be called more than once; what it raises leaves the record as it was.
        """

    def load_at_hand(self, key: SessionKey) -> SessionRecord | None:
        """What `load` gives, where it is known without waiting; None else."""

    def is_unchanged_at_hand(self, key: SessionKey, change: Change) -> bool:
        """Whether `change` is known, without waiting, to leave the record as it is."""

    async def list_keys(self) -> list[SessionKey]:
        """Every session that is remembered, in order."""

    async def count(self) -> int:
        """How many sessions are remembered."""

    async def load_all(self, world_id: str | None = None) -> dict[SessionKey, SessionRecord]:
        """Every session that is remembered, of one world where it is named, in order of the keys."""

    async def close(self) -> None:
        """Let go of files and connections."""
