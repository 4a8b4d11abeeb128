"""Real servers as child processes of a test: a free port, and the wait until one answers."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START_S = 120.0
POLL_S = 0.1


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_answer(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return once `url` answers; fail with the server's log where it ends or stays silent."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(POLL_S)
    raise AssertionError(f"{url} does not answer (exit status {server.poll()}): {log.read_text()[-3000:]}")
