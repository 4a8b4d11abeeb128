"""QuestDB over its three doors: ILP/HTTP to write, /exp for long reads, the Postgres wire for short ones.

Writes are applied by the server after they are acknowledged; `await_applied` waits until a read sees them.
A server that is away is asked again with growing delays until `retry_s` has passed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import questdb

from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.download import download
from seamless_assets.adapters.questdb.ilp import IlpSenders
from seamless_assets.adapters.questdb.wire import PostgresWire
from seamless_assets.aio.shield import shielded
from seamless_assets.errors import HotStoreError

if TYPE_CHECKING:
    from questdb._client import Buffer

T = TypeVar("T")
FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
FIRST_POLL_S, POLL_GROWTH, LONGEST_POLL_S = 0.004, 1.5, 0.1
_ANSWERS = {"dataset", "ddl", "dml"}
"""What the server calls what came of a query, of a change of tables, and of a change of rows."""
AS_PARQUET = {"fmt": "parquet", "compression_codec": "uncompressed", "statistics_enabled": "false"}
"""How /exp is asked. Packing bars takes both sides longer than it spares on a wire of 1 Gbit/s."""
ROWS_PER_REQUEST = 100_000
DESIGNATED = "ts"
"""The designated timestamp of every table of ours."""
THREADS = 8
EXPORTS = 2
"""At once; a server of two processors takes no more from all its clients together, and refuses the rest."""


class TableMissing(HotStoreError):
    """A table that was there is gone: the server was emptied, or somebody dropped it."""


class ExportUnavailable(HotStoreError):
    """The server exports nothing now, or no more, and may answer the same question in another way."""


class _AwayError(Exception):
    """The server did not answer; asking again may help."""


def literal(text: str) -> str:
    """`text` as an SQL string. Raises `HotStoreError` for control characters, which no name holds."""
    if not text.isprintable():
        raise HotStoreError(f"{text!r} holds control characters and cannot be asked for", value=text)
    return "'" + text.replace("'", "''") + "'"


class QuestDbClient:
    """One server, with its pooled connections. Belongs to the event loop of its first call.

    `outages` counts those that ended.
    """

    def __init__(self, address: QuestDbAddress) -> None:
        self.address, self.outages = address, 0
        self._server_time: float | None = None
        self._numbers: dict[str, int] = {}
        self._session: aiohttp.ClientSession | None = None
        self._tls = address.tls_context()
        self._threads: ThreadPoolExecutor | None = None
        self._wire = PostgresWire(address, self._in_thread)
        self._exporting = asyncio.Semaphore(EXPORTS)
        self._senders = IlpSenders(address)

    async def execute(self, sql: str) -> list[list[Any]]:
        """Run one statement over HTTP; the rows of its answer. Raises `HotStoreError`."""
        return self._dataset(sql, await self._persist(lambda: self._get("exec", {"query": sql})))

    async def execute_once(self, sql: str) -> None:
        """Run one statement that must not run twice, so without asking again. Raises `HotStoreError`."""
        try:
            await self._get("exec", {"query": sql})
        except _AwayError as error:
            raise HotStoreError(
                f"hot store {self.address} did not answer {sql}: {error}; it may have run or not",
                address=str(self.address),
            ) from error

    async def export(self, sql: str) -> pa.Table:
        """The rows of a query as Arrow, by the path that is fastest for many.

        Raises `HotStoreError`, `ExportUnavailable`.
        """
        payload = await self._persist(lambda: self._download({"query": sql, **AS_PARQUET}))
        try:
            return await self._in_thread(_table, payload)
        except (pa.ArrowException, OSError) as error:
            raise self._odd(sql, payload) from error

    async def fetch(self, sql: str, values: Sequence[Any], types: Sequence[str]) -> list[np.ndarray]:
        """The columns of a query with `%s` bound to `values`, by the path that is fastest for few rows.

        `types` are numpy's, `int64` or `float64`, one for each column. Raises `HotStoreError`.
        """
        return await self._persist(lambda: self._ask(sql, self._wire.columns(sql, values, types)))

    async def now(self) -> int:
        """The server's clock in epoch microseconds, asked once and then as it was last heard."""
        if self._server_time is None:
            ((now,),) = await self.rows("SELECT cast(now() AS LONG)", ())
            self.hear_time(int(now))
        return int((self._server_time or 0.0) + time.monotonic() * 1_000_000)

    def hear_time(self, now: int) -> None:
        """Take note of the server's clock, as an answer gave it."""
        self._server_time = now - time.monotonic() * 1_000_000

    async def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query with `%s` bound to `values`, as Python objects. Raises `HotStoreError`."""
        return await self._persist(lambda: self._ask(sql, self._wire.rows(sql, values)))

    async def ingest(self, table: str, frame: pd.DataFrame) -> None:
        """Append rows, `ts` as designated timestamp; returns once the server keeps them for good.

        Each `ROWS_PER_REQUEST` rows are one transaction; while one is sent, the next is encoded. The caller
        has just looked at the table. Before anything is sent again it is looked at here: of rows for a table
        that is gone the server would make one of its own. Raises `HotStoreError`, `TableMissing`.
        """
        starts = range(0, len(frame) + ROWS_PER_REQUEST, ROWS_PER_REQUEST)
        parts = (frame.iloc[at : at + ROWS_PER_REQUEST] for at in starts)
        rows, is_seen = await self._encode(table, next(parts)), True
        for part in parts:
            encoding = asyncio.ensure_future(self._encode(table, part))
            try:
                await self._send_to_known(table, rows, is_seen)
            finally:
                rows, is_seen = await shielded(encoding), False

    async def _send_to_known(self, table: str, rows: Buffer, is_seen: bool) -> None:
        """Send rows until they are taken, each time to a table that is there and ours, as far as is seen."""

        async def send() -> None:
            nonlocal is_seen
            if not is_seen:
                await self._look_at(table)
            is_seen = False
            await self._send(table, rows)

        await self._persist(send)

    async def _look_at(self, table: str) -> None:
        """Raise `TableMissing` where a table of ours is gone, `HotStoreError` where another has its name."""
        sql = f"SELECT designatedTimestamp FROM tables() WHERE table_name = {literal(table)}"
        found = self._dataset(sql, await self._get("exec", {"query": sql}))
        if not found:
            raise self._missing(f"rows for {table}", "it has no such table any more")
        if found != [[DESIGNATED]]:
            raise self._refused(f"rows for {table}", "another table has its name; run `seamless doctor`")

    async def await_applied(self, *tables: str) -> None:
        """Wait until reads see every write acknowledged so far.

        A table that the server has suspended (its disk was full) is resumed once. Raises `HotStoreError`,
        also after `timeout_s` in which the server was there, and `TableMissing` where it was emptied since.
        """
        if not tables:
            return
        patience, delay = Patience(self, self.address.timeout_s), FIRST_POLL_S
        await asyncio.sleep(FIRST_POLL_S)
        rows = await self._progress(tables)
        target = {name: written for name, _, _, written, _ in rows}
        resumed: set[str] = set()
        while any(applied < target[name] for name, _, applied, _, _ in rows):
            for name, suspended, _, _, reason in rows:
                if suspended and name in resumed:
                    raise self._refused(f"to apply writes to {name}", f"{reason}; make room and write again")
                if suspended:
                    await self.execute(f"ALTER TABLE {name} RESUME WAL")
                    resumed.add(name)
            if patience.is_over():
                raise self._refused(
                    f"to apply writes to {', '.join(tables)} in {self.address.timeout_s:g} s",
                    "is its disk or processor exhausted?",
                )
            await asyncio.sleep(delay)
            delay = min(delay * POLL_GROWTH, LONGEST_POLL_S)
            rows = await self._progress(tables)
            if any(written < target[name] for name, _, _, written, _ in rows):
                raise self._missing(f"to keep writes to {', '.join(tables)}", "it was emptied since")

    async def _progress(self, tables: Sequence[str]) -> list[list[Any]]:
        names = ", ".join(map(literal, tables))
        rows = await self.execute(
            "SELECT name, suspended, writerTxn, sequencerTxn, errorMessage, id FROM wal_tables() "
            f"JOIN tables() ON name = table_name WHERE name IN ({names})"
        )
        if gone := {*tables} - {name for name, *_ in rows}:
            raise self._missing(f"to keep writes to {', '.join(sorted(gone))}", "it has no such table")
        for name, *_, number in rows:
            if self._numbers.setdefault(name, number) != number:
                raise self._missing(f"to keep writes to {name}", "the table was made anew meanwhile")
        return [row[:-1] for row in rows]

    def forget_tables(self) -> None:
        """Know no table any more: of one that is made anew, an open sender still writes to the old one."""
        self._numbers.clear()
        self._senders.close()

    async def close(self) -> None:
        """Close every connection."""
        self._senders.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        self._wire.close()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in a thread of this client: a silent server must not hold up who waits for others."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "questdb")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        deadline, delay, was_away = time.monotonic() + self.address.retry_s, FIRST_DELAY_S, False
        while True:
            try:
                answer = await call()
                self.outages += was_away
                return answer
            except _AwayError as error:
                was_away = True
                if time.monotonic() + delay > deadline:
                    raise HotStoreError(
                        f"hot store {self.address} does not answer: {error}; start it, or raise "
                        "seamless.hot_store.retry_ms to wait longer",
                        address=str(self.address),
                    ) from error
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_S)

    async def _get(self, path: str, query: dict[str, str]) -> bytes:
        scheme = "https" if self.address.tls else "http"
        url = f"{scheme}://{self.address.host}:{self.address.http_port}/{path}"
        try:
            async with self._http().get(url, params=query) as answer:
                return self._accepted(query["query"], answer.status, await answer.read())
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._refused("to be asked", f"{_cause(error)}; {_ADVICE}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _AwayError(_cause(error)) from error

    async def _download(self, query: dict[str, str]) -> bytes:
        try:
            async with self._exporting:
                answer = await self._in_thread(download, self.address, self._tls, "exp", query)
        except ssl.SSLCertVerificationError as error:
            raise self._refused("to be asked", f"{_cause(error)}; {_ADVICE}") from error
        except (HTTPException, OSError) as error:
            raise _AwayError(_cause(error)) from error
        return self._accepted(query["query"], *answer)

    def _accepted(self, sql: str, status: int, payload: bytes) -> bytes:
        """The body of an answer, unless its status says no."""
        if status in (401, 403):
            raise self._refused("to be asked", f"HTTP {status}; {_ADVICE}")
        if status == 429 or status >= 500:
            raise _AwayError(f"HTTP {status}: {_reason(payload)}")
        if status >= 400 and _NO_EXPORTS in _reason(payload):
            raise ExportUnavailable(
                f"hot store {self.address}: {_reason(payload)}", address=str(self.address)
            )
        if status >= 400:
            raise self._unlike(sql, _reason(payload))
        return payload

    def _dataset(self, sql: str, payload: bytes) -> list[list[Any]]:
        """The rows of an answer in JSON; none for a statement that has none."""
        answer = _parsed(payload)
        if not answer.keys() & _ANSWERS:
            raise self._odd(sql, payload)
        rows: list[list[Any]] = answer.get("dataset", [])
        return rows

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            address = self.address
            timeout = aiohttp.ClientTimeout(total=address.timeout_s)
            self._session = aiohttp.ClientSession(
                headers=address.http_headers(),
                timeout=timeout,
                connector=aiohttp.TCPConnector(ssl=self._tls or True),
            )
        return self._session

    async def _ask(self, sql: str, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (psycopg.OperationalError, OSError) as error:
            if _is_hopeless(error):
                raise self._refused("to be asked", f"{_cause(error)}; {_ADVICE}") from error
            raise _AwayError(_cause(error)) from error
        except psycopg.Error as error:
            raise self._unlike(sql, str(error)) from error

    async def _send(self, table: str, rows: Buffer) -> None:
        with self._taking(table):
            await self._in_thread(self._senders.send, rows)

    async def _encode(self, table: str, frame: pd.DataFrame) -> Buffer:
        with self._taking(table):
            return await self._in_thread(self._senders.encode, table, frame)

    @contextmanager
    def _taking(self, table: str) -> Iterator[None]:
        """Whether a sender's error is one of the rows for `table`, or the server is away."""
        try:
            yield
        except questdb.QuestDBError as error:
            is_hopeless = error.code in _DENIED_CODES or _is_hopeless(error)
            if error.code in _AWAY_CODES and _INVALID not in str(error) and not is_hopeless:
                raise _AwayError(_cause(error)) from error
            advice = f"; {_ADVICE}" if is_hopeless else ""
            raise self._refused(f"rows for {table}", f"{error}{advice}") from error

    def _refused(self, what: str, reason: str) -> HotStoreError:
        return HotStoreError(f"hot store {self.address} refused {what}: {reason}", address=str(self.address))

    def _missing(self, what: str, reason: str) -> TableMissing:
        return TableMissing(f"hot store {self.address} refused {what}: {reason}", address=str(self.address))

    def _unlike(self, sql: str, reason: str) -> HotStoreError:
        """The error for a statement that does not fit what the server holds."""
        return self._missing(sql, reason) if _GONE in reason else self._refused(sql, reason)

    def _odd(self, sql: str, payload: bytes) -> HotStoreError:
        excerpt = " ".join(payload[:200].decode(errors="replace").split()) or "nothing"
        return HotStoreError(
            f"hot store {self.address} answers {sql}, but not as QuestDB does: {excerpt}; check that "
            "seamless.hot_store.dsn names a QuestDB server, with no proxy that answers for it",
            address=str(self.address),
        )


