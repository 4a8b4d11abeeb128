"""QuestDB over its three doors: ILP/HTTP to write, /exp for long reads, the Postgres wire for short ones.

Writes are applied by the server after they are acknowledged; `await_applied` waits until a read sees them.
A server that is away is asked again with growing delays until `retry_s` has passed.
"""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
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
from seamless_assets.errors import HotStoreError

if TYPE_CHECKING:
    from questdb._client import Buffer

T = TypeVar("T")
FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
FIRST_POLL_S, POLL_GROWTH, LONGEST_POLL_S = 0.004, 1.5, 0.1
_ANSWERS = {"dataset", "ddl", "dml"}
"""What the server calls what came of a query, of a change of tables, and of a change of rows."""
ROWS_PER_REQUEST = 100_000
THREADS = 8
EXPORTS = 2
"""At once; a server of two processors takes no more from all its clients together, and refuses the rest."""


class _AwayError(Exception):
    """The server did not answer; asking again may help."""


def literal(text: str) -> str:
    """`text` as an SQL string. Raises `HotStoreError` for control characters, which no name holds."""
    if not text.isprintable():
        raise HotStoreError(f"{text!r} holds control characters and cannot be asked for", value=text)
    return "'" + text.replace("'", "''") + "'"


class QuestDbClient:
    """One server, with its pooled connections. Belongs to the event loop of its first call."""

    def __init__(self, address: QuestDbAddress) -> None:
        self.address = address
        self._session: aiohttp.ClientSession | None = None
        self._tls = address.tls_context()
        self._threads: ThreadPoolExecutor | None = None
        self._wire = PostgresWire(address, self._in_thread)
        self._exporting = asyncio.Semaphore(EXPORTS)
        self._senders = IlpSenders(address)

    async def execute(self, sql: str) -> list[list[Any]]:
        """Run one statement over HTTP; the rows of its answer. Raises `HotStoreError`."""
        answer = _parsed(await self._persist(lambda: self._get("exec", {"query": sql})))
        if not answer.keys() & _ANSWERS:
            raise HotStoreError(
                f"{self.address} answers {sql}, but not as QuestDB does; check the address and what is there",
                query=sql,
            )
        rows: list[list[Any]] = answer.get("dataset", [])
        return rows

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
        """The rows of a query as Arrow, by the path that is fastest for many. Raises `HotStoreError`."""
        payload = await self._persist(lambda: self._download({"query": sql, "fmt": "parquet"}))
        if not payload:
            raise HotStoreError(f"{self.address} sent no Parquet for {sql}", query=sql)
        return await self._in_thread(pq.read_table, io.BytesIO(payload))

    async def fetch(self, sql: str, values: Sequence[Any], types: Sequence[str]) -> list[np.ndarray]:
        """The columns of a query with `%s` bound to `values`, by the path that is fastest for few rows.

        `types` are numpy's, `int64` or `float64`, one for each column. Raises `HotStoreError`.
        """
        return await self._persist(lambda: self._ask(sql, self._wire.columns(sql, values, types)))

    async def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query with `%s` bound to `values`, as Python objects. Raises `HotStoreError`."""
        return await self._persist(lambda: self._ask(sql, self._wire.rows(sql, values)))

    async def ingest(self, table: str, frame: pd.DataFrame) -> None:
        """Append rows, `ts` as designated timestamp; returns once the server keeps them for good.

        Each `ROWS_PER_REQUEST` rows are one transaction; while one is sent, the next is encoded. Raises
        `HotStoreError`.
        """
        starts = range(0, len(frame) + ROWS_PER_REQUEST, ROWS_PER_REQUEST)
        parts = (frame.iloc[at : at + ROWS_PER_REQUEST] for at in starts)
        rows = await self._encode(table, next(parts))
        for part in parts:
            rows, _ = await asyncio.gather(
                self._encode(table, part), self._persist(partial(self._send, table, rows))
            )

    async def await_applied(self, *tables: str) -> None:
        """Wait until reads see every write acknowledged so far.

        A table that the server has suspended (its disk was full) is resumed once. Raises `HotStoreError`,
        also after `timeout_s`.
        """
        if not tables:
            return
        deadline, delay = time.monotonic() + self.address.timeout_s, FIRST_POLL_S
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
            if time.monotonic() > deadline:
                raise self._refused(
                    f"to apply writes to {', '.join(tables)} in {self.address.timeout_s:g} s",
                    "is its disk or processor exhausted?",
                )
            await asyncio.sleep(delay)
            delay = min(delay * POLL_GROWTH, LONGEST_POLL_S)
            rows = await self._progress(tables)

    async def _progress(self, tables: Sequence[str]) -> list[list[Any]]:
        names = ", ".join(map(literal, tables))
        return await self.execute(
            "SELECT name, suspended, writerTxn, sequencerTxn, errorMessage FROM wal_tables() "
            f"WHERE name IN ({names})"
        )

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
        deadline, delay = time.monotonic() + self.address.retry_s, FIRST_DELAY_S
        while True:
            try:
                return await call()
            except _AwayError as error:
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
            raise self._refused("to be asked", f"{_told(error)}; {_ADVICE}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _AwayError(_told(error)) from error

    async def _download(self, query: dict[str, str]) -> bytes:
        try:
            async with self._exporting:
                told = await self._in_thread(download, self.address, self._tls, "exp", query)
        except ssl.SSLCertVerificationError as error:
            raise self._refused("to be asked", f"{_told(error)}; {_ADVICE}") from error
        except (HTTPException, OSError) as error:
            raise _AwayError(_told(error)) from error
        return self._accepted(query["query"], *told)

    def _accepted(self, sql: str, status: int, payload: bytes) -> bytes:
        """The body of an answer, unless its status says no."""
        if status in (401, 403):
            raise self._refused("to be asked", f"HTTP {status}; {_ADVICE}")
        if status == 429 or status >= 500:
            raise _AwayError(f"HTTP {status}: {_reason(payload)}")
        if status >= 400:
            raise self._refused(sql, _reason(payload))
        return payload

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            told = self.address
            timeout = aiohttp.ClientTimeout(total=told.timeout_s)
            self._session = aiohttp.ClientSession(
                headers=told.http_headers(),
                timeout=timeout,
                connector=aiohttp.TCPConnector(ssl=self._tls or True),
            )
        return self._session

    async def _ask(self, sql: str, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (psycopg.OperationalError, OSError) as error:
            if _is_hopeless(error):
                raise self._refused("to be asked", f"{_told(error)}; {_ADVICE}") from error
            raise _AwayError(_told(error)) from error
        except psycopg.Error as error:
            raise self._refused(sql, str(error)) from error

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
                raise _AwayError(_told(error)) from error
            advice = f"; {_ADVICE}" if is_hopeless else ""
            raise self._refused(f"rows for {table}", f"{error}{advice}") from error

    def _refused(self, what: str, reason: str) -> HotStoreError:
        return HotStoreError(f"hot store {self.address} refused {what}: {reason}", address=str(self.address))


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
_INVALID = '"code":"invalid"'
"""How the server marks rows that it will never take."""


def _is_hopeless(error: Exception) -> bool:
    return any(reason in str(error) for reason in _HOPELESS)


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _parsed(payload: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for all else."""
    try:
        told = json.loads(payload)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _reason(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["error"])
    except (ValueError, KeyError, TypeError):
        return payload[:200].decode(errors="replace")
