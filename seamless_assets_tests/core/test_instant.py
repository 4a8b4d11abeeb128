"""Instants as people type them."""

from __future__ import annotations

import pytest

from seamless_assets.core.instant import epoch_seconds, typed_instant
from seamless_assets.errors import InvalidTimestamp


@pytest.mark.parametrize(
    ("told", "ts"), [("1735689600", 1735689600), ("-60", -60), ("2025-01-01", 1735689600)]
)
def test_digits_are_epoch_seconds_and_all_else_is_a_text(told: str, ts: int) -> None:
    assert epoch_seconds(typed_instant(told)) == ts


@pytest.mark.parametrize("told", ["²", "--5", "-", "", "1e9", "9" * 5_000, "9" * 20, "soon"])
def test_what_only_looks_like_a_number_is_refused(told: str) -> None:
    with pytest.raises(InvalidTimestamp):
        epoch_seconds(typed_instant(told))
