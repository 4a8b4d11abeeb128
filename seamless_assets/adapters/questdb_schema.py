"""QuestDB's tables, and the statements that bring any earlier version to this one."""

from __future__ import annotations

from seamless_assets.adapters.questdb_client import QuestDbClient
from seamless_assets.core.partition import PartitionUnit, default_unit
from seamless_assets.core.timeframe import Timeframe
from seamless_assets.errors import HotStoreError

FACTS, EVICTIONS, VERSIONS = "seamless_facts", "seamless_evictions", "seamless_versions"
_BARS: dict[PartitionUnit, str] = {
    "day": "seamless_bars_fine",
    "month": "seamless_bars_medium",
    "year": "seamless_bars_coarse",
}
BARS = tuple(_BARS.values())

# The token is one of the keys: rows of an earlier lease stay beside those of a later one and lose when
# they are read, whenever they arrive.
_BARS_TABLE = """CREATE TABLE IF NOT EXISTS {table} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, token LONG, recorded_at DOUBLE,
    open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE
) TIMESTAMP(ts) PARTITION BY {partition} WAL DEDUP UPSERT KEYS(ts, node, token)"""
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        _BARS_TABLE.format(table=_BARS["day"], partition="WEEK"),
        _BARS_TABLE.format(table=_BARS["month"], partition="MONTH"),
        _BARS_TABLE.format(table=_BARS["year"], partition="YEAR"),
        f"""CREATE TABLE IF NOT EXISTS {FACTS} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, token LONG, seq LONG, start LONG, "end" LONG, reason SYMBOL,
    evidence VARCHAR, recorded_at DOUBLE, attempts LONG, next_try DOUBLE
) TIMESTAMP(ts) PARTITION BY MONTH WAL DEDUP UPSERT KEYS(ts, node, token, seq)""",
        f"""CREATE TABLE IF NOT EXISTS {EVICTIONS} (
    ts TIMESTAMP, node SYMBOL CAPACITY 4096, start LONG, "end" LONG
) TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, node, start)""",
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)


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
    for version, statements in enumerate(_MIGRATIONS[found:], start=found + 1):
        for statement in statements:
            await client.execute(statement)
        await client.execute(f"INSERT INTO {VERSIONS} VALUES (0, {version})")
    if found < SCHEMA_VERSION:
        await client.await_applied(VERSIONS)
