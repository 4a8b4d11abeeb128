"""QuestDB's tables: what each is made of, and the statements that bring any earlier version to this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from seamless_assets.adapters.questdb.client import DESIGNATED, QuestDbClient, literal
from seamless_assets.aio.gather import gather
from seamless_assets.core.calendar.partition import PartitionUnit, default_unit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import HotStoreError

FACTS, EVICTIONS, VERSIONS = "seamless_facts", "seamless_evictions", "seamless_versions"
FENCES, SWEEPS = "seamless_fences", "seamless_sweeps"
_BARS: dict[PartitionUnit, str] = {
    "day": "seamless_bars_fine",
    "month": "seamless_bars_medium",
    "year": "seamless_bars_coarse",
}
PARTITIONS = {
    _BARS["day"]: Timeframe("1w"),
    _BARS["month"]: Timeframe("1M"),
    _BARS["year"]: Timeframe("1y"),
}
"""The tables of bars, and the time that one partition of each spans."""
BARS = tuple(PARTITIONS)
NODE = "SYMBOL CAPACITY 4096"


@dataclass(frozen=True)
class Table:
    """A table: its columns with their types, the time that a partition spans, and the keys of its rows."""

    name: str
    partition: str
    columns: Mapping[str, str]
    keys: tuple[str, ...]
    ttl: str = ""

    def statement(self) -> str:
        """What makes it where it is not there."""
        columns = ", ".join(f'"{name}" {kind}' for name, kind in self.columns.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}) TIMESTAMP({DESIGNATED}) "
            f"PARTITION BY {self.partition} {self.ttl} WAL DEDUP UPSERT KEYS({self.key_list})"
        )

    @property
    def key_list(self) -> str:
        """Its keys as statements name them."""
        return ", ".join(f'"{key}"' for key in self.keys)

    def faults(self, found: _ServerTable) -> list[str]:
        """In what a table of this name differs from it."""
        faults = []
        if found.designated != DESIGNATED:
            faults.append(f"its designated timestamp is {found.designated}, not {DESIGNATED}")
        if found.partition != self.partition:
            faults.append(f"its partitions are by {found.partition}, not {self.partition}")
        if not found.is_wal:
            faults.append("it has no WAL")
        for name, kind in self.columns.items():
            if (there := found.columns.get(name, "not there")) != kind.split()[0]:
                faults.append(f"its column {name} is {there}, not {kind.split()[0]}")
        if found.keys != {*self.keys}:
            faults.append(f"the keys of its rows are {', '.join(sorted(found.keys)) or 'none'}")
        return faults


@dataclass(frozen=True)
class _ServerTable:
    """What a server says of one of its tables."""

    designated: str
    partition: str
    is_wal: bool
    columns: Mapping[str, str]
    keys: frozenset[str]


# The token is one of the keys: rows of an earlier lease stay beside those of a later one and lose when they
# are read, whenever they arrive. The version tells apart what one lease wrote of a bar, and recorded_at what
# two writers without a lease wrote at once.
_BARS_KEYS = ("ts", "node", "token", "version", "recorded_at")
_BAR = {
    "ts": "TIMESTAMP",
    "node": NODE,
    "token": "LONG",
    "recorded_at": "DOUBLE",
    **dict.fromkeys(("open", "high", "low", "close", "volume"), "DOUBLE"),
    "version": "LONG",
}
_RANGE = {"start": "LONG", "end": "LONG"}
_FACT = {
    "ts": "TIMESTAMP",
    "node": NODE,
    "token": "LONG",
    "seq": "LONG",
    **_RANGE,
    "reason": "SYMBOL",
    "evidence": "VARCHAR",
    "recorded_at": "DOUBLE",
    "attempts": "LONG",
    "next_try": "DOUBLE",
}
# `ts` is when the fence was raised, by the server's clock, which drops those that are older than any lease.
_FENCE = {"ts": "TIMESTAMP", "node": NODE, **_RANGE, "token": "LONG", "writer": "LONG", "done": "BOOLEAN"}
_SWEEP = {"ts": "TIMESTAMP", "bars": "SYMBOL", **_RANGE, "until": "TIMESTAMP", "ended": "TIMESTAMP"}
_VERSIONS = Table(VERSIONS, "YEAR", {"ts": "TIMESTAMP", "version": "LONG"}, ("ts", "version"))
_OTHERS = (
    Table(FENCES, "WEEK", _FENCE, ("ts", "node", "writer"), ttl="TTL 5 WEEKS"),
    Table(SWEEPS, "YEAR", _SWEEP, ("ts", "bars", "start")),
)
_LEDGER = Table(FACTS, "MONTH", _FACT, ("ts", "node", "token", "seq", "start", "end", "reason"))
TABLES = (
    Table(_BARS["day"], "WEEK", _BAR, _BARS_KEYS),
    Table(_BARS["month"], "MONTH", _BAR, _BARS_KEYS),
    Table(_BARS["year"], "YEAR", _BAR, _BARS_KEYS),
    _LEDGER,
    Table(EVICTIONS, "YEAR", {"ts": "TIMESTAMP", "node": NODE, **_RANGE}, ("ts", "node", "start")),
    *_OTHERS,
    _VERSIONS,
)
_UPGRADES: tuple[tuple[str, ...], ...] = (
    (
        *(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS version LONG" for table in BARS),
        *(f"ALTER TABLE {table} DEDUP ENABLE UPSERT KEYS({', '.join(_BARS_KEYS)})" for table in BARS),
        f"ALTER TABLE {FACTS} DEDUP ENABLE UPSERT KEYS({_LEDGER.key_list})",
        *(table.statement() for table in _OTHERS),
    ),
)
"""What brings each version to the next one, from the first on."""
SCHEMA_VERSION = len(_UPGRADES) + 1


def bars_table(timeframe: Timeframe) -> str:
    """The table that holds bars of a timeframe: fine, medium or coarse ones."""
    return _BARS[default_unit(timeframe)]


async def migrate(client: QuestDbClient) -> None:
    """Bring the server's tables to this version; running it again, or twice at once, changes nothing.

    Raises `HotStoreError` where a later version has been there, or a table is not as it is made here.
    """
    await _settle(client, _VERSIONS.statement())
    found = (await client.execute(f"SELECT max(version) FROM {VERSIONS}"))[0][0] or 0
    if found > SCHEMA_VERSION:
        raise HotStoreError(
            f"{client.address} has schema version {found}, this program knows {SCHEMA_VERSION}; upgrade it",
            version=found,
        )
    for statement in chain.from_iterable(_UPGRADES[found - 1 :] if found else ()):
        await _settle(client, statement)
    there = {name for (name,) in await client.execute("SELECT table_name FROM tables()")}
    for table in TABLES:
        if table.name not in there:
            await _settle(client, table.statement())
    await check_tables(client)
    if found < SCHEMA_VERSION:
        await write_version(client)


async def check_tables(client: QuestDbClient) -> None:
    """Raise `HotStoreError` where a table of ours is not as it is made here, with what to do."""
    names = ", ".join(literal(table.name) for table in TABLES)
    rows = await client.execute(
        "SELECT table_name, designatedTimestamp, partitionBy, walEnabled FROM tables() "
        f"WHERE table_name IN ({names})"
    )
    columns = dict(
        zip((row[0] for row in rows), await gather(_columns(client, row[0]) for row in rows), strict=True)
    )
    found = {
        name: _ServerTable(
            designated,
            partition,
            is_wal,
            {column: kind for column, kind, _ in columns[name]},
            frozenset(column for column, _, is_key in columns[name] if is_key),
        )
        for name, designated, partition, is_wal in rows
    }
    for table in TABLES:
        faults = table.faults(found[table.name]) if table.name in found else ["it is not there"]
        if faults:
            raise HotStoreError(
                f"table {table.name} of {client.address} is not as it is made here: {'; '.join(faults)}. "
                f"Stop all workers, move it away (RENAME TABLE {table.name} TO '{table.name}_old') or drop "
                "it, and start again: released bars are in artifacts, `seamless backfill` fetches the others",
                table=table.name,
            )


async def write_version(client: QuestDbClient) -> None:
    """Write which version the tables have, and return once a read sees it. Raises `HotStoreError`."""
    await client.execute(f"INSERT INTO {VERSIONS} VALUES (0, {SCHEMA_VERSION})")
    await client.await_applied(VERSIONS)


async def _columns(client: QuestDbClient, table: str) -> list[list[str]]:
    """Name, type and whether it is a key, of each column of a table."""
    return await client.execute(f'SELECT "column", type, upsertKey FROM table_columns({literal(table)})')


async def _settle(client: QuestDbClient, statement: str) -> None:
    """Run a statement that may run twice; once more where another process ran it at the same time."""
    try:
        await client.execute(statement)
    except HotStoreError:
        await client.execute(statement)
