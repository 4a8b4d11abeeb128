"""Disks, limits and versions of a machine: what an operator is told, and when it is not well."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from seamless_assets.adapters.machine.resources import (
    disk_findings,
    judge_room,
    open_files_finding,
    unfit,
    versions_finding,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "size", "inodes", "is_well", "said"),
    [
        (50 * GIB, 100 * GIB, 10**6, True, ""),
        (50 * GIB, 100 * GIB, None, True, ""),
        (4 * GIB, 100 * GIB, 10**6, True, "almost full"),
        (GIB - 1, 2 * GIB, None, True, "almost full"),
        (10**7, 100 * GIB, 10**6, False, "it is full"),
        (0, 0, None, False, "it is full"),
        (50 * GIB, 100 * GIB, 12, False, "takes 12 more files"),
    ],
)
def test_room_is_judged_by_bytes_share_and_files(
    free: int, size: int, inodes: int | None, is_well: bool, said: str
) -> None:
    found, advice = judge_room(free, size, inodes)
    assert found is is_well and said in advice and bool(advice) is bool(said)
    # Parts that were merged stay for earlier reads, and what a file of SQLite forgets stays its own.
    ways = ("seamless gc", "cache.max_segment_mb", "a larger disk")
    assert all((way in advice) is bool(said) for way in ways)
    assert "compact" not in advice and "evict" not in advice


def test_folders_of_one_disk_are_one_finding_and_none_is_made(tmp_path: Path) -> None:
    folders = [("state", tmp_path / "data" / "state"), ("artifacts", tmp_path / "artifacts")]
    (finding,) = disk_findings([*folders])
    assert finding.status is not None and "GiB free, for state, artifacts" in finding.status.lag
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_looked_at_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "statvfs", stale)
    (finding,) = disk_findings([("state", tmp_path), ("artifacts", tmp_path / "a")])
    assert not finding.is_well and "state, artifacts, cannot be looked at: Stale" in finding.advice


@pytest.mark.parametrize(("soft", "is_few"), [(256, True), (1_024, False), (resource.RLIM_INFINITY, False)])
def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch, soft: int, is_few: bool) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    finding = open_files_finding()
    assert finding.is_well and bool(finding.advice) is is_few
    assert finding.status is not None
    assert ("no limit" if soft == resource.RLIM_INFINITY else str(soft)) in finding.status.lag


def test_packages_that_do_not_fit_are_named() -> None:
    assert versions_finding().is_well and versions_finding().advice == ""
    wrong = unfit(["pytest<2", "no-such-package>=1", "pytest>=9", "polars<0; extra == 'polars'"])
    assert [line.split()[0] for line in wrong] == ["pytest", "no-such-package"]
    assert "is missing" in wrong[1] and "<2 is needed" in wrong[0]
