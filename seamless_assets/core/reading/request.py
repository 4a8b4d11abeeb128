"""What a caller asks of a read, judged once: every argument is used or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.instant import epoch_seconds
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Coverage, Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, Strategy, choose, choose_strategy
from seamless_assets.core.reading.sla import PRESETS, SLAPolicy, resolve_sla
from seamless_assets.errors import InvalidChoice, InvalidInput, InvalidSegment

FillGaps = Literal["previous_close"]
FILLS: tuple[str, ...] = ("previous_close",)
MAX_BARS = 100_000_000
MAX_GROWTH = 16
"""How many times longer than before a window may become at once in search of the last so many bars."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One read. `start` and `end` are epoch seconds, None where the caller leaves them open.

    `limit` keeps the last so many bars, `fill` says what stands where no bar is. `keeps_as_of`: it is a
    session's; a live one serves the release that its session is bound to, not the newest.
    """

    node: NodeId
    start: int | None
    end: int | None
    limit: int | None
    context: ComputeContext | None
    strategy: Strategy | None
    sla: SLAPolicy
    columns: tuple[str, ...]
    fill: FillGaps | None
    keeps_as_of: bool = False

    @classmethod
    def parse(
        cls,
        node: str | NodeId,
        start: Any = None,
        end: Any = None,
        *,
        limit: int | None = None,
        context: ComputeContext | None = None,
        strategy: str | None = None,
        sla: object = None,
        columns: Sequence[str] | str | None = None,
        fill: str | None = None,
        keeps_as_of: bool = False,
        default_sla: SLAPolicy,
        presets: Mapping[str, SLAPolicy] = PRESETS,
    ) -> ReadRequest:
        """The request of a call's arguments. Raises `InvalidInput` and its kinds."""
        if context is not None and not isinstance(context, ComputeContext):
            raise InvalidInput(f"context is {context!r}; give a ComputeContext", value=context)
        begin = None if start is None else epoch_seconds(start, "start", round_up=True)
        finish = None if end is None else epoch_seconds(end, "end")
        if begin is not None and finish is not None and finish < begin:
            raise InvalidSegment(
                f"end {end!r} is before start {start!r}; swap the two", start=begin, end=finish
            )
        return cls(
            node=NodeId.parse(node),
            start=begin,
            end=finish,
            limit=_limit(limit),
            context=context,
            strategy=None if strategy is None else choose_strategy(strategy),
            sla=resolve_sla(sla, default_sla, presets, context.domain if context else "backtest"),
            columns=choose_columns(columns),
            fill=None if fill is None else cast("FillGaps", choose(fill, FILLS, "fill")),
            keeps_as_of=keeps_as_of,
        )

    def window(self, first: int, end: int) -> Segment:
        """The whole bars that are asked for, of a series that reaches from `first` to `end` as far as known.

        An open end is `end`; an open start is `limit` bars before the end, or `first`.
        """
        finish = end if self.end is None else self.end
        if self.start is not None:
            begin = self.start
        elif self.limit is not None:
            begin = self.node.timeframe.shift(self.node.timeframe.floor(finish), -self.limit)
        else:
            begin = first
        return Segment(min(begin, finish), finish).whole_bars(self.node.timeframe.grid)

    def last_window(self, window: Segment, known: Coverage, first: int) -> Segment:
        """The window of the last `limit` bars that may exist, by what is `known` of `window`.

        Where it has too few of them that is a longer one to look into, back to `first` at most; `window`
        itself where nothing more is wanted, or can be had.
        """
        if self.limit is None or self.start is not None or not known.absent:
            return window
        absent = [gap for gap in known.gaps if gap.reason != MISSING]
        timeframe = self.node.timeframe
        start, short = _last_bars(timeframe, window, absent, self.limit)
        if not short:
            return Segment(start, window.end)
        bars, held = timeframe.count(*window), self.limit - short
        more = min(bars * MAX_GROWTH, max(short, -(-bars * short // max(held, 1))))
        reached = max(timeframe.ceil(first), timeframe.shift(window.start, -more))
        return Segment(min(reached, window.start), window.end)


def _last_bars(timeframe: Timeframe, window: Segment, absent: Sequence[Gap], wanted: int) -> tuple[int, int]:
    """Where the last `wanted` bars of a window begin that are not absent, and how many it has too few."""
    left, end = wanted, window.end
    for gap in reversed(absent):
        inside = timeframe.count(gap.end, end)
        if inside >= left:
            break
        left, end = left - inside, gap.start
    short = max(0, left - timeframe.count(window.start, end))
    return timeframe.shift(end, short - left), short


def choose_columns(columns: Sequence[str] | str | None) -> tuple[str, ...]:
    """The asked columns in the asked order, each once, all by default. Raises `InvalidChoice`."""
    if columns is None:
        return COLUMNS
    if not isinstance(columns, Iterable):
        raise InvalidInput(
            f"columns is {columns!r}; give the name of a column, or a list of them", value=columns
        )
    asked = (columns,) if isinstance(columns, str) else tuple(columns)
    for name in asked:
        choose(name, COLUMNS, "column")
    if len(set(asked)) < len(asked):
        raise InvalidChoice(
            f"columns {', '.join(asked)} name one twice; ask for each once", value=asked, choices=COLUMNS
        )
    return tuple(asked)


def _limit(limit: object) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MAX_BARS:
        raise InvalidInput(f"limit is {limit!r}; give a number of bars from 1 to {MAX_BARS}", value=limit)
    return limit
