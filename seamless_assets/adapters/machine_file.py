"""A SQLite file that all processes of this machine share: one transaction at a time, in a worker thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from seamless_assets._uncut import uncut
from seamless_assets.adapters.sqlite import open_database, transaction
from seamless_assets.errors import SeamlessError

T = TypeVar("T")


class MachineFile:
    """Runs transactions on `path`; what goes wrong with the file becomes `error`, said of `what`."""

    def __init__(
        self, path: Path, schema: Sequence[str], version: int, what: str, error: type[SeamlessError]
    ) -> None:
        self.path = path
        self._schema, self._version = schema, version
        self._what, self._error = what, error
        self._db: sqlite3.Connection | None = None
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The outcome of `work` in one write transaction; once begun it ends, even where we are cancelled."""
        async with self._lock:
            # A thread cannot be cancelled, and the next transaction must not meet it on the connection.
            return await uncut(asyncio.ensure_future(asyncio.to_thread(self._work, work)))

    async def close(self) -> None:
        """Close the file."""
        async with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self._db = open_database(self.path, self._schema, self._version)
            with transaction(self._db):
                return work(self._db)
        except (sqlite3.Error, OSError) as error:
            raise self._error(
                f"{self._what} {self.path} cannot be used: {error}; set seamless.state_dir to a folder that "
                "all processes of this machine can write",
                path=self.path,
            ) from error
