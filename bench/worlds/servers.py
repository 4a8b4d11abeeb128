"""Servers of this machine, each in a process of its own and with a place of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.ending import ENDING
from bench.measuring.process import running
from bench.places import OURS, ROOT, child_environment, reach_support


@contextmanager
def questdb_ports(folder: Path) -> Iterator[list[int] | str]:
    """HTTP and Postgres ports of a running QuestDB; a sentence where it cannot be had."""
    reach_support()
    from bootstrap import QUESTDB_JAR
    from support.services import QuestDbServer

    if not QUESTDB_JAR.exists():
        yield "no QuestDB server: `python3 ops/bootstrap.py test` fetches it where Maven is"
        return
    server = QuestDbServer(QUESTDB_JAR, folder, quick=False)
    with ExitStack() as stack:
        _start(server, stack)
        yield [server.http_port, server.pg_port]


def _start(server: Any, stack: ExitStack) -> None:
    """Start a server, to be killed with the stack."""
    stack.callback(server.kill)
    with ENDING.put_off():
        server.start()


class ClusterServers:
    """A PostgreSQL and a Redis, and the environment by which `ops/cluster/dagster.yaml` finds them."""

    def __init__(self, postgres: Any, redis: Any) -> None:
        self.make_database = postgres.make_database
        self.environment = {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(postgres.port),
            "DAGSTER_POSTGRES_PASSWORD": "not asked for here",
            "DAGSTER_CELERY_URL": redis.url.removesuffix("/0") + "/1",
        }


@contextmanager
def cluster_servers(folder: Path) -> Iterator[ClusterServers | str]:
    """The servers of a cluster; a sentence where they cannot be had."""
    reach_support()
    from support.services import PostgresServer, RedisServer

    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    redis = shutil.which("redis-server")
    if not found or not redis:
        yield "no PostgreSQL or Redis server: install Debian's postgresql and redis-server"
        return
    with ExitStack() as stack:
        servers = PostgresServer(found[-1]), RedisServer(Path(redis), folder / "redis")
        for server in servers:
            _start(server, stack)
        yield ClusterServers(*servers)


class LocalExchange:
    """The local exchange, steered from outside."""

    def __init__(self, url: str) -> None:
        self.url = url

    def steer(self, method: str, path: str, body: Any = None) -> Any:
        """Ask it to change itself, or what it has seen."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def requests(self) -> int:
        """Requests of every kind since it was last told to forget them."""
        return len(self.steer("GET", "requests"))


@contextmanager
def local_exchange(now: float, answer_s: float = 0.0) -> Iterator[LocalExchange]:
    """A local exchange whose clock stands at `now` and that answers after so many seconds."""
    reach_support()
    from support.services import free_port

    words = ["-m", "seamless_assets.sandbox", "--port", str(free_port()), "--now", str(int(now))]
    how = {"cwd": ROOT, "env": child_environment(), "stdout": subprocess.PIPE, "text": True}
    with running([OURS, *words], **how) as process:
        assert process.stdout is not None
        served = LocalExchange(process.stdout.readline().split()[-1])
        if answer_s:
            served.steer("POST", "faults", {"kind": "delay", "seconds": answer_s, "times": None})
        yield served
