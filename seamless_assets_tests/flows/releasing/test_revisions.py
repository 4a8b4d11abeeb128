"""What counts as a revision of bars."""

from __future__ import annotations

import pytest

from seamless_assets.flows.releasing.commit import revision_of
from seamless_assets.testing import START, bars_table

UNKNOWN = float("nan")


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [(UNKNOWN, UNKNOWN, 0), (UNKNOWN, 1.0, 1), (1.0, UNKNOWN, 1), (1.0, 1.0, 0), (1.0, 2.0, 1)],
)
def test_a_volume_that_is_unknown_before_and_after_is_no_change(
    before: float, after: float, changed: int
) -> None:
    held, put = (bars_table({START: (1.0, 2.0, 1.0, 2.0, volume)}) for volume in (before, after))
    revision = revision_of("2025-01", held, put)
    assert (revision.added, revision.removed, revision.changed) == (0, 0, changed)
    assert revision.examples == (START,) * changed
