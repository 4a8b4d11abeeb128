"""Whether a store keeps what is there: else two writers of one release log would both believe to have won."""

from __future__ import annotations

from seamless_assets.adapters.artifacts.files import Files
from seamless_assets.aio.gather import gather
from seamless_assets.errors import ArtifactMissing, CreateIfAbsentUnsupported

PROBE_ONCE, PROBE_RACE = "_probe_once", "_probe_race"
"""Written once, the second by one of some writers at a time; whoever looks tries to write them again."""
WRITERS = 4
_FIRST, _SECOND = b"written once\n", b"written over\n"


async def require_create_if_absent(files: Files) -> None:
    """Raise `CreateIfAbsentUnsupported` unless a file that is there cannot be created again.

    Nor may two who create it at one time both be told that they did. Raises `ArtifactStoreError` where the
    store cannot be asked.
    """
    await _race(files)
    await files.create(PROBE_ONCE, _FIRST)
    was_created_again = await files.create(PROBE_ONCE, _SECOND)
    if was_created_again or await _held(files, PROBE_ONCE) != _FIRST:
        raise _refused(files, PROBE_ONCE, "what is there can be created again")


async def _race(files: Files) -> None:
    """Create one file by several writers at once. Where it is there already, none of them may win."""
    written = [b"written by %d of %d\n" % (writer + 1, WRITERS) for writer in range(WRITERS)]
    won = await gather(files.create(PROBE_RACE, payload) for payload in written)
    if sum(won) > 1 or (any(won) and await _held(files, PROBE_RACE) != written[won.index(True)]):
        raise _refused(files, PROBE_RACE, "of writers at one time more than one is told that it was first")


async def _held(files: Files, path: str) -> bytes | None:
    try:
        return await files.read(path)
    except ArtifactMissing:
        return None


def _refused(files: Files, path: str, why: str) -> CreateIfAbsentUnsupported:
    return CreateIfAbsentUnsupported(
        f"{files.root} cannot hold release logs: {why}, so one of two writers would lose its release in "
        "silence; use a store that honours If-None-Match on writes, and see that no proxy drops it",
        uri=files.uri(path),
    )
