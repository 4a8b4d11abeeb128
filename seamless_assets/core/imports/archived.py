"""Bars of an exchange's own archive, and of which of its files they are."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.bars.table import between, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.ledger import FROM_ARCHIVE, Fact, MadeRange
from seamless_assets.core.imports.rows import Source


@dataclass(frozen=True, slots=True)
class ArchivedBars:
    """Bars of files (`BARS_SCHEMA`, sorted), and of which times each file tells, ascending."""

    bars: pa.Table
    files: tuple[MadeRange, ...]

    def facts(self, part: Segment, timeframe: Timeframe, now: float) -> list[Fact]:
        """Of which file the bars of a part are, as lines of the ledger; none for times without a bar."""
        found = []
        for file in self.files:
            opens = timestamps(between(self.bars, *file.segment.intersect(part)))
            if len(opens):
                end = timeframe.shift(int(opens[-1]), 1)
                found.append(Fact(int(opens[0]), end, FROM_ARCHIVE, file.evidence, now))
        return found


def file_evidence(source: Source, *, is_checked: bool) -> str:
    """What a ledger and a manifest keep of a file: its name, its SHA-256, whether a checksum proved it."""
    proof = "as its checksum says" if is_checked else "without a checksum"
    return f"{source.name}, {source.bytes} bytes, {source.sha256}, {proof}"
