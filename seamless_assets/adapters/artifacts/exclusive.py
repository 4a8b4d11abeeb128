"""Whether a store keeps what is there: else two writers of one release log would both believe to have won."""

from __future__ import annotations

from seamless_assets.adapters.artifacts.files import Files
from seamless_assets.errors import ArtifactMissing, CreateIfAbsentUnsupported

PROBE_ONCE = "_probe_once"
"""Written once; who looks at the store tries to write it again."""
_FIRST, _SECOND = b"written once\n", b"written over\n"


async def require_create_if_absent(files: Files) -> None:
    """Raise `CreateIfAbsentUnsupported` unless a file that is there cannot be created again.

    Raises `ArtifactStoreError` where the store cannot be asked.
    """
    await files.create(PROBE_ONCE, _FIRST)
    was_created_again = await files.create(PROBE_ONCE, _SECOND)
    try:
        held = await files.read(PROBE_ONCE)
    except ArtifactMissing:
        held = None
    if was_created_again or held != _FIRST:
        raise CreateIfAbsentUnsupported(
            f"{files.root} cannot hold release logs: what is there can be created again, so one of two "
            "writers would lose its release in silence; use a store that honours If-None-Match on writes, "
            "and see that no proxy drops it",
            uri=files.uri(PROBE_ONCE),
        )
