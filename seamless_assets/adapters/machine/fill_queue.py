"""Wanted fills in a SQLite file that all processes of this machine share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from seamless_assets.adapters.machine.file import MachineFile, Notify, nobody
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing import fills
from seamless_assets.core.sharing.fills import Wanted, WantedFill
from seamless_assets.errors import FillQueueUnavailable

T = TypeVar("T")
SCHEMA_VERSION = 1
_TABLE = MarkedTable(
    "wanted_fills",
    {"node_id": str, "start": int, "end": int, "wanted_at": float, "due_at": float, "attempts": int},
)
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS wanted_fills (
    node_id TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, wanted_at REAL NOT NULL,
    due_at REAL NOT NULL, attempts INTEGER NOT NULL, mark INTEGER NOT NULL,
    PRIMARY KEY (node_id, start, "end")
)""",
)


class MachineFillQueue:
    """A `FillQueue` in a file, by the machine's time. What is damaged of it is as if it were not there."""

    def __init__(self, path: Path, notify: Notify = nobody) -> None:
        self._file = MachineFile(
            path, _SCHEMA, SCHEMA_VERSION, "the file of wanted fills", FillQueueUnavailable, notify=notify
        )

    async def add(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Put it on record, held by the caller. Raises `FillQueueUnavailable`."""
        await self._change(lambda wanted, now: (fills.added(wanted, node, segment, now, hold_s), None))

    async def take(self, exchanges: Collection[str], hold_s: float) -> WantedFill | None:
        """The oldest fill that nobody holds. Raises `FillQueueUnavailable`."""
        return await self._change(lambda wanted, now: fills.taken(wanted, exchanges, now, hold_s))

    async def hold(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Hold on to it for so long from now. Raises `FillQueueUnavailable`."""
        await self._change(lambda wanted, now: (fills.held(wanted, node, segment, now, hold_s), None))

    async def remove(self, node: NodeId, segment: Segment) -> None:
        """Take off the record what lies in a segment. Raises `FillQueueUnavailable`."""
        await self._change(lambda wanted, _: (fills.removed(wanted, node, segment), None))

    async def next_due_in(self, exchanges: Collection[str]) -> float | None:
        """Seconds until a fill is anybody's. Raises `FillQueueUnavailable`."""
        return await self._change(lambda wanted, now: (wanted, fills.next_due_in(wanted, exchanges, now)))

    async def count(self) -> int:
        """How many fills are on record. Raises `FillQueueUnavailable`."""
        return await self._change(lambda wanted, _: (wanted, len(wanted)))

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    async def _change(self, change: Callable[[Wanted, float], tuple[Wanted, T]]) -> T:
        def work(db: Database) -> T:
            before, is_spoiled = _load(db)
            after, outcome = change(before, time.time())
            if is_spoiled:
                db.damage.append("wanted fills")
                db.execute("DELETE FROM wanted_fills")
                before = ()
            _save(db, before, after)
            return outcome

        return await self._file.run(work)


def _load(db: Database) -> tuple[Wanted, bool]:
    rows, spoiled = _TABLE.rows(db, "ORDER BY wanted_at", ())
    return tuple(WantedFill(NodeId.parse(node_id), *rest) for node_id, *rest in rows), spoiled > 0


def _save(db: Database, before: Wanted, after: Wanted) -> None:
    """Write what differs. Raises `FillQueueUnavailable` where there is too much."""
    known = {_key(one): one for one in before}
    left = known.keys() - {_key(one) for one in after}
    db.executemany('DELETE FROM wanted_fills WHERE node_id = ? AND start = ? AND "end" = ?', sorted(left))
    changed = [one for one in after if known.get(_key(one)) != one]
    if len(after) > max(fills.MAX_WANTED, len(before)):
        raise fills.full()
    _TABLE.put(db, [(*_key(one), one.wanted_at, one.due_at, one.attempts) for one in changed])


def _key(one: WantedFill) -> tuple[str, int, int]:
    return str(one.node), one.start, one.end
