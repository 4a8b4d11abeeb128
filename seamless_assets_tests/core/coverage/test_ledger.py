"""When a range that stays missing is looked for again."""

from __future__ import annotations

import pytest

from seamless_assets.core.coverage.ledger import (
    LOOKS_S,
    SOON_LOOKS_S,
    UNANSWERED_S,
    Fact,
    next_look,
    was_soon,
)


def test_looks_of_bars_that_just_closed_make_later_ones_no_rarer() -> None:
    soon = [next_look(looks, is_newest=True) for looks in range(1, 9)]
    assert soon == [*SOON_LOOKS_S, *LOOKS_S]
    for made in range(4):
        later = [next_look(looks, soon=made) for looks in range(made + 1, made + 7)]
        assert later == [*LOOKS_S, LOOKS_S[-1]]
    assert next_look(1, soon=3) == LOOKS_S[0]


@pytest.mark.parametrize("pause", [*SOON_LOOKS_S, *LOOKS_S, UNANSWERED_S])
def test_looks_made_soon_are_known_by_their_pause(pause: float) -> None:
    now = 1_736_553_421.710166
    assert was_soon(Fact(0, 60, "missing", "not sent", now, 2, now + pause)) == (pause in SOON_LOOKS_S)
    assert not was_soon(Fact(0, 60, "no_trades", "bars on both sides", now))
