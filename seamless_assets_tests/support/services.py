"""Real servers as child processes of a test: a free port, and the wait until one answers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

START_S = 120.0
POLL_S = 0.1
STARTS_QUICKLY = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Half the processor time until it answers, and slower ever after."""
QUESTDB_STARTS_QUICKLY = (*STARTS_QUICKLY, "-Xmn320m", "-XX:MetaspaceSize=64m", "-XX:+DisableExplicitGC")
"""What a start allocates lives on, so nothing is gained by looking for garbage meanwhile."""
QUESTDB_LEAVES_OUT = {"QDB_CAIRO_MAT_VIEW_ENABLED": "false", "QDB_VIEW_COMPILER_WORKER_COUNT": "0"}
"""What no hot store asks for; the threads of it would look for work a hundred times a second."""


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


def kept_classes(jar: Path) -> Path:
    """Where the classes of a server are kept as Java has read them; Java does without where they are not."""
    return jar.with_suffix(".jsa")


class QuestDbServer:
    """A QuestDB server of its own folder and ports; it can be killed and started again on the same data.

    `settings` are further environment variables of the server. One that is not `quick` is as people run it:
    slower to start, and faster then.
    """

    def __init__(
        self,
        jar: Path,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        quick: bool = True,
    ) -> None:
        self.http_port, self.pg_port = free_port(), free_port()
        self._jar, self._folder, self._settings = jar, folder, dict(settings or {})
        self._java: tuple[str, ...] = ()
        if quick:
            self._settings = {**QUESTDB_LEAVES_OUT, **self._settings}
            self._java = (*QUESTDB_STARTS_QUICKLY, f"-XX:SharedArchiveFile={kept_classes(jar)}")
        self._process: subprocess.Popen[bytes] | None = None

    def keep_classes(self) -> None:
        """Start and end it, and leave its classes beside its jar: half the work of each later start."""
        made = self._jar.with_name(f"{self._jar.stem}-{os.getpid()}.jsa")
        self._java = (*QUESTDB_STARTS_QUICKLY, f"-XX:ArchiveClassesAtExit={made}")
        try:
            self.start()
            assert self._process is not None
            self._process.terminate()
            self._process.wait(START_S)
            made.rename(kept_classes(self._jar))
        finally:
            self.kill()
            made.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it, and return once it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "server.log"
        settings = {
            "QDB_HTTP_BIND_TO": f"127.0.0.1:{self.http_port}",
            "QDB_PG_NET_BIND_TO": f"127.0.0.1:{self.pg_port}",
            "QDB_LINE_TCP_ENABLED": "false",
            "QDB_HTTP_MIN_ENABLED": "false",
            "QDB_TELEMETRY_ENABLED": "false",
            **self._settings,
        }
        crash = f"-XX:ErrorFile={self._folder}/crash.log"
        java = ["java", *self._java, "-Xmx1g", f"-Djava.io.tmpdir={self._folder}", crash]
        module = ["-p", str(self._jar), "-m", "io.questdb/io.questdb.ServerMain"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*java, *module, "-d", str(self._folder)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings},
            )
        await_answer(self._process, f"http://127.0.0.1:{self.http_port}/ping", log)

    def hang(self) -> None:
        """Let it keep its connections and answer nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RedisServer:
    """A Redis server of its own folder and port that keeps nothing; it can be killed and started again.

    With a `password` it asks everybody for it; `settings` are more of its own arguments.
    """

    def __init__(self, program: str, folder: Path, password: str = "", settings: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._program, self._folder = program, folder
        self._settings = ["--save", "", "--appendonly", "no", "--requirepass", password, *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "--port", str(self.port), "--bind", "127.0.0.1", *self._settings],
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as peer:
                peer.sendall(b"PING\r\n")
                if peer.recv(5) in (b"+PONG", b"-NOAU", b"-LOAD", b"-MAST"):
                    return
            time.sleep(POLL_S / 5)
        raise AssertionError(f"redis-server does not answer: {log.read_text()[-3000:]}")

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since."""
        return self._process is not None

    def signal(self, what: int) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(what)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Coordinator:
    """A lease coordinator of its own file and port; it can be killed and started again on the same leases."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "server.log"
        arguments = ["coordinator", "--port", str(self.port), "--state", str(self._folder)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from seamless_assets.cli import main; main()", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        await_answer(self._process, f"{self.url}/healthz", log)

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "server.log").read_text()

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class PostgresServer:
    """A PostgreSQL server of its own folder and port, with one empty database; it can be killed.

    As root it runs as the user `postgres`, since it refuses to run as root.
    """

    def __init__(self, programs: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql://dagster@127.0.0.1:{self.port}/postgres"
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, settings: Sequence[str] = ()) -> None:
        """Start it with `settings` such as `max_connections=20`, and return once it answers."""
        data, log = self._folder / "data", self._folder / "server.log"
        if not data.exists():
            if self._as:
                shutil.chown(self._folder, "postgres", "postgres")
            words = ["initdb", "-D", str(data), "-U", "dagster", "-A", "trust", "-E", "UTF8", "--no-sync"]
            self._run(*words)
        asked = [part for setting in (*settings, "fsync=off") for part in ("-c", setting)]
        where = ["-D", str(data), "-p", str(self.port), "-k", str(self._folder), "-h", "127.0.0.1"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._programs / "postgres", *where, *asked],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                **self._as,
            )
        ready = [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + START_S
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(POLL_S)

    def make_database(self, name: str) -> None:
        """An empty database in the place of whatever has its name."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "dagster")
        self._run("dropdb", *where, "--if-exists", "--force", name)
        self._run("createdb", *where, name)

    def kill(self) -> None:
        """End it, its children too, and remove what it holds."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder)

    def _run(self, program: str, *words: str) -> None:
        answer = subprocess.run(
            [self._programs / program, *words],
            capture_output=True,
            text=True,
            cwd=self._folder,
            check=False,
            **self._as,
        )
        assert answer.returncode == 0, answer.stderr
