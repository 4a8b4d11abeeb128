"""Aliases: symbols that a series had before its own, as one continuous node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId


@dataclass(frozen=True, slots=True)
class Alias:
    """The symbol that a series had up to `to` (epoch seconds): a bar that opens before is one of its own.

    `factor` makes its prices those of the series, and divides its volumes.
    """

    symbol: str
    to: int
    factor: float = 1.0


def source_at(node: NodeId, aliases: Sequence[Alias], ts: int) -> tuple[NodeId, float]:
    """The node that an exchange is asked for where a bar opens at `ts`, and the factor of its prices.

    `aliases` ascend by `to`.
    """
    for alias in aliases:
        if ts < alias.to:
            return NodeId(node.exchange, alias.symbol, node.timeframe), alias.factor
    return node, 1.0


def cut_at_joints(window: Segment, aliases: Sequence[Alias]) -> list[Segment]:
    """The parts of a window that have one source each, ascending."""
    joints = [alias.to for alias in aliases if window.start < alias.to < window.end]
    edges = [window.start, *joints, window.end]
    return [Segment(start, end) for start, end in pairwise(edges)]


def alias_records(window: Segment, aliases: Sequence[Alias]) -> list[dict[str, Any]]:
    """What a manifest keeps of the symbols that its bars were of, up to which joint."""
    records, start = [], window.start
    for alias in aliases:
        end = min(alias.to, window.end)
        if start < end:
            records.append(
                {"symbol": alias.symbol, "start": start, "end": end, "factor": float(alias.factor)}
            )
        start = max(start, alias.to)
    return records
