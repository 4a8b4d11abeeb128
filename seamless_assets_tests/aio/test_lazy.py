"""A stand-in makes what it stands for once, at its first use, and closes what it made."""

from __future__ import annotations

from typing import Any

import pytest

from seamless_assets.aio.lazy import Lazy


class Made:
    """Counts."""

    made, closed = 0, 0

    def __init__(self) -> None:
        type(self).made += 1

    def twice(self, number: int) -> int:
        return 2 * number

    async def close(self) -> None:
        type(self).closed += 1


async def test_it_is_made_at_its_first_use_and_closed_if_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Made, "made", 0)
    monkeypatch.setattr(Made, "closed", 0)
    unused, used = Lazy(Made), Lazy(Made)
    stand_in: Any = used
    assert Made.made == 0 and [stand_in.twice(n) for n in (1, 2)] == [2, 4]
    await unused.close()
    await used.close()
    assert (Made.made, Made.closed) == (1, 1)
    with pytest.raises(AttributeError, match="thrice"):
        stand_in.thrice(1)
