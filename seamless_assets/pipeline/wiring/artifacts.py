"""The artifact store that the settings name."""

from __future__ import annotations

from seamless_assets.adapters.artifacts.heads import SeenHeads
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.storage.s3_access import S3Access, client_options
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.config.load import S3Settings, Settings
from seamless_assets.errors import ConfigError

__all__ = ["ArtifactStore", "S3Access", "artifact_store"]


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
