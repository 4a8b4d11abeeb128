"""Where all nodes of a stream stand, event by event, kept once for many events."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass

from seamless_assets.core.live.position import Position

Move = tuple[str, Position]


class Progress:
    """The moves of the nodes of a stream, in turn; one costs the same, however many nodes there are."""

    def __init__(self, positions: Mapping[str, Position]) -> None:
        self._begun = dict(positions)
        self._moves: list[Move] = []

    def move(self, node_id: str, position: Position) -> Mapping[str, Position]:
        """Move one node; the positions of all nodes from then on until the next move."""
        self._moves.append((node_id, position))
        return PositionsThen(self._begun, self._moves, len(self._moves))

    def restarted(self) -> Progress:
        """One that begins where this one stands, and holds none of its moves."""
        return Progress({**self._begun, **dict(self._moves)})


@dataclass(frozen=True, slots=True, repr=False)
class PositionsThen(Mapping[str, Position]):
    """The positions after the first `count` of `moves`, which may go on."""

    begun: Mapping[str, Position]
    moves: list[Move]
    count: int

    def __getitem__(self, node_id: str) -> Position:
        return self._all()[node_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.begun)

    def __len__(self) -> int:
        return len(self.begun)

    def items(self) -> ItemsView[str, Position]:
        """All of them, put together once."""
        return self._all().items()

    def _all(self) -> dict[str, Position]:
        return {**self.begun, **dict(self.moves[: self.count])}
