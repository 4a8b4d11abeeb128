"""QuestDB's Postgres wire: short reads over pooled connections.

Columns of numbers are all 8 bytes wide (LONG or DOUBLE), so an answer is one matrix of bytes and no Python
number is made of any cell.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.types.string import ByteaBinaryLoader

from seamless_assets.adapters.questdb.address import QuestDbAddress

T = TypeVar("T")
CONNECTIONS, MAX_IDLE = 4, 2
_WAKE_S = 0.1
_NULL = np.array(np.nan, dtype=">f8").tobytes()


class PostgresWire:
    """Connections to one server, each used by one question at a time; `in_thread` runs what waits."""

    def __init__(self, address: QuestDbAddress, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._address, self._in_thread = address, in_thread
        self._idle: list[_Connection] = []
        self._is_closed, self._lock = False, threading.Lock()
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def columns(self, sql: str, values: Sequence[Any], types: Sequence[str]) -> list[np.ndarray]:
        """The columns of a query with `%s` bound to `values`; `types` are numpy's, `int64` or `float64`.

        A null is NaN. Raises `psycopg.Error`, also where no answer comes within the address's `timeout_s`.
        """
        return await self._ask(lambda connection: _columns(_numbers(connection, sql, values), types))

    async def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query with `%s` bound to `values`. Raises as `columns` does."""
        return await self._ask(lambda connection: _plain(connection, sql, values))

    def close(self) -> None:
        """Close every idle connection; one that is in use is closed when its question is answered."""
        with self._lock:
            self._is_closed, idle, self._idle = True, self._idle, []
        for connection in idle:
            connection.close()

    async def _ask(self, question: Callable[[_Connection], T]) -> T:
        async with self._slots:
            answer: T = await self._in_thread(self._work, question)
            return answer

    def _work(self, question: Callable[[_Connection], T]) -> T:
        """Ask over an idle connection, or a new one; a connection that failed is not used again."""
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        connection = idle or self._connect()
        try:
            answer = question(connection)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            is_kept = not self._is_closed and len(self._idle) < MAX_IDLE
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()
        return answer

    def _connect(self) -> _Connection:
        address = self._address
        place = make_conninfo(
            host=address.host,
            port=address.pg_port,
            user=address.pg_user,
            password=address.pg_password,
            dbname="qdb",
            connect_timeout=max(2, int(address.timeout_s)),
            **address.pg_tls(),
        )
        connection = _Connection.connect(place, autocommit=True)
        connection.timeout_s = address.timeout_s
        return connection


class _Connection(psycopg.Connection[Any]):
    """A connection that waits no longer than `timeout_s` for an answer, whatever the server does."""

    timeout_s = 30.0

    def wait(self, gen: PQGen[T], interval: float = _WAKE_S, timeout: float | None = None) -> T:
        return super().wait(gen, interval, timeout or self.timeout_s)


def _numbers(connection: _Connection, sql: str, values: Sequence[Any]) -> list[tuple[bytes | None, ...]]:
    cursor = connection.cursor(binary=True)
    for kind in ("int8", "float8"):
        cursor.adapters.register_loader(kind, ByteaBinaryLoader)
    return cursor.execute(sql, values, prepare=True).fetchall()


def _plain(connection: _Connection, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(sql, values, prepare=False, binary=True).fetchall()


def _columns(rows: Sequence[Sequence[bytes | None]], types: Sequence[str]) -> list[np.ndarray]:
    cells = chain.from_iterable(rows)
    try:
        payload = b"".join(cells)  # type: ignore[arg-type]
    except TypeError:
        payload = b"".join(_NULL if cell is None else cell for cell in chain.from_iterable(rows))
    matrix = np.frombuffer(payload, dtype=">i8").reshape(len(rows), len(types))
    return [
        matrix[:, at].view(np.dtype(kind).newbyteorder(">")).astype(kind) for at, kind in enumerate(types)
    ]
