"""Numbers of metrics in a SQLite file of the machine, where short-lived processes hand theirs over."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from seamless_assets.adapters.machine.file import MachineFile
from seamless_assets.errors import MetricsUnavailable

SCHEMA_VERSION = 1
MAX_SERIES = 2_000
"""Of one metric: what comes beyond is counted under `OTHER`, so that no world or node floods a scrape."""
OTHER = "other"
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS numbers (
    metric TEXT NOT NULL, labels TEXT NOT NULL, part TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (metric, labels, part)
)""",
)
_ADD = """INSERT INTO numbers VALUES (?, ?, ?, ?)
ON CONFLICT (metric, labels, part) DO UPDATE SET value = value + excluded.value"""
_SET = "INSERT OR REPLACE INTO numbers VALUES (?, ?, ?, ?)"
Series = tuple[str, tuple[str, ...], str]
Numbers = Mapping[Series, float]


class MachineNumbers:
    """What all processes of the machine have counted: a row a series, however many processes there were."""

    def __init__(self, path: Path) -> None:
        self._file = MachineFile(path, _SCHEMA, SCHEMA_VERSION, "the metrics file", MetricsUnavailable)

    async def add(self, added: Numbers, gauges: Numbers) -> None:
        """Add to counts, and set gauges, in one transaction. Raises `MetricsUnavailable`."""

        def work(db: sqlite3.Connection) -> None:
            for numbers, statement in ((added, _ADD), (gauges, _SET)):
                for (metric, labels, part), value in numbers.items():
                    db.execute(statement, (metric, _kept_labels(db, metric, labels), part, value))

        await self._file.run(work)

    async def load(self) -> dict[Series, float]:
        """Every series. Raises `MetricsUnavailable`."""
        return await self._file.run(_load)

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _kept_labels(db: sqlite3.Connection, metric: str, labels: tuple[str, ...]) -> str:
    """The labels as they are written; those of a series too many stand together."""
    written = json.dumps(labels)
    if db.execute("SELECT 1 FROM numbers WHERE metric = ? AND labels = ?", (metric, written)).fetchone():
        return written
    (many,) = db.execute("SELECT count(DISTINCT labels) FROM numbers WHERE metric = ?", (metric,)).fetchone()
    return written if many < MAX_SERIES else json.dumps([OTHER] * len(labels))


def _load(db: sqlite3.Connection) -> dict[Series, float]:
    rows = db.execute("SELECT metric, labels, part, value FROM numbers").fetchall()
    return {(metric, tuple(json.loads(labels)), part): value for metric, labels, part, value in rows}
