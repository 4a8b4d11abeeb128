"""A server of files in the form of an exchange's archive, for what is fetched from one."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa


@dataclass
class FileServer:
    """Files by path, and the paths that were asked for; a path in `broken` answers with its status."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def put_archive(self, path: str, bars: pa.Table, per_second: int = 1_000) -> None:
        """Keep bars as a zip of lines without a header, and its checksum."""
        frame = bars.to_pandas()
        frame["ts"] *= per_second
        name = path.rpartition("/")[2]
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name.replace(".zip", ".csv"), frame.to_csv(index=False, header=False))
        self.files[path] = sink.getvalue()
        digest = hashlib.sha256(sink.getvalue()).hexdigest()
        self.files[path + ".CHECKSUM"] = f"{digest}  {name}\n".encode()

    @contextmanager
    def running(self) -> Iterator[FileServer]:
        """Serve them on loopback."""
        known = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                known.asked.append(path)
                held = known.files.get(path)
                self.send_response(known.broken.get(path, 404 if held is None else 200))
                self.send_header("Content-Length", str(len(held or b"")))
                self.end_headers()
                self.wfile.write(held or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
