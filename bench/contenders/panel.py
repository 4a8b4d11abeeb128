"""Panels of many nodes: `python -m bench.contenders.panel NAME FOLDER DAYS NODES`.

`load` writes so many days of every node. `close` is one field of all of them in a frame of pandas, side by
side by time, `fields` all five; `listed` is the close of nodes that begin on different days.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.contenders import reads
from bench.contenders.reads import node_id
from bench.measuring.contender import serve_tasks
from bench.worlds.bars import DAY, DAY_BARS, START, market_bars

FIELDS = ("open", "high", "low", "close", "volume")
LATEST = 5
"""So many days after the first the last nodes begin."""


@dataclass(frozen=True)
class Work(reads.Work):
    """The same days of every node of the first half; those of the second begin later."""

    @property
    def other_days(self) -> int:
        """As many as of the first."""
        return self.days

    def frames(self) -> list[pd.DataFrame]:
        """The bars of every node."""
        return [
            market_bars(self.days * DAY_BARS, number).iloc[self._late(number) * DAY_BARS :]
            for number in range(self.nodes)
        ]

    def _late(self, number: int) -> int:
        return (number % min(LATEST, self.days)) if number > self.nodes // 2 else 0

    @property
    def whole(self) -> list[str]:
        """Nodes that have every bar."""
        return [node_id(number) for number in range(self.nodes // 2)]

    @property
    def listed(self) -> list[str]:
        """Nodes that begin on different days."""
        return [node_id(number) for number in range(self.nodes // 2, self.nodes)]

    def check(self, frame: pd.DataFrame, columns: int) -> None:
        """Refuse a frame that is no panel of all days."""
        assert frame.shape == (self.days * DAY_BARS, columns), frame.shape


class Arctic(reads.Arctic):
    """Batch reads of ArcticDB, joined by pandas."""

    work: Work

    def close(self) -> None:
        self.work.check(self._joined(self.work.whole, ["close"]), self.work.nodes // 2)

    def listed(self) -> None:
        self.work.check(self._joined(self.work.listed, ["close"]), self.work.nodes - self.work.nodes // 2)

    def fields(self) -> None:
        self.work.check(self._joined(self.work.whole, [*FIELDS]), 5 * (self.work.nodes // 2))

    def _joined(self, nodes: list[str], fields: list[str]) -> pd.DataFrame:
        from arcticdb import ReadRequest

        start = pd.Timestamp(START, unit="s")
        bounds = (start, start + pd.Timedelta(days=self.work.days) - pd.Timedelta(seconds=1))
        asked: Any = [ReadRequest(node, date_range=bounds, columns=fields) for node in nodes]
        frames = [item.data for item in self.library.read_batch(asked)]
        if len(fields) == 1:
            return pd.concat([frame[fields[0]] for frame in frames], axis=1, keys=nodes, sort=True)
        return pd.concat(frames, axis=1, keys=nodes, sort=True)


class Ours(reads.Ours):
    """Panels of released artifacts."""

    work: Work

    def close(self) -> None:
        self.work.check(self._panel(self.work.whole, "close"), self.work.nodes // 2)

    def listed(self) -> None:
        frame = self.pipeline.read_panel(self.work.listed, fields="close").to_pandas()
        self.work.check(frame, self.work.nodes - self.work.nodes // 2)

    def fields(self) -> None:
        self.work.check(self._panel(self.work.whole, FIELDS), 5 * (self.work.nodes // 2))

    def _panel(self, nodes: list[str], fields: Any) -> pd.DataFrame:
        end = START + self.work.days * DAY
        return self.pipeline.read_panel(nodes, START, end, fields=fields).to_pandas()


def main() -> None:
    """Answer tasks until the input ends."""
    name, folder, days, nodes = sys.argv[1:]
    work = Work(int(days), int(nodes))
    if name == "arctic":
        serve_tasks(Arctic(Path(folder), work))
        return
    ours = Ours(Path(folder), work)
    with ours.pipeline:
        serve_tasks(ours)


if __name__ == "__main__":
    main()
