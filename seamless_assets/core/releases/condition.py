"""The condition of a partition, as people publish it of archives: there, damaged, coming, or missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seamless_assets.core.calendar.partition import Partition
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.releases.gate import overridden_checks
from seamless_assets.core.releases.release import Release

ConditionState = Literal["available", "degraded", "pending", "missing"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a reader may expect of one partition; `changed_at` is the `as_of` of the last release that did it.

    `available`: released, every settled bar present or proven absent. `degraded`: released with bars missing,
    or with checks that a person overrode. `pending`: its time is not over, or what is known of it waits for
    release. `missing`: over, and neither released nor known.
    """

    partition: str
    start: int
    end: int
    state: ConditionState
    reason: str
    changed_at: str | None


def condition_of(
    partition: Partition, settled_until: int, released_until: int, coverage: Coverage, log: Sequence[Release]
) -> Condition:
    """The condition of a partition.

    It is settled up to `settled_until` and released up to `released_until` (epoch seconds, at most its end;
    its start where nothing is); `coverage` is that of its settled part as it is known, `log` its node's.
    """
    start, end = partition.window
    last = last_change(log, partition)
    state, reason = _judged(partition, settled_until, released_until, coverage, last)
    return Condition(partition.key, start, end, state, reason, last.as_of if last else None)


def last_change(log: Sequence[Release], partition: Partition) -> Release | None:
    """The last release that put an artifact of the partition in force, or took it out."""
    start, end = partition.window
    changing = (
        release
        for release in reversed(log)
        if release.kind not in ("compaction", "clean_up")
        and any(ref.start < end and start < ref.end for ref in (*release.added, *release.withdrawn))
    )
    return next(changing, None)


def _judged(
    partition: Partition, settled_until: int, released_until: int, coverage: Coverage, last: Release | None
) -> tuple[ConditionState, str]:
    start, end = partition.window
    if released_until > start:
        overridden = overridden_checks(last.checks, partition.key) if last else []
        if overridden:
            return "degraded", f"released by hand over {', '.join(overridden)}: {last.reason if last else ''}"
        if coverage.missing:
            return "degraded", f"{coverage.missing} of {coverage.expected} bars are missing"
        if settled_until < end:
            return "pending", "its time is not over; what is settled of it is released as far as asked for"
        if released_until < settled_until:
            return "pending", "a part of it is settled and not released yet"
        return "available", f"{coverage.present} bars, {coverage.absences}"
    if last is not None:
        return "missing", f"taken out of force: {last.reason}"
    if settled_until < end:
        return "pending", "its time is not over"
    if coverage.present:
        return "pending", f"{coverage.present} of {coverage.expected} bars are known and not released"
    return "missing", "nothing of it is known; materialize it"
