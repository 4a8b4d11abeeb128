"""The catalog that names the tables of nodes: one SQL database, as pyiceberg reads it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from pyiceberg.catalog.sql import IcebergNamespaceProperties, IcebergTables, SqlCatalog
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from seamless_assets.adapters.iceberg.metadata import location_of, seq_of
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ArtifactStoreError

BUSY_S = 30
"""How long another process may write."""
TRIES = 3
"""A catalog is two tables, and each may be made by another process first."""
NAME = "seamless"
"""What a catalog calls itself; rows of other catalogs may lie in the same database."""


_MOVE = (
    "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? "
    "WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?"
)


class TableCatalog:
    """Tables by name, `ohlcv.binance.BTC_USDT_1m`, each with the URL of its newest metadata.

    `path` is the database's file, made with its first table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: SqlCatalog | None = None
        self._shown: dict[NodeId, str] = {}
        self._opening = threading.Lock()

    @property
    def uri(self) -> str:
        """What pyiceberg's `SqlCatalog` is opened with."""
        return f"sqlite:///{self.path}"

    def point(self, node: NodeId, url: str) -> None:
        """Have a node's table show the metadata at `url`, unless it shows a later one already.

        Raises `ArtifactStoreError`, also where the name is that of a table at another location.
        """
        *namespaces, name = node.asset_key
        namespace = ".".join(namespaces)
        try:
            engine = self._catalog().engine
            if not _moved(engine, namespace, name, self._shown.get(node), url):
                with Session(engine) as session:
                    _ensure_namespace(session, namespace)
                    while not _pointed(session, namespace, name, url):
                        session.rollback()
            self._shown[node] = url
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise ArtifactStoreError(
                f"the catalog of Iceberg tables {self.path} cannot be written: {error}; see whether its "
                "folder can be, or take the file away and run `seamless mirror`, which makes it anew",
                uri=str(self.path),
            ) from error

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened.engine.dispose()

    def _catalog(self) -> SqlCatalog:
        with self._opening:
            if self._opened is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._opened = _open(f"{self.uri}?timeout={BUSY_S}")
            return self._opened


def _open(uri: str) -> SqlCatalog:
    """The catalog, its tables made where they are not there; many processes may do so at one moment."""
    for tries_left in range(TRIES - 1, -1, -1):
        try:
            catalog = SqlCatalog(NAME, uri=uri)
            with catalog.engine.connect() as connection:
                # What a power cut takes away the next release shows again.
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            return catalog
        except OperationalError:
            # Whoever looks before another makes a table fails to make it, and finds it the next time.
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _moved(engine: Engine, namespace: str, name: str, held: str | None, url: str) -> bool:
    """Whether the table showed `held`, as it was left by this process, and shows the later `url` now.

    This is what happens with nearly each release, in one statement.
    """
    if held is None or location_of(held) != location_of(url) or (seq_of(held) or 0) >= (seq_of(url) or 0):
        return False
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute(_MOVE, (url, held, NAME, namespace, name, held))
        connection.commit()
        return cursor.rowcount == 1


def _ensure_namespace(session: Session, namespace: str) -> None:
    row = IcebergNamespaceProperties
    is_there = select(row).where(row.catalog_name == NAME, row.namespace == namespace)
    if session.execute(is_there).first() is not None:
        return
    try:
        session.execute(
            insert(row).values(
                catalog_name=NAME, namespace=namespace, property_key="exists", property_value="true"
            )
        )
        session.commit()
    except IntegrityError:
        # Another process was quicker.
        session.rollback()


def _pointed(session: Session, namespace: str, name: str, url: str) -> bool:
    """Whether the table shows `url` now, or a later one; False where another process came between."""
    row = IcebergTables
    mine = (row.catalog_name == NAME, row.table_namespace == namespace, row.table_name == name)
    held = session.execute(select(row.metadata_location).where(*mine)).scalar()
    if held is None:
        values = {"catalog_name": NAME, "table_namespace": namespace, "table_name": name}
        try:
            session.execute(insert(row).values(**values, metadata_location=url, iceberg_type="TABLE"))
            session.commit()
        except IntegrityError:
            return False
        return True
    if location_of(held) != location_of(url):
        raise ArtifactStoreError(
            f"the catalog's table {namespace}.{name} shows {held}, and not a file of {location_of(url)}; "
            "give each artifact store a state_dir of its own, or, where the store has moved, take the "
            f"catalog's file {session.get_bind().engine.url.database} away and run `seamless mirror`, which "
            "makes it anew",
            uri=held,
        )
    shown = seq_of(held)
    if shown is not None and shown >= (seq_of(url) or 0):
        return True
    pointed = session.execute(
        update(row)
        .where(*mine, row.metadata_location == held)
        .values(metadata_location=url, previous_metadata_location=held)
        .returning(row.table_name)
    ).all()
    session.commit()
    return bool(pointed)
