"""`connect()`: from a `seamless.yaml` to an open pipeline."""

from __future__ import annotations

from pathlib import Path

from seamless_assets.config.load import Settings, load_settings
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.pipeline.wiring.artifacts import S3Access

__all__ = ["S3Access", "Seamless", "connect"]


def connect(settings: str | Path | Settings | None = None, *, s3: S3Access | None = None) -> Seamless:
    """Open the pipeline of a `seamless.yaml` (or of settings already read).

    `s3` goes before what the settings say of the bucket. Nothing is asked of an exchange or store yet.
    Raises `ConfigError` with every problem of the file.
    """
    read = settings if isinstance(settings, Settings) else load_settings(settings)
    return Seamless(read, s3)
