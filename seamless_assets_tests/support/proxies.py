"""A forward proxy of a test's own, which remembers whom it was asked for: plain HTTP, CONNECT and SOCKS5."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from selectors import EVENT_READ, DefaultSelector
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

SOCKS5, CONNECT, DOMAIN, USER_AND_PASSWORD = 5, 1, 3, 2
TIMEOUT_S = 30.0


class Proxy(ThreadingTCPServer):
    """`asked` are the places (`host:port`) that it was asked for, `heads` the HTTP requests it read.

    Whoever does not tell `account` (`user:password`), where one is set, is refused. Nobody is led out of
    this machine.
    """

    daemon_threads = True

    def __init__(self, account: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.account = account
        self.asked: list[str] = []
        self.heads: list[str] = []

    def url(self, scheme: str = "http") -> str:
        """How it is named in settings."""
        user = f"{self.account}@" if self.account else ""
        return f"{scheme}://{user}127.0.0.1:{self.server_address[1]}"

    def reach(self, host: str, port: int) -> socket.socket | None:
        """A connection to a place on this machine; None for any other."""
        self.asked.append(f"{host}:{port}")
        return socket.create_connection((host, port), TIMEOUT_S) if host == "127.0.0.1" else None


class _Client(StreamRequestHandler):
    server: Proxy
    timeout = TIMEOUT_S

    def handle(self) -> None:
        if self.connection.recv(1, socket.MSG_PEEK) == bytes([SOCKS5]):
            self._socks()
        else:
            self._http()

    def _http(self) -> None:
        lines = []
        while (line := self.rfile.readline().decode().rstrip()) or not lines:
            lines.append(line)
        self.server.heads.append("\n".join(lines))
        method, target, _ = lines[0].split(" ")
        token = base64.b64encode(self.server.account.encode()).decode()
        if self.server.account and f"Proxy-Authorization: Basic {token}" not in lines:
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        place = urlsplit(f"//{target}" if method == "CONNECT" else target)
        behind = self.server.reach(place.hostname or "", place.port or 80)
        if behind is None or method == "CONNECT":
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
        path = place._replace(scheme="", netloc="").geturl()
        head = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
        behind.sendall("\r\n".join(head).encode())
        self._pass_on(behind)

    def _socks(self) -> None:
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(bytes([SOCKS5, USER_AND_PASSWORD if self.server.account else 0]))
        if self.server.account:
            version = self.rfile.read(1)
            is_known = f"{self._text()}:{self._text()}" == self.server.account
            self.wfile.write(version + bytes([not is_known]))
            if not is_known:
                return
        _, command, _, kind = self.rfile.read(4)
        host = self._text() if kind == DOMAIN else socket.inet_ntoa(self.rfile.read(4))
        behind = self.server.reach(host, int.from_bytes(self.rfile.read(2), "big"))
        is_granted = behind is not None and command == CONNECT
        self.wfile.write(bytes([SOCKS5, 0 if is_granted else 1, 0, 1, 0, 0, 0, 0, 0, 0]))
        if behind is not None:
            self._pass_on(behind)

    def _text(self) -> str:
        """A text that follows its own length."""
        return self.rfile.read(self.rfile.read(1)[0]).decode()

    def _pass_on(self, behind: socket.socket) -> None:
        """Carry bytes both ways until either side has said its last."""
        with behind, DefaultSelector() as either:
            either.register(self.connection, EVENT_READ, behind)
            either.register(behind, EVENT_READ, self.connection)
            while True:
                for ready, _ in either.select(TIMEOUT_S):
                    chunk = ready.fileobj.recv(65_536)  # type: ignore[union-attr]
                    if not chunk:
                        return
                    ready.data.sendall(chunk)


@contextmanager
def proxy(account: str = "") -> Iterator[Proxy]:
    """A proxy that runs."""
    with Proxy(account) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
