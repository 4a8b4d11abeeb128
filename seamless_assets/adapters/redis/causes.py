"""Why a Redis server does not do its work, and the way out, in an operator's words."""

from __future__ import annotations

import re
from typing import NamedTuple


class Cause(NamedTuple):
    """What is wrong, and what to do about it."""

    what: str
    advice: str


_REACH = "check that the server runs and that its address and password are right"
_COMMANDS = (
    "EVALSHA, EVAL, SCRIPT, TIME, INFO, HSET, HMGET, HGETALL, HDEL, PEXPIRE, DEL and SCAN on keys rl:*, "
    "lease:* and fills:*"
)
_KNOWN = (
    (
        "AuthenticationError|NOAUTH|WRONGPASS",
        "it does not let us in",
        "check that user and password are right",
    ),
    (
        "NoPermissionError|NOPERM|user executing the script can't",
        "its access rules forbid what is needed",
        f"allow this user {_COMMANDS}",
    ),
    ("ReadOnlyError|READONLY", "it is a replica and takes no writes", "name the primary in the address"),
    (
        r"OutOfMemoryError|\bOOM\b",
        "it is full and takes no writes",
        "raise its maxmemory, or give it to this work alone",
    ),
    (
        "MISCONF",
        "it cannot save to its disk and takes no writes",
        "make room on its disk and see its log, or let it go on (stop-writes-on-bgsave-error no)",
    ),
    ("NOREPLICAS", "it has too few replicas to take writes", "start them, or lower min-replicas-to-write"),
    ("BusyLoadingError|LOADING", "it is still loading its data", "wait until it has"),
    ("MasterDownError|MASTERDOWN", "it is a replica without its primary", "name the primary in the address"),
    (
        "ClusterDownError|MovedError|AskError|TryAgainError|ClusterCrossSlotError|CLUSTERDOWN",
        "it is a node of a cluster and serves a part of all keys",
        "name a server outside of a cluster: budgets and leases need little of one",
    ),
    ("BUSY", "a script keeps it busy", "end that script (SCRIPT KILL), or wait"),
    ("unknown command", "it does not know, or was told to forget, what is needed", f"let it run {_COMMANDS}"),
    ("DB index", "it has no database of that number", "name another at the end of the address, such as /0"),
    ("WRONGTYPE", "another program uses our keys", "name a database of our own at the end of the address"),
)


def cause_of(error: Exception) -> Cause | None:
    """The cause that a server's answer names; None where there is no answer, or none that says why."""
    text = f"{type(error).__name__} {error}"
    return next((Cause(what, advice) for pattern, what, advice in _KNOWN if re.search(pattern, text)), None)


def explained(error: Exception) -> str:
    """What is wrong and what to do, as the end of a sentence about the server."""
    reason = " ".join(str(error).split()) or type(error).__name__
    cause = cause_of(error)
    if cause is None:
        return f"cannot be reached: {reason}; {_REACH}"
    return f"cannot be used: {cause.what} ({reason}); {cause.advice}"


def dropped_keys(memory: dict[str, object]) -> str:
    """What an eviction policy would do to us, of `INFO memory`; empty where nothing."""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if not memory.get("maxmemory") or policy == "noeviction":
        return ""
    return (
        f"once it is full it drops keys (maxmemory-policy {policy}), budgets and leases among them; set "
        "maxmemory-policy noeviction"
    )


def scattered(cluster: dict[str, object]) -> str:
    """Why a node of a cluster (`CLUSTER INFO`) does not do; empty where it serves all keys alone."""
    state, size = str(cluster.get("cluster_state", "ok")), str(cluster.get("cluster_size", "1"))
    if state == "ok" and size == "1":
        return ""
    return f"CLUSTERDOWN state {state}, {size} nodes with keys"
