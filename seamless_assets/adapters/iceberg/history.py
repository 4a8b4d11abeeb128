"""What a release log says of files over time, as the snapshots of a table need it. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.release import Release

YEARS = "years"
"""The group of artifacts that hold a year each."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file in force, and the number of the release that put it there."""

    ref: ArtifactRef
    added_by: int


@dataclass(frozen=True, slots=True)
class Group:
    """The files in force of neighbouring partitions, ascending, and the release that changed them last."""

    name: str
    files: tuple[LiveFile, ...]
    changed_by: int


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """What a release left in force.

    `timestamp_ms` (epoch, rounded up) is such that a reader of the table at any whole millisecond sees the
    release that a read as of that millisecond sees.
    """

    release: Release
    timestamp_ms: int
    files: int
    rows: int

    @property
    def seq(self) -> int:
        """Number of the release, and of the snapshot."""
        return self.release.seq


class History:
    """A release log read up to record `seq` (0: none): what that left in force, and in which groups."""

    def __init__(self) -> None:
        self.seq = 0
        self.newest: TableSnapshot | None = None
        self.groups: dict[str, Group] = {}
        self._files = self._rows = 0

    def advance(self, release: Release) -> list[Group]:
        """Take one more release in; the groups that it changed and that hold any file."""
        changed = self._changed(release)
        self.groups.update((group.name, group) for group in changed)
        for group in changed:
            if not group.files:
                del self.groups[group.name]
        at = -(-epoch_micros(release.as_of, "as_of") // 1_000)
        self.seq, self.newest = release.seq, TableSnapshot(release, at, self._files, self._rows)
        return [group for group in changed if group.files]

    def _changed(self, release: Release) -> list[Group]:
        gone, new = _by_group(release.withdrawn), _by_group(release.added)
        changed = []
        for name in sorted(gone.keys() | new.keys()):
            held = self.groups[name].files if name in self.groups else ()
            out = {ref.manifest_sha256 for ref in gone.get(name, ())}
            fresh = [LiveFile(ref, release.seq) for ref in new.get(name, ())]
            left = [file for file in held if file.ref.manifest_sha256 not in out]
            self._files += len(left) + len(fresh) - len(held)
            self._rows += _rows(left) + _rows(fresh) - _rows(held)
            files = sorted([*left, *fresh], key=lambda file: file.ref.start)
            changed.append(Group(name, tuple(files), release.seq))
        return changed


def group_name(ref: ArtifactRef) -> str:
    """Days are grouped by month, months by year."""
    return ref.partition.rpartition("-")[0] or YEARS


def _by_group(refs: Sequence[ArtifactRef]) -> dict[str, list[ArtifactRef]]:
    """Artifacts that hold any bar, by the name of their group."""
    found: dict[str, list[ArtifactRef]] = {}
    for ref in refs:
        if ref.rows:
            found.setdefault(group_name(ref), []).append(ref)
    return found


def _rows(files: Iterable[LiveFile]) -> int:
    return sum(file.ref.rows for file in files)
