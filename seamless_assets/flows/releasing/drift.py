"""Drift: a sample of released bars asked anew, held against what the exchange sends today."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import sound_rows
from seamless_assets.core.bars.redenomination import redenominated
from seamless_assets.core.bars.sorted_sets import is_in
from seamless_assets.core.bars.table import between, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import Revision
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.aliases import cut_at_joints, source_at
from seamless_assets.errors import NothingReleased
from seamless_assets.flows.filling.history import ledger
from seamless_assets.flows.filling.trades.bars import trade_bars
from seamless_assets.flows.filling.trades.provenance import made_of_trades, manifests_in_force
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import revision_of
from seamless_assets.flows.sharing.retry import with_retries

SAMPLE_BARS = 100


@dataclass(frozen=True, slots=True)
class DriftSample:
    """What one page of released bars is today.

    `compared` is the time in which the page has bars, empty where the exchange serves none of it any more;
    `bars` the released ones in it. `revision` counts the bars that the exchange sends and that are not
    released, that are and that it does not send, and those whose values differ.
    """

    partition: str
    compared: Segment
    bars: int
    revision: Revision

    @property
    def is_stable(self) -> bool:
        """Whether the exchange sends just what is released."""
        return not (self.revision.added or self.revision.removed or self.revision.changed)


async def sample_drift(ports: Ports, node: NodeId, bars: int = SAMPLE_BARS) -> DriftSample:
    """Ask for up to `bars` released bars anew, from a bar on that is drawn among all; one request.

    Where they are of a symbol that the series had before its own, that one is asked. Nothing is stored.
    Raises `NothingReleased` and `ExchangeError`, and `StoreError` where what is released cannot be read.
    """
    partition, released = await _drawn(ports, node, min(bars, ports.source.page_size(node)))
    opens, aliases = timestamps(released), ports.policy.aliases_of(node)
    window, *_ = cut_at_joints(Segment(int(opens[0]), node.timeframe.shift(int(opens[-1]), 1)), aliases)
    source, factor = source_at(node, aliases, window.start)
    if node in ports.policy.made_of_trades:
        made = await trade_bars(ports, source, window)
        compared, sent = made.known, redenominated(made.bars, factor)
        held = between(released, *compared)
    else:
        page = await with_retries(ports, lambda: ports.source.fetch_candles(source, window))
        seen = page.witnessed(node.timeframe)
        compared = window.intersect(seen) if seen else Segment(window.start, window.start)
        held = await _candles(ports, node, between(released, *compared))
        sent = redenominated(between(_sound(ports, node, page.candles, opens), *compared), factor)
    return DriftSample(partition, compared, held.num_rows, revision_of(partition, held, sent))


async def _candles(ports: Ports, node: NodeId, released: pa.Table) -> pa.Table:
    """The released bars that came as candles: those of trades were made because the exchange sends none."""
    if not released.num_rows:
        return released
    opens = timestamps(released)
    window = Segment(int(opens[0]), int(opens[-1]) + 1)
    snapshot = await ports.artifacts.load_snapshot(node)
    facts = await ledger(ports, node, window)
    made = made_of_trades(facts, await manifests_in_force(ports, node, snapshot, window), window)
    is_made = np.zeros(len(opens), dtype=bool)
    for one in made:
        is_made |= (opens >= one.start) & (opens < one.end)
    return released.filter(pa.array(~is_made))


async def _drawn(ports: Ports, node: NodeId, count: int) -> tuple[str, pa.Table]:
    snapshot = await ports.artifacts.load_snapshot(node)
    rows = sum(ref.rows for ref in snapshot.artifacts)
    if not rows:
        raise NothingReleased(f"{node}: no bar is released; materialize it first", node_id=str(node))
    return await _from(ports, node, snapshot, int(ports.rng.random() * rows), count)


async def _from(
    ports: Ports, node: NodeId, snapshot: Snapshot, number: int, count: int
) -> tuple[str, pa.Table]:
    """The partition of the released bar of a number (from 0), and the bars from it on in its artifact."""
    for ref in snapshot.artifacts:
        if number < ref.rows:
            bars = await ports.artifacts.load_artifact(node, ref)
            first = min(number, max(0, ref.rows - count))
            return ref.partition, bars.slice(first, count)
        number -= ref.rows
    raise AssertionError(f"{node}: bar {number} is past the last one")


def _sound(ports: Ports, node: NodeId, candles: pa.Table, held: np.ndarray) -> pa.Table:
    """The bars of candles, as a fetch takes them: no flat ones of no trades where the policy drops these."""
    bars, _ = conform(candles, node.timeframe, severities=ports.policy.severities)
    sound = bars.filter(sound_rows(bars, ports.policy.severities))
    if node.exchange not in ports.policy.drops_flat_bars:
        return sound
    is_kept = (sound.column("volume").to_numpy() != 0) | is_in(timestamps(sound), held)
    return sound.filter(pa.array(is_kept))
