"""A server that answers every request, of whatever protocol, with all that it was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PAGE = "text/html"


class Echo(ThreadingHTTPServer):
    """Answers with `status`, as a page or as JSON, and repeats the request's line, headers and body."""

    daemon_threads = True

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.status, self.kind = status, kind
        self.heads: list[str] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever speaks no HTTP hangs up."""


class _Request(BaseHTTPRequestHandler):
    server: Echo
    timeout = 5

    def answer(self) -> None:
        lines = [self.requestline, *(f"{name}: {value}" for name, value in self.headers.items())]
        lines.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace"))
        self.server.heads.append("\n".join(lines))
        body = "\n".join(lines) if self.server.kind == PAGE else json.dumps({"msg": lines, "code": -1})
        self.send_response(self.server.status, "; ".join(lines)[:200].replace("\n", " "))
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode() if self.command != "HEAD" else b"")

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def echo(status: int, kind: str) -> Iterator[Echo]:
    """A running one."""
    with Echo(status, kind) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
