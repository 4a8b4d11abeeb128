"""Numbers of metrics in a SQLite file of the machine, where short-lived processes hand theirs over."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from seamless_assets.adapters.machine.file import MachineFile, Notify, nobody
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable
from seamless_assets.errors import MetricsUnavailable

SCHEMA_VERSION = 2
MAX_SERIES = 2_000
"""Of one metric: what comes beyond is counted under `OTHER`, so that no world or node floods a scrape."""
OTHER = "other"
SET_AT = "set_at"
"""The part that says when a gauge was set, in epoch seconds."""
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS numbers (
    metric TEXT NOT NULL, labels TEXT NOT NULL, part TEXT NOT NULL, value REAL NOT NULL, mark INTEGER,
    PRIMARY KEY (metric, labels, part)
)""",
)
_TABLE = MarkedTable("numbers", {"metric": str, "labels": str, "part": str, "value": float})
_DROP_ENDED = """DELETE FROM numbers WHERE metric = ? AND labels NOT IN
    (SELECT labels FROM numbers WHERE metric = ? AND part = ? AND abs(value - ?) <= ?)"""
_WHERE = "WHERE metric = ? AND labels = ? AND part = ?"
Series = tuple[str, tuple[str, ...], str]
Numbers = Mapping[Series, float]


class MachineNumbers:
    """What all processes of the machine have counted: a row a series, however many processes there were.

    A number that was changed behind our back is as if nobody had counted. `lasting` are the gauges that end,
    each that many seconds after it was set last.
    """

    def __init__(
        self,
        path: Path,
        notify: Notify = nobody,
        lasting: Mapping[str, float] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._lasting, self._now = dict(lasting or {}), now
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
            self._drop_ended(db)
            for numbers, is_added in ((added, True), (gauges, False)):
                for (metric, labels, part), value in numbers.items():
                    key = (metric, _kept_labels(db, metric, labels), part)
                    _TABLE.put(db, [(*key, value + (_counted(db, key) if is_added else 0.0))])
                    if metric in self._lasting:
                        _TABLE.put(db, [(*key[:2], SET_AT, self._now())])

        await self._file.run(work)

    async def load(self) -> dict[Series, float]:
        """Every series that has not ended. Raises `MetricsUnavailable`."""
        known = await self._file.run(_load)
        return {
            key: value for key, value in known.items() if key[2] != SET_AT and not self._ended(known, key)
        }

    def _ended(self, known: Numbers, series: Series) -> bool:
        """Whether it was set too long ago, or nobody knows when; a clock may have been set back since."""
        lasts = self._lasting.get(series[0])
        return lasts is not None and abs(self._now() - known.get((*series[:2], SET_AT), -math.inf)) > lasts

    def _drop_ended(self, db: Database) -> None:
        """Drop gauges that have ended, so that they take no room of those to come."""
        for metric, lasts in self._lasting.items():
            db.execute(_DROP_ENDED, (metric, metric, SET_AT, self._now(), lasts))

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
