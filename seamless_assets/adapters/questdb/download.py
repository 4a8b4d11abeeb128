"""Long answers of a QuestDB server, read in a thread: an event loop wakes for every piece of them."""

from __future__ import annotations

import ssl
import time
from http.client import HTTPConnection, HTTPSConnection
from io import BytesIO
from urllib.parse import urlencode

from seamless_assets.adapters.questdb.address import QuestDbAddress

PIECE = 2**20


def download(
    address: QuestDbAddress, context: ssl.SSLContext | None, path: str, query: dict[str, str]
) -> tuple[int, bytes]:
    """Status and whole body of an answer, over a connection of its own.

    The server counts kept connections that have exported against the few exports it allows. Raises
    `OSError` and `HTTPException`, also where the answer takes longer than the address's `timeout_s`.
    """
    until = time.monotonic() + address.timeout_s
    connection = _connection(address, context)
    try:
        headers = {**address.http_headers(), "Connection": "close"}
        connection.request("GET", f"/{path}?{urlencode(query)}", headers=headers)
        answer = connection.getresponse()
        body = BytesIO()
        while piece := answer.read1(PIECE):
            body.write(piece)
            if time.monotonic() > until:
                raise TimeoutError(f"no whole answer in {address.timeout_s:g} s")
        return answer.status, body.getvalue()
    finally:
        connection.close()


def _connection(address: QuestDbAddress, context: ssl.SSLContext | None) -> HTTPConnection:
    if context is None:
        return HTTPConnection(address.host, address.http_port, timeout=address.timeout_s)
    return HTTPSConnection(address.host, address.http_port, timeout=address.timeout_s, context=context)
