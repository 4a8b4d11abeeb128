"""An S3 of the tests' own, in memory, that answers as oddly as it is told to."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options

BUCKET = "bucket"


def error(code: str, **more: str) -> bytes:
    """The body of an error as S3 words it."""
    rest = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message>{rest}</Error>'.encode()


@dataclass(frozen=True)
class Asked:
    """One request: `key` is of the object, `prefix` of a listing (None where it is none)."""

    number: int
    method: str
    key: str
    prefix: str | None
    headers: Any


@dataclass
class Answer:
    """What is sent. `length` is what `Content-Length` says; after `silent_after` bytes nothing more comes.

    Where that is -1 not even the first line does.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    silent_after: int | None = None


Odd = Callable[[Asked, Callable[[], Answer]], Answer]
"""What becomes of a request; the second argument does what was asked and gives the honest answer."""


def honest_answer(_asked: Asked, answer: Callable[[], Answer]) -> Answer:
    """No odd answer at all."""
    return answer()


class OwnS3:
    """Objects of one bucket; `odd` may be set anew at any time."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.odd: Odd = honest_answer
        self._lock = threading.Lock()
        self._over = threading.Event()
        s3 = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = s3._note(self.command, self.path, self.headers)
                self.send(s3.odd(asked, lambda: s3._answered(asked, body, self.path)))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def send(self, answer: Answer) -> None:
                if answer.silent_after == -1:
                    s3._over.wait()
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                length = len(answer.body) if answer.length is None else answer.length
                if "Content-Length" not in answer.headers:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body[: answer.silent_after])
                if answer.silent_after is not None:
                    self.wfile.flush()
                    s3._over.wait()
                if answer.silent_after is not None or length != len(answer.body):
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.root = f"s3://{BUCKET}/here"

    @contextmanager
    def running(self) -> Iterator[OwnS3]:
        """Serve meanwhile."""
        thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def forget(self) -> None:
        """Let go of all objects, of odd answers, and of who waits for more of one."""
        self._over.set()
        self.held, self.asked, self.odd, self._over = {}, [], honest_answer, threading.Event()

    def options(self, **more: Any) -> dict[str, Any]:
        """What a store's client of it takes."""
        known = S3Access(
            region="us-east-1", endpoint_url=self.endpoint, access_key_id="a", secret_access_key="b"
        )
        return {**client_options(known), **more}

    def _note(self, method: str, path: str, headers: Any) -> Asked:
        query = dict(parse_qsl(urlsplit(path).query))
        key = unquote(urlsplit(path).path).removeprefix(f"/{BUCKET}").removeprefix("/")
        with self._lock:
            prefix = query.get("prefix", "") if "list-type" in query else None
            self.asked.append(Asked(len(self.asked), method, key, prefix, headers))
            return self.asked[-1]

    def _answered(self, asked: Asked, body: bytes, path: str) -> Answer:
        with self._lock:
            if asked.prefix is not None:
                return self._listed(
                    asked.prefix, dict(parse_qsl(urlsplit(path).query)).get("start-after", "")
                )
            if asked.method == "PUT":
                if asked.headers.get("If-None-Match") == "*" and asked.key in self.held:
                    return Answer(412, error("PreconditionFailed"))
                self.held[asked.key] = body
                return Answer(headers={"ETag": etag(body)})
            if asked.method == "POST":
                gone = [unescape(key.decode()) for key in re.findall(rb"<Key>(.*?)</Key>", body)]
                for key in gone:
                    self.held.pop(key, None)
                items = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in gone)
                return Answer(200, f"<DeleteResult>{items}</DeleteResult>".encode(), XML)
            if asked.key not in self.held:
                return Answer(404, error("NoSuchKey"))
            held = self.held[asked.key]
            headers = {"ETag": etag(held), "Last-Modified": formatdate(1_700_000_000, usegmt=True)}
            return Answer(200, held, headers)

    def _listed(self, prefix: str, after: str) -> Answer:
        keys = sorted(key for key in self.held if key.startswith(prefix) and key > after)
        return Answer(200, listing(BUCKET, prefix, [(key, self.held[key]) for key in keys]), XML)


XML = {"Content-Type": "application/xml"}


def etag(body: bytes) -> str:
    """As S3 makes it of an object that was put whole."""
    return f'"{hashlib.md5(body).hexdigest()}"'


def listing(bucket: str, prefix: str, objects: list[tuple[str, bytes]]) -> bytes:
    """One page of a listing, all there is."""
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
        f"<ETag>{escape(etag(body))}</ETag><Size>{len(body)}</Size></Contents>"
        for key, body in objects
    )
    return (
        f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>'
        f"<KeyCount>{len(objects)}</KeyCount><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
    ).encode()
