"""The machine's rate budget: token buckets in a SQLite file that all local processes share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import TypeVar

from seamless_assets.adapters.machine.file import MachineFile
from seamless_assets.core.sharing import token_bucket as arithmetic
from seamless_assets.core.sharing.token_bucket import Bucket, Budget, Place
from seamless_assets.errors import BudgetUnavailable

T = TypeVar("T")
SCHEMA_VERSION = 2
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS rate_buckets (
    key TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL, born REAL NOT NULL,
    queued INTEGER NOT NULL, cool_until REAL NOT NULL, paused REAL NOT NULL
)""",
)


class MachineBudget:
    """A `BudgetStore` that all processes of this machine share; its time is the machine's."""

    def __init__(self, path: Path) -> None:
        self._file = MachineFile(path, _SCHEMA, SCHEMA_VERSION, "the rate budget", BudgetUnavailable)

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue of `key`. Raises `BudgetUnavailable`."""
        return await self._change(key, budget, lambda held, now: arithmetic.take(budget, held, now, cost))

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        """The place once its wait is over; None if it is void. Raises `BudgetUnavailable`."""
        return await self._change(key, budget, lambda held, _: (held, arithmetic.moved(held, place)))

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Return a place whose request never went out. Raises `BudgetUnavailable`."""
        await self._change(
            key, budget, lambda held, now: (arithmetic.give_back(budget, held, now, place), None)
        )

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Admit nothing under `key` for `seconds`. Raises `BudgetUnavailable`."""
        await self._change(
            key, budget, lambda held, now: (arithmetic.cool_down(budget, held, now, seconds), None)
        )

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count requests of `cost` that went out past the bucket `born`. Raises `BudgetUnavailable`."""
        await self._change(
            key, budget, lambda held, now: (arithmetic.settle(budget, held, now, cost, born), None)
        )

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    async def _change(
        self, key: str, budget: Budget, change: Callable[[Bucket, float], tuple[Bucket, T]]
    ) -> T:
        def work(db: sqlite3.Connection) -> T:
            now = time.time()
            bucket, outcome = change(_load(db, key) or arithmetic.full(budget, now), now)
            _store(db, key, bucket)
            return outcome

        return await self._file.run(work)


def _load(db: sqlite3.Connection, key: str) -> Bucket | None:
    row = db.execute(
        "SELECT tokens, at, born, queued, cool_until, paused FROM rate_buckets WHERE key = ?", (key,)
    ).fetchone()
    return Bucket(*row) if row else None


def _store(db: sqlite3.Connection, key: str, bucket: Bucket) -> None:
    db.execute(
        "INSERT OR REPLACE INTO rate_buckets (key, tokens, at, born, queued, cool_until, paused) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (key, *astuple(bucket)),
    )
