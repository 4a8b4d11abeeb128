"""The artifact store and the hot store that the settings name, not looked at yet."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from seamless_assets.adapters.artifacts.heads import SeenHeads
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import S3Settings, Settings
from seamless_assets.errors import ConfigError
from seamless_assets.flows.ports import HotStore, Observer

if TYPE_CHECKING:
    from seamless_assets.adapters.iceberg.mirror import IcebergMirror

__all__ = ["ArtifactStore", "S3Access", "artifact_store", "hot_store", "mirror_of"]


def artifact_store(settings: Settings, s3: S3Access | None) -> ArtifactStore:
    """A folder or bucket, not looked at yet; `s3` goes before what the settings say. Raises `ConfigError`."""
    artifact = settings.seamless.artifact
    uri = artifact.object_store_uri
    if uri is None:
        raise ConfigError(
            "no artifact store is set; name a folder or s3://bucket/prefix in "
            "seamless.artifact.object_store_uri",
            problems=(),
        )
    most = settings.cache.max_segment_mb * 1_000_000
    copies = CopyFolder(settings.seamless.state_dir / "segments", most) if most else None
    options = client_options(s3 or _s3_access(artifact.s3)) if uri.startswith("s3://") else {}
    max_bytes = settings.cache.max_memory_mb * 1_000_000
    heads = SeenHeads(settings.seamless.state_dir / "heads")
    return ArtifactStore(
        uri, artifact.partition_template, copies, max_bytes=max_bytes, heads=heads, **options
    )


def mirror_of(settings: Settings, artifacts: ArtifactStore) -> IcebergMirror | None:
    """The mirror that the settings ask for. Raises `MissingPackage`."""
    if settings.seamless.artifact.mirror is None:
        return None
    with late_imports("pyiceberg", "sqlalchemy"):
        from seamless_assets.adapters.iceberg.catalog import TableCatalog
        from seamless_assets.adapters.iceberg.mirror import IcebergMirror

    catalog = settings.seamless.artifact.catalog
    if catalog.uri is None:
        return IcebergMirror(artifacts, TableCatalog(settings.seamless.state_dir / "iceberg.sqlite"))
    with late_imports("pyiceberg", "requests"):
        from seamless_assets.adapters.iceberg.rest import RestTableCatalog

    said = {
        "warehouse": catalog.warehouse,
        "token": catalog.token.get_secret_value() if catalog.token else None,
        "credential": catalog.credential.get_secret_value() if catalog.credential else None,
        "oauth2-server-uri": catalog.oauth2_server_uri,
        "scope": catalog.scope,
    }
    properties = {name: str(value) for name, value in said.items() if value is not None}
    return IcebergMirror(
        artifacts, RestTableCatalog(str(catalog.uri), properties, catalog.timeout_ms / 1_000)
    )


def _s3_access(settings: S3Settings) -> S3Access:
    secret, token = settings.secret_access_key, settings.session_token
    return S3Access(
        region=settings.region,
        endpoint_url=settings.endpoint_url,
        access_key_id=settings.access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
        session_token=token.get_secret_value() if token else None,
        profile=settings.profile,
        timeout_s=settings.timeout_ms / 1000,
    )


def hot_store(settings: Settings, observer: Observer) -> HotStore:
    """A file or server, not looked at yet; `observer` hears of what is damaged in it."""
    hot = settings.seamless.hot_store
    if hot.path is not None:
        return SqliteHotStore(hot.path, observer.notify)
    # psycopg and the QuestDB client are needed by those who have a server.
    with late_imports("aiohttp", "psycopg", "questdb"):
        from seamless_assets.adapters.questdb.address import QuestDbAddress
        from seamless_assets.adapters.questdb.store import QuestDbHotStore

    place = urlsplit(hot.dsn)
    return QuestDbHotStore(
        QuestDbAddress(
            host=place.hostname or "127.0.0.1",
            http_port=place.port or 9000,
            pg_port=hot.pg_port,
            tls=hot.tls,
            tls_ca=hot.tls_ca,
            tls_verify=hot.tls_verify,
            user=unquote(place.username) if place.username else None,
            password=unquote(place.password) if place.password else None,
            token=hot.token.get_secret_value() if hot.token else None,
            pg_user=hot.pg_user,
            pg_password=hot.pg_password.get_secret_value(),
            timeout_s=hot.timeout_ms / 1000,
            retry_s=hot.retry_ms / 1000,
        )
    )
