"""A Redis that answers and does not do the work: whoever works with it reports it, and so does the doctor."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import require_redis
from redis.asyncio import Redis
from redis.exceptions import RedisError
from support.services import RedisServer, free_port

from seamless_assets.adapters.redis import client
from seamless_assets.adapters.redis.budget import RedisBudget
from seamless_assets.adapters.redis.causes import explained
from seamless_assets.adapters.redis.leases import RedisLeases
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import BudgetUnavailable, LeaseStoreUnavailable

BUDGET = Budget(20, 1_000, 5)
CLUSTER = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
Command = tuple[str, ...]
TROUBLES: dict[str, tuple[list[str], list[Command], str]] = {
    "full": ([], [("CONFIG", "SET", "maxmemory", "1")], r"it is full.*raise its maxmemory"),
    "replica": (["--replicaof", "127.0.0.1 1"], [], "it is a replica.*name the primary"),
    "replica cut off": (
        ["--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no"],
        [],
        "it is a replica.*name the primary",
    ),
    "cluster": (CLUSTER, [], "a node of a cluster.*name a server outside"),
    "no replicas": (["--min-replicas-to-write", "1"], [], "too few replicas"),
    "rules": ([], [("ACL", "SETUSER", "default", "-@all", "+info", "+acl")], "access rules.*EVALSHA"),
    "rules of keys": ([], [("ACL", "SETUSER", "default", "resetkeys", "~other*")], "access rules.*rl:"),
    "no scripts": (["--rename-command", "EVALSHA", ""], [], "does not know, or was told to forget"),
    "password": (["--requirepass", "secret"], [], "does not let us in.*user and password"),
}
Start = Callable[[list[str], list[Command]], RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with arguments and runs commands on it."""
    servers: list[RedisServer] = []

    def started(settings: list[str], commands: list[Command]) -> RedisServer:
        # By default a cluster's second port lies 10,000 above the first, which may be no port at all.
        bus = ["--cluster-port", str(free_port())] if settings[:2] == CLUSTER[:2] else []
        server = RedisServer(require_redis(), tmp_path / "redis", settings=[*settings, *bus])
        servers.append(server)
        server.start()
        asyncio.run(run(server, commands))
        return server

    yield started
    for server in servers:
        server.kill()


async def run(server: RedisServer, commands: list[Command]) -> None:
    async with Redis.from_url(server.url) as connected:
        for command in commands:
            await connected.execute_command(*command)


@pytest.mark.parametrize("trouble", list(TROUBLES))
def test_what_hinders_the_work_is_named_with_the_way_out(start: Start, trouble: str) -> None:
    settings, commands, message = TROUBLES[trouble]
    server = start(settings, commands)

    async def work() -> None:
        budget, leases = RedisBudget(server.url), RedisLeases(server.url)
        with pytest.raises(BudgetUnavailable, match=message):
            await budget.take("rl:work", BUDGET, 1.0)
        with pytest.raises(BudgetUnavailable, match=message):
            await budget.status()
        with pytest.raises(LeaseStoreUnavailable, match=message):
            await leases.claim("work", "w", 60.0)
        with pytest.raises(LeaseStoreUnavailable, match=message):
            await leases.status()
        await budget.close()
        await leases.close()

    asyncio.run(work())


def test_a_cluster_of_one_does_the_work_and_one_of_more_is_refused(start: Start) -> None:
    server = start(CLUSTER, [("CLUSTER", "ADDSLOTSRANGE", "0", "16383")])

    async def work() -> None:
        leases = RedisLeases(server.url)
        while "cluster" in await failing(leases):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert (await leases.status()).warning == ""
        await run(server, [("CLUSTER", "DELSLOTS", "5")])
        while "cluster" not in await failing(leases):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await leases.close()

    asyncio.run(work())


async def failing(leases: RedisLeases) -> str:
    try:
        await leases.status()
    except LeaseStoreUnavailable as error:
        return str(error)
    return ""


def test_a_look_needs_every_command_that_the_work_needs(start: Start) -> None:
    server = start([], [])
    sources = Path(client.__file__).parent.glob("*.py")
    needed = {name for source in sources for name in re.findall(r"redis\.call\('(\w+)'", source.read_text())}
    assert {"HMGET", "HSET", "TIME", "HGETALL", "HDEL"} <= needed

    async def work() -> None:
        leases = RedisLeases(server.url)
        for name in sorted({*needed, "EVALSHA", "SCAN"}):
            await run(server, [("ACL", "SETUSER", "default", "+@all", f"-{name}")])
            with pytest.raises(LeaseStoreUnavailable, match="access rules"):
                await leases.status()
        await run(server, [("ACL", "SETUSER", "default", "+@all")])
        assert (await leases.status()).warning == ""
        await leases.close()

    asyncio.run(work())


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_keys_that_may_be_dropped_are_reported(start: Start, policy: str) -> None:
    server = start(["--maxmemory", "100mb", "--maxmemory-policy", policy], [])

    async def work() -> None:
        budget = RedisBudget(server.url)
        status = await budget.status()
        assert policy in status.warning and "maxmemory-policy noeviction" in status.warning
        await run(server, [("CONFIG", "SET", "maxmemory-policy", "noeviction")])
        assert (await budget.status()).warning == ""
        await budget.close()

    asyncio.run(work())


def test_a_look_leaves_nothing_behind(start: Start) -> None:
    server = start([], [])

    async def work() -> None:
        budget, leases = RedisBudget(server.url), RedisLeases(server.url)
        await budget.status()
        await leases.status()
        async with Redis.from_url(server.url) as connected:
            assert await connected.dbsize() == 0
        await budget.close()
        await leases.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LOADING Redis is loading the dataset in memory", "still loading.*wait"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save to its disk"),
        ("DB index is out of range", "no database of that number"),
        ("WRONGTYPE Operation against a key", "another program uses our keys"),
        ("BUSY Redis is busy running a script", "SCRIPT KILL"),
        ("something nobody has heard of", "cannot be reached.*check that the server runs"),
    ],
)
def test_other_answers_are_explained_too(text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(explained(RedisError(text)))
