"""What operators declare and take back, against an oracle that looks at every bar and every fact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, coverage_of
from seamless_assets.core.coverage.declaration import (
    LONGEST_NOTE,
    REASONS,
    Declaration,
    contradictions,
    declarations_of,
    declared_fact,
    revoked_fact,
)
from seamless_assets.core.coverage.ledger import (
    CLOCK_TOLERANCE_S,
    DENIED,
    REVOKED,
    Fact,
    facts_of,
    facts_table,
    proven_gaps,
    resting,
)
from seamless_assets.errors import InvalidChoice, InvalidInput

FRAMES = [Timeframe(text) for text in ("1m", "1h", "1w", "1M")]
BARS = 24
MIDDLE = 1_700_000_000
NOW = 1_750_000_000.0
SAID = [DECLARED, REVOKED, DENIED, MISSING, "no_trades", "outage", "retention"]
frames = st.sampled_from(FRAMES)
parts = st.tuples(st.integers(0, BARS - 1), st.integers(1, 8)).map(lambda at: (at[0], min(BARS, sum(at))))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: not any(char.isspace() or char == ":" for char in name)
)
notes = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def window_of(frame: Timeframe) -> list[int]:
    """Opens of the bars of a window, and its end."""
    return [frame.shift(frame.floor(MIDDLE), at) for at in range(BARS + 1)]


def fact_of(frame: Timeframe, said: str, part: tuple[int, int]) -> Fact:
    at = window_of(frame)
    window = Segment(at[part[0]], at[part[1]])
    if said == DECLARED:
        return declared_fact(frame, window, "halted", "a note", "ann", NOW)
    if said == REVOKED:
        return revoked_fact(frame, window, "", "bob", NOW)
    return Fact(*window, said, "seen", NOW)


def named(facts: list[tuple[str, tuple[int, int]]], bar: int) -> str:
    """Why one bar is not there, by the words of the contract."""
    proofs: list[str] = []
    for said, (first, last) in facts:
        if not first <= bar < last or said == MISSING:
            continue
        if said == REVOKED:
            proofs = [proof for proof in proofs if proof != DECLARED]
        elif said == DENIED:
            proofs = [proof for proof in proofs if proof in (DECLARED, "retention")]
        else:
            proofs.append(said)
    ranked = sorted(proofs, key=lambda proof: {"outage": 0, DECLARED: 2}.get(proof, 1))
    return ranked[0] if ranked else MISSING


@given(
    frames, st.lists(st.tuples(st.sampled_from(SAID), parts), max_size=10), st.sets(st.integers(0, BARS - 1))
)
def test_a_declaration_ranks_below_bars_and_proofs_and_can_be_revoked(
    frame: Timeframe, said: list[tuple[str, tuple[int, int]]], there: set[int]
) -> None:
    at = window_of(frame)
    facts = facts_of(facts_table([fact_of(frame, what, part) for what, part in said]))
    opens = np.array([at[bar] for bar in sorted(there)], dtype=np.int64)
    known = coverage_of(frame, Segment(at[0], at[-1]), opens, proven_gaps(facts))
    reason_of = {ts: gap.reason for gap in known.gaps for ts in at[:-1] if gap.start <= ts < gap.end}
    assert reason_of == {at[bar]: named(said, bar) for bar in range(BARS) if bar not in there}
    reasons = list(reason_of.values())
    assert (known.declared, known.retention) == (reasons.count(DECLARED), reasons.count("retention"))
    assert known.missing == reasons.count(MISSING) and known.present == len(there)
    assert known.proven == BARS - len(there) - known.missing - known.declared - known.retention
    possible = BARS - known.proven
    assert known.held_ratio == (len(there) / possible if possible else 1.0)
    assert known.held_ratio <= known.ratio


@given(
    frames, st.lists(st.tuples(st.sampled_from(SAID), parts), max_size=10), st.sets(st.integers(0, BARS - 1))
)
def test_each_declaration_says_what_became_of_it(
    frame: Timeframe, said: list[tuple[str, tuple[int, int]]], there: set[int]
) -> None:
    at = window_of(frame)
    opens = np.array([at[bar] for bar in sorted(there)], dtype=np.int64)
    found = declarations_of([fact_of(frame, what, part) for what, part in said], frame, opens)
    expected = []
    for number, (what, (first, last)) in enumerate(said):
        taken = {
            bar
            for later, part in said[number:]
            if later == REVOKED
            for bar in range(max(first, part[0]), min(last, part[1]))
        }
        if what == DECLARED:
            expected.append((at[first], at[last], taken, len(set(range(first, last)) & there - taken)))
    outcomes = [
        (
            one.start,
            one.end,
            {bar for part in one.revoked for bar in range(BARS) if part.start <= at[bar] < part.end},
            one.contradicted,
        )
        for one in found
    ]
    assert outcomes == expected
    for one in found:
        assert {
            ts for part in (*one.in_force, *one.revoked) for ts in at[:-1] if part.start <= ts < part.end
        } == {ts for ts in at[:-1] if one.start <= ts < one.end}


@given(frames, st.sampled_from(REASONS), notes, names)
def test_who_said_what_and_when_comes_back(frame: Timeframe, reason: str, note: str, by: str) -> None:
    window = Segment(*window_of(frame)[:2])
    if reason == "other" and not note.strip():
        with pytest.raises(InvalidInput, match="note"):
            declared_fact(frame, window, reason, note, by, NOW)
        return
    fact = declared_fact(frame, window, reason, note, by, NOW)
    assert Declaration.of(fact) == Declaration(*window, reason, note.strip(), by, NOW)


@pytest.mark.parametrize(
    ("reason", "note", "by", "kind"),
    [
        ("", "", "ann", InvalidChoice),
        ("declared", "", "ann", InvalidChoice),
        ("halt", "", "ann", InvalidChoice),
        (None, "", "ann", InvalidChoice),
        (["halted"], "", "ann", InvalidChoice),
        ("other", " ", "ann", InvalidInput),
        ("halted", "x" * (LONGEST_NOTE + 1), "ann", InvalidInput),
        ("halted", "\ud800", "ann", InvalidInput),
        ("halted", 5, "ann", InvalidInput),
        ("halted", "", "", InvalidInput),
        ("halted", "", "ann: halted by bob", InvalidInput),
        ("halted", "", 7, InvalidInput),
    ],
)
def test_what_is_no_reason_note_or_name_is_refused(
    reason: str, note: str, by: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        declared_fact(FRAMES[0], Segment(*window_of(FRAMES[0])[:2]), reason, note, by, NOW)


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_declaration_is_of_whole_bars(frame: Timeframe) -> None:
    first, second, third, *_ = window_of(frame)
    fact = declared_fact(frame, Segment(first - 1, third + 1), "outage", "", "ann", NOW)
    assert fact.segment == Segment(first, third)
    with pytest.raises(InvalidInput, match="no whole"):
        declared_fact(frame, Segment(first + 1, third - 1), "outage", "", "ann", NOW)
    assert contradictions(proven_gaps([fact]), np.array([first])) != []
    assert contradictions(proven_gaps([fact]), np.array([first - 1, third])) == []
    assert second < third


def test_a_look_rests_until_its_time_unless_its_clock_was_wrong_or_it_was_revoked() -> None:
    minute = FRAMES[0]
    at = window_of(minute)
    day = Segment(at[0], at[20])
    look = Fact(*day, MISSING, "not sent", NOW, 1, NOW + 60)
    revoked = revoked_fact(minute, Segment(at[5], at[10]), "", "ann", NOW + 1)
    assert resting([look], NOW + 59) == [day] and resting([look], NOW + 60) == []
    assert resting([look], NOW - CLOCK_TOLERANCE_S - 1) == []
    assert resting([look, revoked], NOW + 2) == [Segment(at[0], at[5]), Segment(at[10], at[20])]
    assert resting([revoked, look], NOW + 2) == [day]
