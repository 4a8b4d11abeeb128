"""QuestDB over its three doors: ILP/HTTP to write, /exp for long reads, the Postgres wire for short ones.

Writes are applied by the server after they are acknowledged; `await_applied` waits until a read sees them.
A server that is away is asked again with growing delays until `retry_s` has passed.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import aiohttp
import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import questdb

from seamless_assets.errors import HotStoreError

T = TypeVar("T")
FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
FIRST_POLL_S, LONGEST_POLL_S = 0.002, 0.1
ROWS_PER_REQUEST = 100_000
CONNECTIONS = 4
EXPORTS_AT_ONCE = 2
"""A server on two cores takes no more, and refuses what comes above its limit."""
READ_BUFFER = 2**22


@dataclass(frozen=True, slots=True)
class QuestDbAddress:
    """Where a server listens and who asks. `timeout_s` bounds one request, `retry_s` an outage."""

    host: str
    http_port: int = 9000
    pg_port: int = 8812
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    pg_user: str = "admin"
    pg_password: str = field(default="quest", repr=False)
    timeout_s: float = 30.0
    retry_s: float = 180.0

    def __str__(self) -> str:
        return f"questdb://{self.host}:{self.http_port}"


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
        self._idle: list[psycopg.Connection[Any]] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._exports = asyncio.Semaphore(EXPORTS_AT_ONCE)
        self._senders: list[questdb.Sender] = []

    async def execute(self, sql: str) -> list[list[Any]]:
        """Run one statement over HTTP; the rows of its answer. Raises `HotStoreError`."""
        answer = json.loads(await self._persist(lambda: self._get("exec", {"query": sql})))
        rows: list[list[Any]] = answer.get("dataset", [])
        return rows

    async def export(self, sql: str) -> pa.Table:
        """The rows of a query as Arrow, by the path that is fastest for many. Raises `HotStoreError`."""
        async with self._exports:
            payload = await self._persist(lambda: self._get("exp", {"query": sql, "fmt": "parquet"}))
        if not payload:
            raise HotStoreError(f"{self.address} sent no Parquet for {sql}", query=sql)
        return await asyncio.to_thread(pq.read_table, io.BytesIO(payload))

    async def fetch(self, sql: str, values: Sequence[Any], types: Sequence[str]) -> list[np.ndarray]:
        """The columns of a query with `%s` bound to `values`, by the path that is fastest for few rows.

        `types` are numpy's, one for each column. Raises `HotStoreError`.
        """
        return await self._persist(lambda: self._fetch(sql, values, types))

    async def ingest(self, table: str, frame: pd.DataFrame) -> None:
        """Append rows, `ts` as designated timestamp; returns once the server keeps them for good.

        Each `ROWS_PER_REQUEST` rows are one transaction. Raises `HotStoreError`.
        """
        for at in range(0, len(frame), ROWS_PER_REQUEST):
            await self._persist(partial(self._ingest, table, frame.iloc[at : at + ROWS_PER_REQUEST]))

    async def await_applied(self, *tables: str) -> None:
        """Wait until reads see every write acknowledged so far.

        A table that the server has suspended (its disk was full) is resumed once. Raises `HotStoreError`,
        also after `timeout_s`.
        """
        deadline, delay = time.monotonic() + self.address.timeout_s, FIRST_POLL_S
        target = {name: written for name, _, _, written, _ in await self._progress(tables)}
        resumed: set[str] = set()
        while True:
            rows = await self._progress(tables)
            if all(applied >= target[name] for name, _, applied, _, _ in rows):
                return
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
            delay = min(delay * 2, LONGEST_POLL_S)

    async def _progress(self, tables: Sequence[str]) -> list[list[Any]]:
        names = ", ".join(map(literal, tables))
        return await self.execute(
            "SELECT name, suspended, writerTxn, sequencerTxn, errorMessage FROM wal_tables() "
            f"WHERE name IN ({names})"
        )

    async def close(self) -> None:
        """Close every connection."""
        while self._senders:
            self._senders.pop().close(flush=False)
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        while self._idle:
            self._idle.pop().close()

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
                payload = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _AwayError(_told(error)) from error
        if answer.status >= 500 or b"exceeded connection limit" in payload[:1000]:
            raise _AwayError(f"HTTP {answer.status}")
        if answer.status >= 400:
            raise self._refused(query["query"], _reason(payload))
        return payload

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            told = self.address
            headers = {"Authorization": f"Bearer {told.token}"} if told.token else {}
            auth = aiohttp.BasicAuth(told.user, told.password or "") if told.user and not told.token else None
            timeout = aiohttp.ClientTimeout(total=told.timeout_s)
            self._session = aiohttp.ClientSession(
                headers=headers, auth=auth, timeout=timeout, read_bufsize=READ_BUFFER
            )
        return self._session

    async def _fetch(self, sql: str, values: Sequence[Any], types: Sequence[str]) -> list[np.ndarray]:
        async with self._slots:
            try:
                return await asyncio.to_thread(self._ask, sql, values, types)
            except (psycopg.OperationalError, OSError) as error:
                raise _AwayError(_told(error)) from error
            except psycopg.Error as error:
                raise self._refused(sql, str(error)) from error

    def _ask(self, sql: str, values: Sequence[Any], types: Sequence[str]) -> list[np.ndarray]:
        """Ask over an idle connection, or a new one; a connection that failed is not used again."""
        connection = self._idle.pop() if self._idle else self._connect()
        try:
            rows = connection.execute(sql, values, prepare=True, binary=True).fetchall()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        columns = zip(*rows, strict=True) if rows else ((),) * len(types)
        return [np.fromiter(column, kind, len(rows)) for column, kind in zip(columns, types, strict=True)]

    def _connect(self) -> psycopg.Connection[Any]:
        told = self.address
        return psycopg.connect(
            host=told.host,
            port=told.pg_port,
            user=told.pg_user,
            password=told.pg_password,
            dbname="qdb",
            sslmode="require" if told.tls else "disable",
            connect_timeout=max(2, int(told.timeout_s)),
            autocommit=True,
        )

    async def _ingest(self, table: str, frame: pd.DataFrame) -> None:
        try:
            await asyncio.to_thread(self._send, table, frame)
        except questdb.QuestDBError as error:
            if error.code in _AWAY_CODES and _INVALID not in str(error):
                raise _AwayError(_told(error)) from error
            raise self._refused(f"rows for {table}", str(error)) from error

    def _send(self, table: str, frame: pd.DataFrame) -> None:
        """Send with an idle sender, or a new one; a sender that failed is not used again."""
        sender = self._senders.pop() if self._senders else self._new_sender()
        try:
            with sender.transaction(table) as transaction:
                transaction.dataframe(frame, symbols="auto", at="ts")
        except BaseException:
            sender.close(flush=False)
            raise
        self._senders.append(sender)

    def _new_sender(self) -> questdb.Sender:
        told = self.address
        options: dict[str, Any] = {"auto_flush": False, "retry_timeout": 0, "protocol_version": 2}
        options["request_timeout"] = int(told.timeout_s * 1000)
        if told.token:
            options["token"] = told.token
        elif told.user:
            options |= {"username": told.user, "password": told.password or ""}
        scheme = "https" if told.tls else "http"
        sender = questdb.Sender.from_conf(f"{scheme}::addr={told.host}:{told.http_port};", **options)
        sender.establish()  # type: ignore[no-untyped-call]
        return sender

    def _refused(self, what: str, reason: str) -> HotStoreError:
        return HotStoreError(f"hot store {self.address} refused {what}: {reason}", address=str(self.address))


_AWAY_CODES = frozenset(
    {
        questdb.QuestDBErrorCode.SocketError,
        questdb.QuestDBErrorCode.ServerFlushError,
        questdb.QuestDBErrorCode.ConnectTimeout,
    }
)
_INVALID = '"code":"invalid"'
"""How the server marks rows that it will never take."""


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _reason(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["error"])
    except (ValueError, KeyError, TypeError):
        return payload[:200].decode(errors="replace")
