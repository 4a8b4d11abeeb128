"""Declare: what an operator says of bars that no witness can tell of, and taking it back."""

from __future__ import annotations

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import watermark
from seamless_assets.core.coverage.coverage import DECLARED
from seamless_assets.core.coverage.declaration import (
    Declaration,
    declarations_of,
    declared_fact,
    revoked_fact,
)
from seamless_assets.core.coverage.ledger import Fact, proven_gaps, recorded_by
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.filling.clocks import dated_now, recorded_now
from seamless_assets.flows.filling.history import NO_OPENS, coverage, known_opens, ledger
from seamless_assets.flows.ports import Ports


async def declare(
    ports: Ports, node: NodeId, window: Segment, reason: str, note: str, by: str | None
) -> Declaration:
    """Record that the whole bars of `window` do not exist; `by` is this worker unless given.

    Raises `InvalidInput` and its kinds for a reason, note or name that is none, for a window without a whole
    bar, and for bars that have not closed yet.
    """
    who = ports.worker.replace(":", "-") if by is None else by
    fact = declared_fact(node.timeframe, window, reason, note, who, ports.clock.now())
    now = await dated_now(ports, node)
    closed = watermark(node.timeframe, now, 0)
    if fact.end > closed:
        raise InvalidInput(
            f"{node}: bars from {seconds_text(max(fact.start, closed))} on have not closed yet, and of those "
            "nothing can be declared",
            closed=closed,
        )
    fact = declared_fact(node.timeframe, window, reason, note, who, now)
    await _record(ports, node, fact)
    own = Declaration.of(fact)
    assert own is not None
    # Others may declare the same bars meanwhile.
    said = await declarations(ports, node, fact.segment)
    return next((one for one in reversed(said) if one.says(fact)), own)


async def revoke(ports: Ports, node: NodeId, window: Segment, note: str, by: str | None) -> list[Declaration]:
    """Take back what was declared of the whole bars of `window`; what that leaves of those declarations.

    The bars are missing from then on, and looked for at once. Raises `InvalidInput` where nothing of the
    window is declared.
    """
    who = ports.worker.replace(":", "-") if by is None else by
    fact = revoked_fact(node.timeframe, window, note, who, await dated_now(ports, node))
    facts, known = await ledger(ports, node, fact.segment), await coverage(ports, node, fact.segment)
    said = [gap for gap in (*proven_gaps(facts), *known.gaps) if gap.reason == DECLARED]
    if not any(not gap.segment.intersect(fact.segment).is_empty for gap in said):
        raise InvalidInput(
            f"{node}: nothing is declared from {seconds_text(fact.start)} to {seconds_text(fact.end)}; "
            "`seamless declarations` lists what is",
            node_id=str(node),
        )
    await _record(ports, node, fact)
    return await declarations(ports, node, fact.segment)


async def declarations(ports: Ports, node: NodeId, window: Segment) -> list[Declaration]:
    """What was declared of bars in `window`, revoked or not, in the order it was said; by the ledger."""
    facts = await ledger(ports, node, window)
    said = declarations_of(facts, node.timeframe, NO_OPENS)
    if not said:
        return []
    reach = Segment(min(one.start for one in said), max(one.end for one in said))
    facts = await ledger(ports, node, reach)
    found = declarations_of(facts, node.timeframe, await known_opens(ports, node, reach))
    return [one for one in found if not one.segment.intersect(window).is_empty]


async def _record(ports: Ports, node: NodeId, fact: Fact) -> None:
    [dated] = recorded_by([fact], await recorded_now(ports, node))
    await ports.hot.write_bars(node, empty_bars(), [dated], recorded_at=dated.recorded_at)
