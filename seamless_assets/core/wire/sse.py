"""Server-sent events, as browsers' `EventSource` reads them: written, and read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

HEARTBEAT = b": \n\n"
"""A comment: nobody hears of it, and a connection that is gone is noticed."""
LONGEST = 2**24
"""Bytes of one message; what is longer is none of a service of ours."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `last_id` was sent with it or before; without data it is all there is."""

    event: str
    data: bytes
    last_id: str


def write_message(event: str = "", data: bytes = b"", last_id: str = "") -> bytes:
    """A message; what is empty is left out. `data` is one line, as JSON is."""
    parts = (b"id: ", last_id.encode()), (b"event: ", event.encode()), (b"data: ", data)
    return b"".join(name + value + b"\n" for name, value in parts if value) + b"\n"


class MessageReader:
    """Takes bytes as they come, and gives the messages that are whole."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._event, self._id = "", ""
        self._data: list[bytes] = []
        self._has_id = False

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that end in `piece`. Raises `ValueError` where one never ends."""
        self._rest += piece
        end = self._rest.rfind(b"\n") + 1
        lines = bytes(self._rest[:end]).splitlines()
        del self._rest[:end]
        if len(self._rest) + sum(map(len, self._data)) > LONGEST:
            raise ValueError(f"a message is longer than {LONGEST} bytes")
        for line in lines:
            if line:
                self._take(line)
            elif self._data or self._has_id:
                yield Message(self._event, b"\n".join(self._data), self._id)
                self._event, self._data, self._has_id = "", [], False

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id":
            self._id, self._has_id = value.decode(errors="replace"), True
