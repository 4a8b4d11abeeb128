"""The condition of a partition, as people publish it of archives: there, damaged, coming, or missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import Partition
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.gate import overridden_checks
from seamless_assets.core.releases.release import Release

ConditionState = Literal["available", "degraded", "pending", "missing"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a reader may expect of one partition; `changed_at` is the `as_of` of the last release that did it.

    `available`: released, every bar present or absent. `degraded`: released with bars missing or out of
    retention, with bars that are not absent after all, or with checks that a person overrode. `pending`: its
    time is not over, or what is known of it waits for release. `missing`: over, and neither released nor
    known.
    """

    partition: str
    start: int
    end: int
    state: ConditionState
    reason: str
    changed_at: str | None


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """What is known of a partition.

    It is settled up to `settled_until` (epoch seconds, at most its end). Of its settled part `known` is what
    stores know; `released` is the coverage of `[start, released_until)` by the artifacts in force, `held`,
    `doubted` counts the bars that these have as absent and that are missing by what is known since, and
    `log` is its node's.
    """

    partition: Partition
    settled_until: int
    released_until: int
    known: Coverage
    released: Coverage
    doubted: int
    held: Sequence[ArtifactRef]
    log: Sequence[Release]


def condition_of(facts: PartitionFacts) -> Condition:
    """The condition of a partition."""
    start, end = facts.partition.window
    last = last_change(facts.log, facts.partition)
    state, reason = _released(facts, last) if facts.held else _unreleased(facts, last)
    return Condition(facts.partition.key, start, end, state, reason, last.as_of if last else None)


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


def _released(facts: PartitionFacts, last: Release | None) -> tuple[ConditionState, str]:
    state, reason = _of_the_artifacts(facts)
    if last is not None and last.kind == "rollback":
        reason = f"{reason}; rolled back: {last.reason}"
    return state, reason


def _of_the_artifacts(facts: PartitionFacts) -> tuple[ConditionState, str]:
    found, end = facts.released, facts.partition.window.end
    checked = _checked(facts)
    overridden = overridden_checks(checked.checks, facts.partition.key) if checked else []
    if checked is not None and overridden:
        return "degraded", f"released by hand over {', '.join(overridden)}: {checked.reason}"
    if found.missing:
        return "degraded", f"{found.missing} of {found.expected} bars are missing in what is released"
    if facts.doubted:
        return "degraded", f"{facts.doubted} bars that were released as absent are missing, as was said since"
    if found.retention:
        return "degraded", f"{found.retention} of {found.expected} bars are out of the exchange's retention"
    if facts.released_until < end:
        until = f"released up to {seconds_text(facts.released_until)}"
        if facts.settled_until < end:
            return "pending", f"{until}; its time is not over"
        return "pending", f"{until}; the rest is not released yet"
    reasons = sorted({gap.reason for gap in found.gaps})
    named = f" ({', '.join(reasons)})" if reasons else ""
    return "available", f"{found.present} bars, {found.absences}{named}"


def _checked(facts: PartitionFacts) -> Release | None:
    """The release whose checks let in what is in force, though it may have been rolled back to since."""
    held = set(facts.held)
    return next((one for one in reversed(facts.log) if one.checks and held & set(one.added)), None)


def _unreleased(facts: PartitionFacts, last: Release | None) -> tuple[ConditionState, str]:
    known, end = facts.known, facts.partition.window.end
    if last is not None:
        return "missing", f"taken out of force: {last.reason}"
    if facts.settled_until < end:
        return "pending", "its time is not over"
    if known.present:
        return "pending", f"{known.present} of {known.expected} bars are known and not released"
    if known.absent:
        return (
            "pending",
            f"{known.absent} of {known.expected} bars are known not to exist, and nothing is released",
        )
    return "missing", "nothing of it is known; materialize it"
