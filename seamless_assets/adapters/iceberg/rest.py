"""A catalog that others keep, by Iceberg's REST protocol: it shows the metadata that the mirror writes."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchIdentifierError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NotInstalledError,
    RESTError,
    TableAlreadyExistsError,
)
from requests import PreparedRequest, RequestException, Response, Session
from requests.adapters import HTTPAdapter

from seamless_assets.adapters.iceberg.metadata import location_of, seq_of
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ArtifactStoreError

NAME = "seamless"
TRIES = 5
"""Others may register and drop the same table meanwhile."""
_REFUSED = (
    *(RESTError, NoSuchNamespaceError, NoSuchTableError, NotInstalledError, TableAlreadyExistsError),
    *(RequestException, ValueError, OSError),
)
Identifier = tuple[str, ...]


class RestTableCatalog:
    """Tables by name, `ohlcv.binance.BTC_USDT_1m`, in the catalog at `uri`, each with its newest metadata.

    `properties` are pyiceberg's of a REST catalog (`warehouse`, `token`, `credential`, ...); `timeout_s` is
    how long it may be silent.
    """

    def __init__(self, uri: str, properties: Mapping[str, str], timeout_s: float) -> None:
        self._uri, self._properties, self._timeout_s = uri, properties, timeout_s
        self._opened: _TimedCatalog | None = None
        self._opening = threading.Lock()
        self._namespaces: set[Identifier] = set()

    def point(self, node: NodeId, url: str) -> None:
        """Have a node's table show the metadata at `url`, unless it shows a later one already.

        Where the catalog cannot register a table over another, the table is dropped, its files kept, and
        registered anew, and is not there for that moment. Raises `ArtifactStoreError`, also where the name
        is that of a table at another location.
        """
        identifier = tuple(node.asset_key)
        try:
            catalog = self._catalog()
            self._ensure_namespace(catalog, identifier[:-1])
            for _ in range(TRIES):
                if _pointed(catalog, identifier, url):
                    return
        except _REFUSED as error:
            raise ArtifactStoreError(
                f"the catalog of Iceberg tables at {self._uri} does not register {'.'.join(identifier)}: "
                f"{error or type(error).__name__}; see seamless.artifact.catalog, then run `seamless mirror`",
                uri=self._uri,
            ) from error
        raise ArtifactStoreError(
            f"the catalog of Iceberg tables at {self._uri} shows {'.'.join(identifier)} as others write it, "
            f"{TRIES} times; leave the table to one project",
            uri=self._uri,
        )

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()

    def _catalog(self) -> _TimedCatalog:
        with self._opening:
            if self._opened is None:
                self._opened = _TimedCatalog(self._uri, self._properties, self._timeout_s)
            return self._opened

    def _ensure_namespace(self, catalog: RestCatalog, namespace: Identifier) -> None:
        if namespace in self._namespaces:
            return
        for part in accumulate((name,) for name in namespace):
            try:
                catalog.create_namespace(part)
            except NamespaceAlreadyExistsError:
                continue
            except RESTError:
                # Some fail otherwise where another process makes it at this moment.
                catalog.load_namespace_properties(part)
        self._namespaces.add(namespace)


class _TimedCatalog(RestCatalog):
    """A REST catalog of which no request is waited for without end."""

    def __init__(self, uri: str, properties: Mapping[str, str], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        super().__init__(NAME, uri=uri, **properties)

    def _config_headers(self, session: Session) -> None:
        super()._config_headers(session)
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Timed(self._timeout_s))


class _Timed(HTTPAdapter):
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        super().__init__()

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return super().send(request, *args, **{**kwargs, "timeout": self._timeout_s})


def _pointed(catalog: RestCatalog, identifier: Identifier, url: str) -> bool:
    """Whether the table shows `url` now, or a later one; False where another process came between."""
    try:
        shown = catalog.load_table(identifier).metadata_location
    except NoSuchTableError:
        shown = None
    if shown is not None:
        if _is_at(shown) != _is_at(url):
            raise ArtifactStoreError(
                f"the table {'.'.join(identifier)} of the catalog shows {shown}, and not a file of "
                f"{location_of(url)}; give each artifact store a warehouse of its own, or drop the table and "
                "run `seamless mirror`",
                uri=shown,
            )
        if (seq_of(shown) or 0) >= (seq_of(url) or 0):
            return True
    return _registered(catalog, identifier, url, is_there=shown is not None)


def _registered(catalog: RestCatalog, identifier: Identifier, url: str, *, is_there: bool) -> bool:
    try:
        catalog.register_table(identifier, url, overwrite=is_there)
        return True
    except TableAlreadyExistsError:
        # Whoever knows of no overwriting says so in these words too.
        if not is_there:
            return False
    try:
        catalog.drop_table(identifier)
        catalog.register_table(identifier, url)
    except (NoSuchTableError, NoSuchIdentifierError, TableAlreadyExistsError):
        return False
    return True


def _is_at(url: str) -> str:
    """A table's location, which servers tell with and without the scheme of files."""
    return re.sub("^file:/+", "/", location_of(url))
