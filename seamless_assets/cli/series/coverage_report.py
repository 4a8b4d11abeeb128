"""What a window of a node holds, for a person to read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.table import Table

from seamless_assets.cli.terminal import can_write, cell, say, say_table, table
from seamless_assets.core.calendar.instant import OLDEST_MARKET, seconds_text
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, RETENTION, Coverage, Gap
from seamless_assets.core.coverage.ledger import Fact

STRIP_CELLS = 60
PRESENT, THINNED, ABSENT, UNPROVEN, GONE = range(5)
_CELLS, _PLAIN_CELLS = ("█", "▓", "·", "?", "!"), ("#", "+", ".", "?", "!")
"""The cells of a strip, and those for a terminal that has no others."""


def say_counts(node: str, start: int, end: int, known: Coverage) -> None:
    """What was asked, how many bars there are, and a strip of the window."""
    say(f"{node}, {time_text(start)} to {time_text(end)}")
    say(
        f"{known.present} of {known.expected} bars present, {known.absences}, "
        f"{known.missing} missing; coverage {known.ratio:.4f}"
    )
    if known.retention or known.declared:
        say(f"held: {known.held_ratio:.4f} of the bars that may have existed")
    for line in strip(start, end, known.gaps):
        say(line)


def say_gaps(listed: Sequence[Gap], bars: Mapping[Gap, int], facts: Sequence[Fact], most: int) -> None:
    """The gaps by reason, and the `listed` ones each, at `most` so many."""
    say_table(_by_reason(bars))
    if listed:
        say_table(_each_gap(listed[:most], bars, facts))
    if len(listed) > most:
        say(f"and {len(listed) - most} more; --all lists them")


def _by_reason(bars: Mapping[Gap, int]) -> Table:
    made = table("reason", "bars", "gaps", "longest")
    found: dict[str, list[int]] = {}
    for gap, count in bars.items():
        found.setdefault(gap.reason, []).append(count)
    for reason, counts in sorted(found.items(), key=lambda item: (item[0] != MISSING, -sum(item[1]))):
        style = "red" if reason == MISSING else ""
        texts = (reason, str(sum(counts)), str(len(counts)), str(max(counts)))
        made.add_row(*(cell(text, style) for text in texts))
    return made


def _each_gap(gaps: Sequence[Gap], bars: Mapping[Gap, int], facts: Sequence[Fact]) -> Table:
    whole = ("from", "to", "bars", "reason")
    made = table(*whole, "evidence", "looks", "next look", whole=whole)
    for gap in gaps:
        about = [f for f in facts if f.reason == gap.reason and f.start < gap.end and gap.start < f.end]
        last = about[-1] if about else None
        looks = (
            ("never looked for", "0", "now") if gap.reason == MISSING else (_unrecorded(gap), "0", "never")
        )
        if last is not None:
            looks = (last.evidence, str(last.attempts), _next_look(last))
        made.add_row(
            *map(cell, (time_text(gap.start), time_text(gap.end), str(bars[gap]), gap.reason, *looks))
        )
    return made


def _unrecorded(gap: Gap) -> str:
    return "older than any market" if gap.end <= OLDEST_MARKET else "as released"


def _next_look(fact: Fact) -> str:
    if fact.is_proof or fact.next_try is None:
        return "never"
    return "now" if fact.next_try <= time.time() else time_text(int(fact.next_try))


def time_text(ts: int) -> str:
    text = seconds_text(ts).replace("T", " ").removesuffix("Z")
    return text.removesuffix(":00")


def strip(start: int, end: int, gaps: Sequence[Gap], length: int = STRIP_CELLS) -> tuple[str, str]:
    """The window as a row of `length` cells, and what they mean: the worst of what lies in each."""
    width = max(1, end - start) / length
    cells = [PRESENT] * length
    for gap in gaps:
        first, last = int((gap.start - start) // width), int((gap.end - 1 - start) // width)
        for at in range(max(0, first), min(last, length - 1) + 1):
            is_whole = gap.start <= start + at * width and start + (at + 1) * width <= gap.end
            if gap.reason == MISSING:
                cells[at] = GONE
            elif gap.reason in (RETENTION, DECLARED):
                cells[at] = max(cells[at], UNPROVEN)
            elif cells[at] == PRESENT:
                cells[at] = ABSENT if is_whole else THINNED
    drawn = _CELLS if can_write("".join(_CELLS)) else _PLAIN_CELLS
    meanings = ("present", "some absent", "absent", "out of retention or declared", "missing")
    legend = "  ".join(f"{mark} {meaning}" for mark, meaning in zip(drawn, meanings, strict=True))
    return "".join(drawn[at] for at in cells), legend
