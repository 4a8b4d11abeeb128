"""Clean up: remove files that no release will ever need, however slow any writer is.

What may go is decided by a record of the release log that gives the files' names up. A release that names
one of them took its place in the log before, and the record is planned anew; or it comes after, sees the
record and seals under another name. So no clock and no lock stands between a release and a removal. The
grace only spares what is still on its way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import StoredFile, artifact_number, manifest_edition
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.core.releases.supersession import awaiting, by_path
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import commit, instant_micros
from seamless_assets.flows.releasing.govern import read_unreleased

GRACE_S = 7 * 86_400.0
REASON = "files that no release names and nobody waits for"


@dataclass(frozen=True, slots=True)
class CleanUpReport:
    """The files that a clean-up removed below a node's folder, and their bytes."""

    node_id: str
    removed: tuple[str, ...]
    freed: int


async def clean_up(ports: Ports, node: NodeId, grace_s: float = GRACE_S) -> CleanUpReport:
    """Remove what no release names, nobody waits for and is older than `grace_s` seconds.

    The newest unreleased artifact of a partition stays: a release by hand may want it.
    """
    listed = {file.path: file for file in await ports.artifacts.list_files(node)}
    limit = ports.clock.now() - grace_s
    aged = {path: file for path, file in listed.items() if file.modified < limit}

    async def plan(before: Snapshot) -> Release | None:
        log = await ports.artifacts.list_releases(node)
        useless = await _useless(ports, node, before, log, listed, aged)
        if not useless:
            return None
        return next_release(
            before,
            added=(),
            withdrawn=(),
            now_micros=await instant_micros(ports, node),
            checks={},
            reason=REASON,
            kind="clean_up",
            discarded=useless,
        )

    await commit(ports, node, plan)
    # Whatever a record gives up: records stay, and so does what any of them names as an artifact.
    named = by_path(await ports.artifacts.list_releases(node))
    given_up = (await ports.artifacts.load_snapshot(node)).discarded - named.keys()
    removed = [
        file
        for path, file in sorted(listed.items())
        if (path in given_up and artifact_number(path)) or (file.is_leftover and path in aged)
    ]
    await ports.artifacts.remove_files(node, [file.path for file in removed])
    return CleanUpReport(str(node), tuple(file.path for file in removed), sum(file.size for file in removed))


async def _useless(
    ports: Ports,
    node: NodeId,
    before: Snapshot,
    log: Sequence[Release],
    listed: Mapping[str, StoredFile],
    aged: Mapping[str, StoredFile],
) -> list[str]:
    """Artifact files among `aged` that no record names, that are not given up yet, and nobody waits for."""
    named, discarded = by_path(log), before.discarded
    free = {path for path in aged if path not in named and path not in discarded and artifact_number(path)}
    if not free:
        return []
    usable = listed.keys() - discarded
    stored = []
    for path in sorted(usable - named.keys()):
        if manifest_edition(path) is None:
            continue
        try:
            found = await read_unreleased(ports, node, path, usable)
        except ArtifactCorrupt:
            # Nobody can release what cannot be read.
            continue
        stored += [found] if found else []
    wanted = {path for ref in awaiting(before, log, stored) for path in (ref.file_path, ref.manifest_path)}
    young = {ref.file_path for ref, _ in stored if ref.manifest_path not in aged}
    return sorted(free - wanted - young)
