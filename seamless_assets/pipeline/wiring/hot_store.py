"""The hot store that the settings name."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings
from seamless_assets.flows.ports import HotStore, Observer


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
