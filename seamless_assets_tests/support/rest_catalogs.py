"""REST catalogs of Iceberg tables: a twin in this process, and Iceberg's own servlet where it can be had."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.parse import parse_qs, unquote, urlsplit

from support.engines import jars_of
from support.services import STARTS_QUICKLY, await_answer, free_port

SERVLET = (
    "org.apache.iceberg:iceberg-core:1.6.1",
    "org.apache.iceberg:iceberg-core:1.6.1:tests",
    "org.eclipse.jetty:jetty-servlet:9.4.55.v20240627",
    "org.xerial:sqlite-jdbc:3.46.1.3",
    "org.slf4j:slf4j-nop:1.7.36",
)


class RestCatalogTwin(ThreadingHTTPServer):
    """What the mirror asks of a catalog, answered as Iceberg's protocol says.

    `overwrites`: whether a table is registered over another, as newer servers do. `token` is wanted of all
    requests; `status` is answered to each in place of what it asks; while `hung` is set none is answered
    before it is let go.
    """

    daemon_threads = True

    def __init__(self, *, overwrites: bool = True, token: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.overwrites, self.token = overwrites, token
        self.status: int | None = None
        self.hung, self.let_go = Event(), Event()
        self.namespaces: set[str] = set()
        self.tables: dict[str, str] = {}
        self.dropped_for_good: list[str] = []
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def running(self) -> Iterator[RestCatalogTwin]:
        served = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        served.start()
        try:
            yield self
        finally:
            self.let_go.set()
            self.shutdown()
            served.join()
            self.server_close()

    def answer(self, method: str, target: str, sent: dict[str, object]) -> tuple[int, object]:
        """Status and body of a request."""
        place = urlsplit(target)
        parts = [unquote(part) for part in place.path.strip("/").split("/")]
        if parts == ["v1", "config"]:
            return 200, {"defaults": {}, "overrides": {}}
        if method == "POST" and parts == ["v1", "namespaces"]:
            name = "\x1f".join(sent["namespace"])  # type: ignore[arg-type]
            if name in self.namespaces:
                return _error(409, "AlreadyExistsException", f"namespace {name} exists")
            self.namespaces.add(name)
            return 200, {"namespace": sent["namespace"], "properties": {}}
        if parts[2] not in self.namespaces:
            return _error(404, "NoSuchNamespaceException", f"no namespace {parts[2]}")
        if method == "POST":
            name = f"{parts[2]}\x1f{sent['name']}"
            if name in self.tables and not (self.overwrites and sent.get("overwrite")):
                return _error(409, "AlreadyExistsException", f"table {name} exists")
            self.tables[name] = str(sent["metadata-location"])
            return 200, self._table(name)
        name = f"{parts[2]}\x1f{parts[4]}"
        if name not in self.tables:
            return _error(404, "NoSuchTableException", f"no table {name}")
        if method == "DELETE":
            del self.tables[name]
            if parse_qs(place.query).get("purgeRequested", ["false"])[0].lower() == "true":
                self.dropped_for_good.append(name)
            return 204, None
        return 200, self._table(name)

    def _table(self, name: str) -> dict[str, object]:
        location = self.tables[name]
        held = Path(location.removeprefix("file://")).read_bytes()
        return {"metadata-location": location, "metadata": json.loads(held), "config": {}}


class _Handler(BaseHTTPRequestHandler):
    server: RestCatalogTwin

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _answer(self) -> None:
        twin = self.server
        size = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(size)
        if twin.hung.is_set():
            twin.let_go.wait()
        with twin.lock:
            if twin.token and self.headers.get("Authorization") != f"Bearer {twin.token}":
                status, body = _error(401, "NotAuthorizedException", "who are you?")
            elif twin.status is not None:
                status, body = _error(twin.status, "ServiceFailureException", "not now")
            else:
                status, body = twin.answer(self.command, self.path, json.loads(sent) if sent else {})
        payload = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(payload)


def _error(status: int, kind: str, message: str) -> tuple[int, object]:
    return status, {"error": {"message": message, "type": kind, "code": status}}


@contextmanager
def iceberg_servlet(folder: Path) -> Iterator[str]:
    """The address of Iceberg's own servlet of a REST catalog, over SQLite; skips the test without it."""
    jars = jars_of("rest-catalog", *SERVLET)
    port, log = free_port(), folder / "catalog.log"
    source = Path(__file__).with_name("RestCatalog.java")
    words = ["java", *STARTS_QUICKLY, "-cp", ":".join(map(str, jars)), str(source), str(port), str(folder)]
    with log.open("wb") as out:
        server = subprocess.Popen(words, stdout=out, stderr=out)
    try:
        await_answer(server, f"http://127.0.0.1:{port}/v1/config", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
