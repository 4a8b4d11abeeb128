"""What this machine has for the work: room on its disks, files that may be open, packages that fit."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from seamless_assets.core.sharing.health import Finding, StoreStatus

PACKAGE = "seamless-assets"
FULL_BYTES, LITTLE_BYTES = 100 * 2**20, 2**30
"""With less nothing can be written for long; with less somebody should look."""
LITTLE_SHARE = 0.05
FEW_INODES = 1_000
FEW_OPEN_FILES = 1_024
"""A worker holds connections to each store and exchange, and files for each of its leases and sessions."""
_TOLD = ("dagster", "ccxt", "pandas", "pyarrow", "redis", "questdb")


def disk_findings(folders: Iterable[tuple[str, Path]]) -> list[Finding]:
    """One finding a disk, of the disks that named folders lie on, or will lie on once they are made."""
    disks: dict[int, list[tuple[str, Path]]] = {}
    findings = []
    for what, folder in folders:
        # A place that may not be looked into counts as not there.
        there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
        try:
            disks.setdefault(there.stat().st_dev, []).append((what, there))
        except OSError as error:
            findings.append(_unknown(what, there, error))
    return [*findings, *(_disk([what for what, _ in found], found[0][1]) for found in disks.values())]


def _unknown(what: str, folder: Path, error: OSError) -> Finding:
    advice = f"{folder}, for {what}, cannot be looked at: {error.strerror}; is its disk there?"
    return Finding("disk", False, _status("disk", str(folder), "unknown"), advice)


def _disk(used_for: list[str], folder: Path) -> Finding:
    try:
        room = os.statvfs(folder)
    except OSError as error:
        return _unknown(", ".join(used_for), folder, error)
    free, size = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    # Some file systems make room for files as they come, and count none.
    inodes = room.f_favail if room.f_files else None
    is_well, advice = judge_room(free, size, inodes)
    found = f"{free / 2**30:.1f} of {size / 2**30:.1f} GiB free, for {', '.join(used_for)}"
    return Finding("disk", is_well, _status("disk", str(folder), found), advice)


def judge_room(free: int, size: int, inodes: int | None) -> tuple[bool, str]:
    """Whether a disk with so many bytes and files free can be written to, and what to do."""
    way_out = "make room: `seamless gc`, a lower cache.max_segment_mb, or a larger disk"
    if free < FULL_BYTES:
        return False, f"it is full; {way_out}"
    if inodes is not None and inodes < FEW_INODES:
        return False, f"it takes {inodes} more files, whatever their size; {way_out}"
    if free < LITTLE_BYTES or free < LITTLE_SHARE * size:
        return True, f"it is almost full; {way_out}"
    return True, ""


def open_files_finding() -> Finding:
    """How many files and connections a process of this user may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = ["no limit" if limit == resource.RLIM_INFINITY else str(limit) for limit in (soft, hard)]
    found = f"a process may open {limits[0]}, up to {limits[1]} where it asks"
    is_few = soft != resource.RLIM_INFINITY and soft < FEW_OPEN_FILES
    way_out = f"allow {FEW_OPEN_FILES} or more: `ulimit -n`, or LimitNOFILE= of its systemd unit"
    return Finding("open files", True, _status("limit", "RLIMIT_NOFILE", found), way_out if is_few else "")


def versions_finding() -> Finding:
    """The versions that are installed, and those that this package cannot work with."""
    told = ", ".join(f"{name} {version}" for name in _TOLD if (version := _installed(name)))
    wrong = unfit(metadata.requires(PACKAGE) or ())
    advice = f"{'; '.join(wrong)}: `pip install {PACKAGE}` puts that right" if wrong else ""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    status = StoreStatus("package", told, f"{PACKAGE} {_installed(PACKAGE)}", f"{system}; {told}", 0.0)
    return Finding("versions", not wrong, status, advice)


def unfit(requirements: Iterable[str]) -> list[str]:
    """What is installed that does not fit a requirement, or is not there; extras are left out."""
    wrong = []
    for line in requirements:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        version = _installed(needed.name)
        if version is None or not needed.specifier.contains(version, prereleases=True):
            wrong.append(f"{needed.name} {version or 'is missing'}, where {needed.specifier} is needed")
    return wrong


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _status(kind: str, address: str, found: str) -> StoreStatus:
    return StoreStatus(kind=kind, address=address, version="", lag=found, latency_ms=0.0)