class Patience:
    """Time that a server has for something; after an outage it begins anew."""

    def __init__(self, client: QuestDbClient, seconds: float) -> None:
        self._client, self._seconds = client, seconds
        self._outages, self._until = client.outages, time.monotonic() + seconds

    def is_over(self) -> bool:
        """Whether the server was there for so long."""
        if self._client.outages != self._outages:
            self._outages, self._until = self._client.outages, time.monotonic() + self._seconds
        return time.monotonic() > self._until


_AWAY_CODES = frozenset(
    {
        questdb.QuestDBErrorCode.SocketError,
        questdb.QuestDBErrorCode.ServerFlushError,
        questdb.QuestDBErrorCode.ConnectTimeout,
    }
)
_DENIED_CODES = frozenset({questdb.QuestDBErrorCode.AuthError, questdb.QuestDBErrorCode.TlsError})
_HOPELESS = (
    "invalid username/password",
    "does not support SSL",
    "certificate verify failed",
    "invalid peer certificate",
)
"""What a connection that will never stand says; neither libpq nor the sender gives these a code."""
_ADVICE = "check user, password, token and the tls settings in seamless.hot_store"
_GONE = "table does not exist"
_NO_EXPORTS = "cannot create system table"
"""What a server says to two that are the first to export, and to all for good once it was killed as it made
the table in which it lists exports.
"""
_INVALID = '"code":"invalid"'
"""How the server marks rows that it will never take."""


def _is_hopeless(error: Exception) -> bool:
    return any(reason in str(error) for reason in _HOPELESS)


def _cause(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _table(payload: bytes) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(payload)).read()


def _parsed(payload: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for all else."""
    try:
        answer = json.loads(payload)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _reason(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["error"])
    except (ValueError, KeyError, TypeError):
        return payload[:200].decode(errors="replace")
