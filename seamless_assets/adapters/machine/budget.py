"""The machine's rate budget: token buckets in a SQLite file that all local processes share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import TypeVar

from seamless_assets.adapters.machine.file import MachineFile, Notify, nobody
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable
from seamless_assets.core.sharing import token_bucket as arithmetic
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.token_bucket import Bucket, Budget, Place
from seamless_assets.errors import BudgetUnavailable

T = TypeVar("T")
SCHEMA_VERSION = 4
_BUCKETS = MarkedTable(
    "rate_buckets",
    {
        "key": str,
        "tokens": float,
        "at": float,
        "born": float,
        "queued": int,
        "cool_until": float,
        "paused": float,
        "refilled": float,
        "spare": float,
        "heaviest": float,
        "free": str,
    },
)
_ADDED = ("refilled REAL", "spare REAL", "heaviest REAL", "free TEXT", "mark INTEGER")
"""Columns that the first schemas did not have."""
_SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS rate_buckets (
    key TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL, born REAL NOT NULL,
    queued INTEGER NOT NULL, cool_until REAL NOT NULL, paused REAL NOT NULL, {", ".join(_ADDED)}
)""",
)


class MachineBudget:
    """A `BudgetStore` that all processes of this machine share; its time is the machine's."""

    def __init__(self, path: Path, notify: Notify = nobody) -> None:
        self._file = MachineFile(
            path,
            _SCHEMA,
            SCHEMA_VERSION,
            "the rate budget",
            BudgetUnavailable,
            upgrade=_add_columns,
            notify=notify,
        )

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

    async def left(self, key: str, budget: Budget) -> float | None:
        """The tokens that are free; None where nobody asked for one yet. Raises `BudgetUnavailable`."""

        def work(db: Database) -> float | None:
            rows, _ = _BUCKETS.rows(db, "WHERE key = ?", (key,))
            if not rows:
                return None
            now = time.time()
            return arithmetic.left(budget, self._load(db, key, budget, now), now)

        return await self._file.run(work)

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the file. Raises `BudgetUnavailable`."""
        return await self._file.status("rate budget")

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    async def _change(
        self, key: str, budget: Budget, change: Callable[[Bucket, float], tuple[Bucket, T]]
    ) -> T:
        def work(db: Database) -> T:
            now = time.time()
            bucket, outcome = change(self._load(db, key, budget, now), now)
            _BUCKETS.put(db, [_row(key, bucket)])
            return outcome

        return await self._file.run(work)

    def _load(self, db: Database, key: str, budget: Budget, now: float) -> Bucket:
        """The bucket of `key`; a new one where there is none, empty where one was spoiled."""
        rows, spoiled = _BUCKETS.rows(db, "WHERE key = ?", (key,))
        if spoiled:
            db.damage.append(f"the bucket {key}")
        for named, *numbers, free in rows:
            if named == key:
                return replace(Bucket(*numbers), free=_turns(free))
        is_lost = spoiled or self._file.was_damaged
        return arithmetic.emptied(now) if is_lost else arithmetic.full(budget, now)


def _row(key: str, bucket: Bucket) -> tuple[str | float, ...]:
    *numbers, free = astuple(bucket)
    return (key, *numbers, " ".join(f"{turn!r} {tokens!r}" for turn, tokens in free))


def _turns(text: str) -> tuple[tuple[float, float], ...]:
    numbers = list(map(float, text.split()))
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _add_columns(db: Database) -> None:
    known = {name for _, name, *_ in db.execute("PRAGMA table_info(rate_buckets)")}
    for column in _ADDED:
        if column.split()[0] not in known:
            db.execute(f"ALTER TABLE rate_buckets ADD COLUMN {column}")
    db.execute(
        "UPDATE rate_buckets SET refilled = coalesce(refilled, 0.0), spare = coalesce(spare, 0.0), "
        "heaviest = coalesce(heaviest, 0.0), free = coalesce(free, '')"
    )
    _BUCKETS.mark(db, "", (), "", lambda row: None not in row)
