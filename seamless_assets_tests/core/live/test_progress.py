"""Positions of many nodes, event by event."""

from __future__ import annotations

import random

from seamless_assets.core.live.position import Position
from seamless_assets.core.live.progress import Progress


def test_each_event_knows_where_all_nodes_stood_whatever_follows() -> None:
    dice = random.Random(7)
    held = {f"n{number}": Position(0) for number in range(5)}
    progress, seen = Progress(held), []
    for upto in range(1, 60):
        name = dice.choice(sorted(held))
        held = {**held, name: Position(upto)}
        seen.append((progress.move(name, Position(upto)), held))
        if upto % 20 == 0:
            progress = progress.restarted()
    assert all(dict(told) == expected and len(told) == 5 for told, expected in seen)
    assert all(dict(told.items()) == expected for told, expected in seen)
