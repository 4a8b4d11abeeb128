"""Dagster's instance in a warm worker: each process opens it once, and keeps its connections."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extensions
from dagster import DagsterInstance
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

NO_TIMEOUT_MS = 0
RECYCLE_S = 3_600
MAX_OVERFLOW = 20


@dataclass(frozen=True)
class _Held:
    """An instance, and the process that opened it: no other may use its connections."""

    pid: int
    instance: DagsterInstance


_lock = threading.Lock()
_held: _Held | None = None


def kept_instance() -> DagsterInstance:
    """The instance of this process, opened by the first who asks.

    Postgres starts a process for each connection; Dagster's own would open one for each of the seventy
    statements of a run.
    """
    global _held
    with _lock:
        if _held is None or _held.pid != os.getpid():
            if not event.contains(QueuePool, "checkout", _ask_for_a_sign_of_life):
                event.listen(QueuePool, "checkout", _ask_for_a_sign_of_life)
            instance = DagsterInstance.get()
            instance.optimize_for_webserver(NO_TIMEOUT_MS, RECYCLE_S, MAX_OVERFLOW)
            _held = _Held(os.getpid(), instance)
        return _held.instance


def _ask_for_a_sign_of_life(connection: Any, _entry: ConnectionPoolEntry, _handed_out: Any) -> None:
    """Refuse a kept connection whose server has gone: the pool then opens another, as Dagster's own does."""
    if not isinstance(connection, psycopg2.extensions.connection) or not connection.autocommit:
        return  # of somebody else's pool
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        raise DisconnectionError(f"the database of Dagster has hung up: {error}") from error
