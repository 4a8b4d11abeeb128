"""Object stores for tests: real S3 servers as child processes, and a proxy that lets them fail."""

from __future__ import annotations

import http.client
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
from conftest import ROOT, refuse
from support.services import await_answer, free_port

from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options
from seamless_assets.adapters.artifacts.store import DEFAULT_TEMPLATE, ArtifactStore
from seamless_assets.testing import InMemoryFiles

VERSITYGW = ROOT / ".venv" / "services" / "versitygw-1.8.0"

KEY, SECRET, REGION, BUCKET = "tester", "a-secret-of-tests", "us-east-1", "artifacts"
SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
)
Trouble = Literal["", "slow down", "reset before", "reset after"]


MOTO = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app))
"""
"""One request after the other: moto looks whether a file is there, and writes it, in two steps."""


class S3Server:
    """An S3 server with one bucket: `moto` in Python, `versitygw` on a folder."""

    def __init__(self, kind: str, program: Path, folder: Path) -> None:
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        place = urlsplit(self.endpoint)
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "moto":
            command = [sys.executable, "-c", MOTO, str(place.port)]
        else:
            (folder / "data").mkdir()
            command = [
                str(program),
                "--port",
                place.netloc,
                "--health",
                "/health",
                "posix",
                str(folder / "data"),
            ]
        log = folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET},
            )
        path = "/moto-api/" if kind == "moto" else "/health"
        await_answer(self._process, self.endpoint + path, log)
        self.client().create_bucket(Bucket=BUCKET)

    def client(self) -> Any:
        """boto3's client of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()


@dataclass
class Place:
    """Where artifacts are: a folder, or a prefix of a bucket that a server keeps."""

    root: str
    server: S3Server | None
    proxy: FlakyProxy | None = None

    @classmethod
    def in_bucket(cls, server: S3Server, proxy: FlakyProxy | None = None) -> Place:
        """A prefix that nothing lies under."""
        return cls(f"s3://{BUCKET}/{uuid4().hex}", server, proxy)

    def open(
        self,
        template: str = DEFAULT_TEMPLATE,
        copies: Path | None = None,
        max_bytes: int = 100_000_000,
        **options: Any,
    ) -> ArtifactStore:
        """A store that has seen nothing of it yet, with its local copies in a folder."""
        kept = CopyFolder(copies, max_bytes) if copies else None
        if self.server is None:
            return ArtifactStore(self.root, template, kept)
        endpoint = self.proxy.endpoint if self.proxy else self.server.endpoint
        return ArtifactStore(self.root, template, kept, **{**client_options(access(endpoint)), **options})

    def read(self, uri: str) -> bytes:
        """The bytes behind a URI, past every store of ours."""
        if self.server is None:
            return Path(uri).read_bytes()
        payload: bytes = self.server.client().get_object(**self._key(uri))["Body"].read()
        return payload

    def write(self, uri: str, payload: bytes) -> None:
        """Put bytes there, whatever is there."""
        if self.server is None:
            Path(uri).write_bytes(payload)
        else:
            self.server.client().put_object(**self._key(uri), Body=payload)

    def remove(self, uri: str) -> None:
        """Take away what is there."""
        if self.server is None:
            Path(uri).unlink()
        else:
            self.server.client().delete_object(**self._key(uri))

    def _key(self, uri: str) -> dict[str, str]:
        return {"Bucket": BUCKET, "Key": uri.removeprefix(f"s3://{BUCKET}/")}


class InMemoryPlace(Place):
    """The same in memory: stores on shared files, each on an event loop of this process."""

    def __init__(self) -> None:
        self._files = InMemoryFiles()
        super().__init__(self._files.root, None)

    def open(self, template: str = DEFAULT_TEMPLATE, *args: Any, **options: Any) -> ArtifactStore:
        """A store that has seen nothing of it yet."""
        return ArtifactStore(self.root, template, files=self._files)

    def read(self, uri: str) -> bytes:
        """The bytes behind a URI."""
        return self._files.held[self._path(uri)]

    def write(self, uri: str, payload: bytes) -> None:
        """Put bytes there, whatever is there."""
        self._files.held[self._path(uri)] = payload
        self._files.made_at.setdefault(self._path(uri), self._files.clock.now())

    def remove(self, uri: str) -> None:
        """Take away what is there."""
        del self._files.held[self._path(uri)], self._files.made_at[self._path(uri)]

    def _path(self, uri: str) -> str:
        return uri.removeprefix(f"{self.root}/")


def require_s3_server(kind: str) -> Path:
    """The program of an S3 server; without it tests skip, on CI they fail."""
    if kind == "versitygw" and not VERSITYGW.exists():
        refuse(f"{VERSITYGW.name} is not in {VERSITYGW.parent}: it is built where Go is")
    return VERSITYGW


def access(endpoint: str) -> S3Access:
    """How a server of the tests is reached."""
    return S3Access(region=REGION, endpoint_url=endpoint, access_key_id=KEY, secret_access_key=SECRET)


class FlakyProxy:
    """Passes requests on; `trouble(number, method, path)` says what becomes of each instead.

    `slow down` answers 503 as S3 does when it throttles, `reset before` drops the connection before the
    server sees the request, `reset after` once the server has done what was asked.
    """

    def __init__(self, endpoint: str, trouble: Callable[[int, str, str], Trouble]) -> None:
        self.count = 0
        self.troubles: list[Trouble] = []
        self._lock = threading.Lock()
        self._trouble = trouble
        proxy, backend = self, urlsplit(endpoint).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                trouble = proxy.next_trouble(self.command, self.path)
                if trouble == "reset before":
                    return self.reset()
                if trouble == "slow down":
                    return self.answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
                onward = http.client.HTTPConnection(backend, timeout=30)
                onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    onward.putheader(name, value)
                onward.endheaders(body)
                response = onward.getresponse()
                payload = response.read()
                onward.close()
                if trouble == "reset after":
                    return self.reset()
                return self.answer(response.status, response.getheaders(), payload)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815

            def answer(self, status: int, headers: list[tuple[str, str]], payload: bytes) -> None:
                self.send_response_only(status)
                is_head = self.command == "HEAD"
                for name, value in headers:
                    drop = ("transfer-encoding", "connection", *(() if is_head else ("content-length",)))
                    if name.lower() not in drop:
                        self.send_header(name, value)
                if not is_head:
                    self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                if not is_head:
                    self.wfile.write(payload)

            def reset(self) -> None:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()

            def log_message(self, *answer: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def next_trouble(self, method: str, path: str) -> Trouble:
        """What becomes of the next request."""
        with self._lock:
            trouble = self._trouble(self.count, method, path)
            self.count += 1
            self.troubles.append(trouble)
            return trouble

    def stop(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
