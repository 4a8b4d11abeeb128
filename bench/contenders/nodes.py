"""One who reads panels of released nodes: `python -m bench.contenders.nodes FILE`.

In a process of its own, since what others left of its memory would hide what a panel takes.
"""

from __future__ import annotations

import sys

import seamless_assets as sa
from bench.measuring.contender import serve_tasks
from bench.measuring.sample import trim
from bench.worlds.bars import DAY, START


def symbol(number: int) -> str:
    """What a node is of."""
    return f"C{number}/USDT"


class Panels:
    """The tasks, on the project of a file."""

    def __init__(self, file: str) -> None:
        self.pipeline = sa.connect(file)

    def trim(self) -> None:
        """Give back what is free, and free what is garbage."""
        trim()

    def panel(self, nodes: int) -> None:
        """Read a day of minutes of so many nodes."""
        asked = [f"ohlcv:binance:{symbol(number)}:1m" for number in range(nodes)]
        assert len(self.pipeline.read_panel(asked, START, START + DAY).metadata.series) == nodes


if __name__ == "__main__":
    panels = Panels(sys.argv[1])
    with panels.pipeline:
        serve_tasks(panels)
