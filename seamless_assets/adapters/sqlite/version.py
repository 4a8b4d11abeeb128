"""Whether a SQLite file was changed since it was last looked at, without waiting for anybody."""

from __future__ import annotations

import sqlite3
from pathlib import Path

Version = tuple[int, int]


class FileVersion:
    """Looks at `path`, which stays the same file, over a connection that never writes and never waits.

    A look takes microseconds: it reads what all connections share in memory. One caller at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._opened = 0
        self._is_closed = False

    def current(self) -> Version | None:
        """What differs once another connection has committed; None where that cannot be told at once."""
        if self._is_closed:
            return None
        try:
            if self._db is None:
                self._db = self._open()
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            self._let_go()
            return None
        return self._opened, int(version)

    def close(self) -> None:
        """Let go of the file; nothing can be told of it afterwards."""
        self._is_closed = True
        self._let_go()

    def _open(self) -> sqlite3.Connection:
        # The number begins anew with every connection.
        self._opened += 1
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=0.0, isolation_level=None, check_same_thread=False)

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
