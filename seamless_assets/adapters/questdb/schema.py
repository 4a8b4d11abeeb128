"""QuestDB's tables, and the statements that bring any earlier version to this one."""

from __future__ import annotations

from itertools import chain

from seamless_assets.adapters.questdb.client import QuestDbClient
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

# The token is one of the keys: rows of an earlier lease stay beside those of a later one and lose when they
# are read, whenever they arrive. The version tells apart what one lease wrote of a bar, and recorded_at what
# two writers without a lease wrote at once.
_BARS_KEYS = "ts, node, token, version, recorded_at"
_FACTS_KEYS = 'ts, node, token, seq, start, "end", reason'
_BARS_TABLE = f"""CREATE TABLE IF NOT EXISTS {{table}} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, token LONG, recorded_at DOUBLE,
    open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, version LONG
) TIMESTAMP(ts) PARTITION BY {{partition}} WAL DEDUP UPSERT KEYS({_BARS_KEYS})"""
_OTHER_TABLES = (
    # `ts` is when the fence was raised; the server drops those that are older than any lease.
    f"""CREATE TABLE IF NOT EXISTS {FENCES} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, start LONG, "end" LONG, token LONG, writer LONG, done BOOLEAN
) TIMESTAMP(ts) PARTITION BY WEEK TTL 5 WEEKS WAL DEDUP UPSERT KEYS(ts, node, writer)""",
    f"""CREATE TABLE IF NOT EXISTS {SWEEPS} (
    ts TIMESTAMP, bars SYMBOL, start LONG, "end" LONG, until TIMESTAMP, ended TIMESTAMP
) TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, bars, start)""",
)
_NEWEST = (
    _BARS_TABLE.format(table=_BARS["day"], partition="WEEK"),
    _BARS_TABLE.format(table=_BARS["month"], partition="MONTH"),
    _BARS_TABLE.format(table=_BARS["year"], partition="YEAR"),
    f"""CREATE TABLE IF NOT EXISTS {FACTS} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, token LONG, seq LONG, start LONG, "end" LONG, reason SYMBOL,
    evidence VARCHAR, recorded_at DOUBLE, attempts LONG, next_try DOUBLE
) TIMESTAMP(ts) PARTITION BY MONTH WAL DEDUP UPSERT KEYS({_FACTS_KEYS})""",
    f"""CREATE TABLE IF NOT EXISTS {EVICTIONS} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, start LONG, "end" LONG
) TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, node, start)""",
    *_OTHER_TABLES,
)
_UPGRADES: tuple[tuple[str, ...], ...] = (
    (
        *(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS version LONG" for table in BARS),
        *(f"ALTER TABLE {table} DEDUP ENABLE UPSERT KEYS({_BARS_KEYS})" for table in BARS),
        f"ALTER TABLE {FACTS} DEDUP ENABLE UPSERT KEYS({_FACTS_KEYS})",
        *_OTHER_TABLES,
    ),
)
"""What brings each version to the next one, from the first on."""
SCHEMA_VERSION = len(_UPGRADES) + 1


def bars_table(timeframe: Timeframe) -> str:
    """The table that holds bars of a timeframe: fine, medium or coarse ones."""
    return _BARS[default_unit(timeframe)]


async def migrate(client: QuestDbClient) -> None:
    """Bring the server's tables to this version; running it again, or twice at once, changes nothing.

    Raises `HotStoreError` where a later version has been there.
    """
    await client.execute(
        f"CREATE TABLE IF NOT EXISTS {VERSIONS} (ts TIMESTAMP, version LONG) "
        "TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, version)"
    )
    found = (await client.execute(f"SELECT max(version) FROM {VERSIONS}"))[0][0] or 0
    if found > SCHEMA_VERSION:
        raise HotStoreError(
            f"{client.address} has schema version {found}, this program knows {SCHEMA_VERSION}; upgrade it",
            version=found,
        )
    if found == SCHEMA_VERSION:
        return
    steps = _UPGRADES[found - 1 :] if found else (_NEWEST,)
    for statement in chain.from_iterable(steps):
        await _settle(client, statement)
    await client.execute(f"INSERT INTO {VERSIONS} VALUES (0, {SCHEMA_VERSION})")
    await client.await_applied(VERSIONS, *BARS, FACTS)


async def _settle(client: QuestDbClient, statement: str) -> None:
    """Run a statement that may run twice; once more where another process ran it at the same time."""
    try:
        await client.execute(statement)
    except HotStoreError:
        await client.execute(statement)
