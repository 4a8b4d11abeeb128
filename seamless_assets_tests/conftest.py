"""What tests share: recorded market data, real services, an open pipeline on the local exchange."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import hypothesis
import pytest
from support.services import Coordinator, PostgresServer, QuestDbServer, RedisServer

from seamless_assets.config.load import Settings
from seamless_assets.sandbox.server import Sandbox

pytest_plugins = ["seamless_assets.testing.pytest_plugin"]

# The speed of the machine decides nothing.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent
QUESTDB_JAR = ROOT / ".venv" / "services" / "questdb-9.3.4.jar"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no cycles in what collecting leaves: it stays, and takes most of a second each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that not one test is waited for in the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def require_program(name: str, why: str) -> str:
    """Path of a program that tests need; without it they skip, on CI they fail."""
    found = shutil.which(name)
    if found is None:
        refuse(f"{name} is not installed: {why}")
    return found


def refuse(reason: str) -> NoReturn:
    """A service that tests need is not to be had: they skip, on CI they fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded bars and trades beside the checkout."""
    folder = ROOT.parent / "shared" / "market-data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: recorded market data lies beside the project, not in it")
    return folder


@pytest.fixture
def exchange(local_exchange: Sandbox) -> Sandbox:
    """The local exchange of the test, under a shorter name."""
    return local_exchange


@pytest.fixture
def settings_for(local_settings: Callable[..., Settings]) -> Callable[..., Settings]:
    """Settings on embedded stores of the test, under the name of what they are asked for."""
    return local_settings


def require_questdb() -> Path:
    """The QuestDB server's jar; without it, or without Java, tests skip, on CI they fail."""
    require_program("java", "QuestDB runs on it")
    if not QUESTDB_JAR.exists():
        refuse(f"{QUESTDB_JAR.name} is not in {QUESTDB_JAR.parent}: Maven could not fetch it")
    return QUESTDB_JAR


@pytest.fixture(scope="session")
def questdb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuestDbServer]:
    """A running QuestDB, one for all tests of a worker; tests keep to nodes of their own."""
    yield from _running(QuestDbServer(require_questdb(), tmp_path_factory.mktemp("questdb")))


@pytest.fixture
def own_questdb(tmp_path: Path) -> Iterator[QuestDbServer]:
    """A running QuestDB that a test may kill."""
    yield from _running(QuestDbServer(require_questdb(), tmp_path / "questdb"))


def require_redis() -> str:
    """The Redis server's program; without it tests skip, on CI they fail."""
    return require_program("redis-server", "workers of a cluster share rate budgets and leases through it")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis, one for all tests of a worker; tests keep to keys of their own."""
    yield from _running(RedisServer(require_redis(), tmp_path_factory.mktemp("redis")))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A running Redis that a test may kill."""
    yield from _running(RedisServer(require_redis(), tmp_path / "redis"))


@pytest.fixture(scope="session")
def lease_coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    """A running lease coordinator, one for all tests of a worker; tests keep to keys of their own."""
    yield from _running(Coordinator(tmp_path_factory.mktemp("coordinator")))


@pytest.fixture
def own_coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    """A running lease coordinator that a test may kill."""
    yield from _running(Coordinator(tmp_path / "coordinator"))


def require_postgres() -> Path:
    """The folder of PostgreSQL's programs; without them tests skip, on CI they fail."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        refuse("PostgreSQL is not installed: Dagster keeps its records there in a cluster")
    return found[-1].parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL, one for all tests of a worker; tests keep to databases of their own."""
    yield from _running(PostgresServer(require_postgres()))


S = TypeVar("S", QuestDbServer, RedisServer, Coordinator, PostgresServer)


def _running(server: S) -> Iterator[S]:
    server.start()
    yield server
    server.kill()
