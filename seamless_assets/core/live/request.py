"""What a caller of a stream may ask for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from seamless_assets.core.calendar.instant import epoch_micros, epoch_seconds
from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.live.cursor import is_cursor, read_cursor
from seamless_assets.core.live.position import Position
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.errors import InvalidInput, InvalidSegment

MAX_NODES = 10_000


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """Nodes in the order asked, where to begin in each (none: with the bar that forms now), and where to end.

    `until` is in epoch seconds, None for never. `max_lag`: seconds after its close at which a bar that was
    not told is overdue.
    """

    nodes: tuple[NodeId, ...]
    positions: Mapping[str, Position] = field(default_factory=dict)
    until: int | None = None
    max_lag: float = 120.0

    @classmethod
    def parse(
        cls,
        nodes: Iterable[NodeId],
        since: Instant,
        until: Instant,
        context: ComputeContext | None,
        max_lag: float,
    ) -> StreamRequest:
        """The request of a caller. Raises `InvalidInput` and its kinds."""
        known = tuple(dict.fromkeys(nodes))
        if not 0 < len(known) <= MAX_NODES:
            raise InvalidInput(f"{len(known)} nodes were given; give from 1 to {MAX_NODES}", value=len(known))
        end = None if until is None else epoch_seconds(until, "until")
        positions = positions_of(known, since)
        is_instant = since is not None and not is_cursor(since)
        if end is not None and is_instant and epoch_micros(since, "since") > epoch_micros(until, "until"):
            raise InvalidSegment(f"until ({until}) lies before since ({since}); swap the two")
        return cls(known, positions, end, _max_lag(context, max_lag))


def positions_of(nodes: Iterable[NodeId], since: Instant, name: str = "since") -> dict[str, Position]:
    """Where a stream of `nodes` begins: after a cursor, or with the first whole bar from an instant on.

    `name` is that of the argument.
    """
    if since is None:
        return {}
    if is_cursor(since):
        return read_cursor(since, map(str, nodes))
    start = epoch_seconds(since, name, round_up=True)
    return {str(node): Position.begin(node.timeframe.ceil(start)) for node in nodes}


def above_zero(value: Any, name: str, way_out: str) -> float:
    """A finite number above 0. Raises `InvalidInput`."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:
        raise InvalidInput(f"{name} is {value!r:.100}; give {way_out}", value=value)
    return float(value)


def _max_lag(context: ComputeContext | None, default: float) -> float:
    if context is None:
        return default
    if not isinstance(context, ComputeContext):
        raise InvalidInput(f"context is {context!r}; give a ComputeContext", value=context)
    if context.domain != "live":
        raise InvalidInput(
            f"a subscription is of the domain live, and the context is of {context.domain}; replay gives the "
            "events of the past",
            domain=context.domain,
        )
    unused = {
        "as_of": context.as_of,
        "dataset_fingerprint": context.dataset_fingerprint,
        "min_coverage": context.min_coverage,
    }
    if given := [name for name, value in unused.items() if value is not None]:
        raise InvalidInput(
            f"a subscription has no use for {', '.join(given)}: it tells what is newest, gaps included; "
            "replay takes an as_of, reads judge coverage",
        )
    return default if context.max_lag is None else context.max_lag
