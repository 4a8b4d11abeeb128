"""Numbers of metrics in a SQLite file of the machine, where short-lived processes hand theirs over."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from seamless_assets.adapters.machine.file import MachineFile, Notify, nobody
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable
from seamless_assets.errors import MetricsUnavailable

SCHEMA_VERSION = 2
MAX_SERIES = 2_000
"""Of one metric: what comes beyond is counted under `OTHER`, so that no world or node floods a scrape."""
OTHER = "other"
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS numbers (
    metric TEXT NOT NULL, labels TEXT NOT NULL, part TEXT NOT NULL, value REAL NOT NULL, mark INTEGER,
    PRIMARY KEY (metric, labels, part)
)""",
)
_TABLE = MarkedTable("numbers", {"metric": str, "labels": str, "part": str, "value": float})
_WHERE = "WHERE metric = ? AND labels = ? AND part = ?"
Series = tuple[str, tuple[str, ...], str]
Numbers = Mapping[Series, float]


class MachineNumbers:
    """What all processes of the machine have counted: a row a series, however many processes there were.

    A number that was changed behind our back is as if nobody had counted.
    """

    def __init__(self, path: Path, notify: Notify = nobody) -> None:
        self._file = MachineFile(
            path,
            _SCHEMA,
            SCHEMA_VERSION,
            "the metrics file",
            MetricsUnavailable,
            upgrade=_add_marks,
            notify=notify,
        )

    async def add(self, added: Numbers, gauges: Numbers) -> None:
        """Add to counts, and set gauges, in one transaction. Raises `MetricsUnavailable`."""

        def work(db: Database) -> None:
            for numbers, is_added in ((added, True), (gauges, False)):
                for (metric, labels, part), value in numbers.items():
                    key = (metric, _kept_labels(db, metric, labels), part)
                    _TABLE.put(db, [(*key, value + (_counted(db, key) if is_added else 0.0))])

        await self._file.run(work)

    async def load(self) -> dict[Series, float]:
        """Every series. Raises `MetricsUnavailable`."""
        return await self._file.run(_load)

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _counted(db: Database, key: tuple[str, str, str]) -> float:
    """What stands there already."""
    known, spoiled = _TABLE.rows(db, _WHERE, key)
    if spoiled:
        db.damage.append(f"{spoiled} numbers")
    return float(known[0][-1]) if known else 0.0


def _kept_labels(db: Database, metric: str, labels: tuple[str, ...]) -> str:
    """The labels as they are written; those of a series too many stand together."""
    written = json.dumps(labels)
    if db.execute("SELECT 1 FROM numbers WHERE metric = ? AND labels = ?", (metric, written)).fetchone():
        return written
    (many,) = db.execute("SELECT count(DISTINCT labels) FROM numbers WHERE metric = ?", (metric,)).fetchone()
    return written if many < MAX_SERIES else json.dumps([OTHER] * len(labels))


def _load(db: Database) -> dict[Series, float]:
    rows, spoiled = _TABLE.rows(db, "", ())
    if spoiled:
        db.damage.append(f"{spoiled} numbers")
    return {(metric, tuple(json.loads(labels)), part): value for metric, labels, part, value in rows}


def _add_marks(db: Database) -> None:
    if not _TABLE.has_marks(db):
        _TABLE.add_column(db)
        _TABLE.mark(db, "", (), "", _can_be)


def _can_be(row: tuple[object, ...]) -> bool:
    """Whether a row of a time without marks is one that was written so."""
    _, labels, _, value = row
    try:
        values = json.loads(str(labels))
    except ValueError:
        return False
    is_number = isinstance(value, float) and math.isfinite(value)
    return is_number and isinstance(values, list) and all(isinstance(label, str) for label in values)
