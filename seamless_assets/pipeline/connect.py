"""`connect()`: from a `seamless.yaml` to an open pipeline."""

from __future__ import annotations

from pathlib import Path

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings, load_settings, service_url
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.pipeline.wiring.stores import S3Access

__all__ = ["S3Access", "Seamless", "connect"]
SERVICE_SCHEMES = ("http://", "https://")


def connect(
    settings: str | Path | Settings | None = None, *, s3: S3Access | None = None, token: str | None = None
) -> Seamless:
    """Open the pipeline of a `seamless.yaml` (or of settings already read), or of a service at a URL.

    `s3` goes before what the settings say of the bucket. At `http://` or `https://` the same face asks a
    `seamless serve`, which is shown `token`, or what `SEAMLESS_TOKEN` holds. Nothing is asked of an exchange,
    store or service yet. Raises `ConfigError` with every problem of the file.
    """
    if isinstance(settings, str) and settings.startswith(SERVICE_SCHEMES):
        if s3 is not None:
            raise InvalidInput("s3 means nothing beside the URL of a service, which has its own store")
        with late_imports("seamless_assets.pipeline.remote.face"):
            from seamless_assets.pipeline.remote.face import RemoteSeamless

        return RemoteSeamless(service_url(settings), token)
    if token is not None:
        raise InvalidInput("token is shown to a service; name that by its URL: connect('http://host:8765')")
    read = settings if isinstance(settings, Settings) else load_settings(settings)
    return Seamless(read, s3)
