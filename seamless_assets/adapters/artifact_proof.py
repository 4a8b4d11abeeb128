"""Stored bytes against what the release log promises of them; what does not match is `ArtifactCorrupt`."""

from __future__ import annotations

import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef, Manifest
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.parquet import decode_bars
from seamless_assets.errors import ArtifactCorrupt


def proven_manifest(uri: str, payload: bytes, ref: ArtifactRef) -> Manifest:
    """The manifest of `ref` in stored bytes. Raises `ArtifactCorrupt`."""
    _expect(uri, payload, ref.manifest_sha256)
    return Manifest.from_json(payload, uri)


def proven_bars(uri: str, payload: bytes, ref: ArtifactRef) -> pa.Table:
    """The bars of `ref` in stored bytes. Raises `ArtifactCorrupt`."""
    _expect(uri, payload, ref.file_sha256)
    bars = stored_bars(uri, payload)
    if bars.num_rows != ref.rows:
        raise ArtifactCorrupt(
            f"{uri} holds {bars.num_rows} bars, its release promises {ref.rows}; release other bars of "
            f"{ref.partition}",
            uri=uri,
        )
    return bars


def stored_bars(uri: str, payload: bytes) -> pa.Table:
    """Whatever bars stored bytes hold. Raises `ArtifactCorrupt` where they hold none."""
    try:
        return decode_bars(payload)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactCorrupt(f"{uri} is not a Parquet file of bars: {error}", uri=uri) from error


def _expect(uri: str, payload: bytes, promised: str) -> None:
    found = sha256_text(payload)
    if found != promised:
        raise ArtifactCorrupt(
            f"{uri} holds {found}, its release promises {promised}; restore the file", uri=uri
        )
