"""Rows to a QuestDB server by ILP over HTTP: encoded into buffers, each sent as one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import questdb

from seamless_assets.adapters.questdb.address import QuestDbAddress

if TYPE_CHECKING:
    from questdb._client import Buffer


class IlpSenders:
    """Senders to one server, each used by one thread at a time."""

    def __init__(self, address: QuestDbAddress) -> None:
        self._address = address
        self._idle: list[questdb.Sender] = []

    def encode(self, table: str, frame: pd.DataFrame) -> Buffer:
        """Rows for `table` as they are sent, `ts` as designated timestamp. Raises `QuestDBError`."""
        with self._sender() as sender:
            buffer = sender.new_buffer()
        buffer.dataframe(frame, table_name=table, symbols="auto", at="ts")
        return buffer

    def send(self, buffer: Buffer) -> None:
        """Send what was encoded; the buffer stays as it is where that fails. Raises `QuestDBError`."""
        with self._sender() as sender:
            sender.flush(buffer, transactional=True)

    def close(self) -> None:
        """Close every idle sender."""
        idle, self._idle = self._idle, []
        for sender in idle:
            sender.close(flush=False)

    @contextmanager
    def _sender(self) -> Iterator[questdb.Sender]:
        """An idle sender, or a new one; a sender that failed is not used again."""
        try:
            sender = self._idle.pop()
        except IndexError:
            # Not asked before: another thread may take the last one in between.
            sender = self._new_sender()
        try:
            yield sender
        except BaseException:
            sender.close(flush=False)
            raise
        self._idle.append(sender)

    def _new_sender(self) -> questdb.Sender:
        address = self._address
        options: dict[str, Any] = {"auto_flush": False, "retry_timeout": 0, "protocol_version": 2}
        options |= {"request_timeout": int(address.timeout_s * 1000), "request_min_throughput": 0}
        options |= address.sender_tls()
        if address.token:
            options["token"] = address.token
        elif address.user:
            options |= {"username": address.user, "password": address.password or ""}
        scheme = "https" if address.tls else "http"
        sender = questdb.Sender.from_conf(f"{scheme}::addr={address.host}:{address.http_port};", **options)
        sender.establish()  # type: ignore[no-untyped-call]
        return sender
