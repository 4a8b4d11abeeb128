"""Tables whose rows carry a checksum, so that a row is believed only as it was written.

A disk, a copy or a stray program can change a stored number into another one that looks as good. A row that
does not match its mark is as if it were not there.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Cell = int | float | str | None
Row = tuple[Any, ...]


def mark_of(*values: Cell) -> int:
    """The checksum of a row: a CRC-32, which no change of up to 32 adjoining bits passes."""
    return zlib.crc32(repr(values).encode())


@dataclass(frozen=True)
class MarkedTable:
    """A table with a column `mark`. `columns` are names and Python types (int, float, str); any may be NULL.

    `about` is what the rows of a call are about where that stands in another table, such as a node; it goes
    into the mark, so that no row can pass for one of another.
    """

    name: str
    columns: Mapping[str, type]

    def put(self, db: sqlite3.Connection, rows: Iterable[Sequence[Cell]], about: str = "") -> None:
        """Insert rows, each in place of one with the same key."""
        marked = ((*row, mark_of(self.name, about, *row)) for row in map(self._typed, rows))
        db.executemany(self._insertion, marked)

    def rows(
        self, db: sqlite3.Connection, where: str, values: Sequence[Cell], about: str = ""
    ) -> tuple[list[Row], int]:
        """The rows that match their marks, and how many others there are."""
        found = db.execute(f"SELECT {self._names}, mark FROM {self.name} {where}", values).fetchall()
        sound = [row for *cells, mark in found if (row := self._sound(cells, mark, about)) is not None]
        return sound, len(found) - len(sound)

    def has_marks(self, db: sqlite3.Connection) -> bool:
        """Whether the table has the column; a file of a time without marks has not."""
        return any(name == "mark" for _, name, *_ in db.execute(f"PRAGMA table_info({self.name})"))

    def add_column(self, db: sqlite3.Connection) -> None:
        """Make room for marks in a table that has none."""
        db.execute(f"ALTER TABLE {self.name} ADD COLUMN mark INTEGER")

    def mark(
        self,
        db: sqlite3.Connection,
        where: str,
        values: Sequence[Cell],
        about: str,
        can_be: Callable[[Row], bool],
    ) -> None:
        """Mark rows of a time without marks; those that cannot be are dropped."""
        found = db.execute(f"SELECT {self._names} FROM {self.name} {where}", values).fetchall()
        typed = [row for cells in found if (row := self._read(cells)) is not None]
        db.execute(f"DELETE FROM {self.name} {where}", values)
        self.put(db, [row for row in typed if can_be(row)], about)

    def _sound(self, cells: Sequence[Any], mark: Any, about: str) -> Row | None:
        row = self._read(cells)
        return row if row is not None and mark == mark_of(self.name, about, *row) else None

    def _read(self, cells: Sequence[Any]) -> Row | None:
        try:
            return self._typed(cells)
        except (TypeError, ValueError, OverflowError):
            return None

    def _typed(self, cells: Sequence[Any]) -> Row:
        return tuple(_stored(kind, cell) for cell, kind in zip(cells, self.columns.values(), strict=True))

    @cached_property
    def _names(self) -> str:
        return ", ".join(f'"{name}"' for name in self.columns)

    @cached_property
    def _insertion(self) -> str:
        marks = ", ".join("?" * (len(self.columns) + 1))
        return f"INSERT OR REPLACE INTO {self.name} ({self._names}, mark) VALUES ({marks})"


def _stored(kind: type, cell: Any) -> Cell:
    """A cell as SQLite hands it back: NaN is NULL there, and zero has no sign."""
    if cell is None or cell != cell:
        return None
    typed: Cell = kind(cell)
    return typed or kind()
