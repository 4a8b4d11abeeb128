"""A SQLite file that all processes of this machine share, in short transactions on a thread of its own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from seamless_assets.adapters.sqlite.file import (
    Database,
    empty_database,
    in_savepoint,
    is_damage,
    open_database,
    transaction,
)
from seamless_assets.adapters.sqlite.together import ProcessEnds, Together
from seamless_assets.core.sharing.events import DamagedState, Event
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.errors import SeamlessError

T = TypeVar("T")
Work = Callable[[Database], T]
TOGETHER = 10_000
"""So many works go into one transaction at most."""
Notify = Callable[[Event], None]


def nobody(_: Event) -> None:
    """Nobody is notified."""


class MachineFile:
    """Runs transactions on `path`; what goes wrong with the file becomes `error`, said of `what`.

    What is asked for while one transaction is under way goes into the next one together. A damaged file is
    reported to `notify` and begun anew, where what it keeps lasts for minutes and everybody can do without
    it; one that is `lasting` is refused instead, for a person to restore.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        version: int,
        what: str,
        error: type[SeamlessError],
        *,
        upgrade: Callable[[Database], None] | None = None,
        notify: Notify = nobody,
        lasting: bool = False,
    ) -> None:
        self.path, self.was_damaged = path, False
        self._schema, self._version, self._upgrade = schema, version, upgrade
        self._notify, self._lasting = notify, lasting
        self._what, self._error = what, error
        self._db: Database | None = None
        # A pool that others share may be full of slow writes just when a lease must be renewed.
        self._together = Together[Work[Any]](path.stem, self._work, TOGETHER)
        self._is_closed = False

    async def run(self, work: Work[T]) -> T:
        """The outcome of `work` in a write transaction; once asked for it ends, even where we are cancelled.

        Its transaction is not its alone: a project error, or a value that SQLite cannot hold, undoes what
        `work` wrote and nothing else. After `close` it is an error of this file's kind.
        """
        if self._is_closed:
            raise self._error(f"{self._what} {self.path} was closed before this was asked", path=self.path)
        try:
            outcome: T = await self._together.run(work)
        except ProcessEnds as error:
            raise self._too_late(error) from error
        return outcome

    async def status(self, kind: str, warning: str = "") -> StoreStatus:
        """What an operator wants to know of the file, which was written to. Raises its error."""
        began = time.perf_counter()
        await self.run(lambda db: db.execute(f"PRAGMA user_version = {self._version}"))
        latency_ms = (time.perf_counter() - began) * 1000
        return StoreStatus(
            kind=kind,
            address=str(self.path),
            version=f"SQLite {sqlite3.sqlite_version}, schema {self._version}",
            lag="none",
            latency_ms=latency_ms,
            warning="it was damaged and has been begun anew" if self.was_damaged else warning,
        )

    async def close(self) -> None:
        """Close the file; nothing can be asked of it afterwards."""
        self._is_closed = True
        await self._together.close()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _work(self, works: Sequence[Work[Any]]) -> list[Any]:
        try:
            return self._persist(works)
        except (sqlite3.Error, OSError) as error:
            # What several raise would mix their tracebacks.
            return [self._unusable(error) for _ in works]

    def _persist(self, works: Sequence[Work[Any]]) -> list[Any]:
        """The outcomes, of a new file where this one is damaged and no other process has begun it anew."""
        try:
            return self._transact(works)
        except sqlite3.Error as error:
            self._close_damaged(error)
        try:
            return self._transact(works)
        except sqlite3.Error as error:
            self._close_damaged(error)
            empty_database(self.path)
            self.was_damaged = True
            self._notify(DamagedState(str(self.path), f"all of it: {error}"))
        return self._transact(works)

    def _transact(self, works: Sequence[Work[Any]]) -> list[Any]:
        if self._db is None:
            self._db = open_database(self.path, self._schema, self._version, self._upgrade)
        with transaction(self._db):
            outcomes = [in_savepoint(self._db, partial(work, self._db)) for work in works]
        found, self._db.damage = self._db.damage, []
        for what in found:
            self._notify(DamagedState(str(self.path), what))
        return outcomes

    def _close_damaged(self, error: sqlite3.Error) -> None:
        """Close the file; raises the error again unless it tells of damage."""
        if self._lasting or not is_damage(error, self.path):
            raise error
        if self._db is not None:
            self._db.close()
            self._db = None

    def _unusable(self, error: Exception) -> SeamlessError:
        return self._error(
            f"{self._what} {self.path} cannot be used: {error}; set seamless.state_dir to a folder that all "
            "processes of this machine can write, where the disk has room and nothing else locks the file",
            path=self.path,
        )

    def _too_late(self, error: ProcessEnds) -> SeamlessError:
        return self._error(
            f"{self._what} {self.path} cannot be asked any more, as the process ends ({error}); close the "
            "pipeline before that",
            path=self.path,
        )
