"""What faults make of the updates of one connection, before they are encoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from seamless_assets.dialects.streams.base import Topic, Update
from seamless_assets.sandbox.faults import Fault, FaultKind, Faults
from seamless_assets.sandbox.generator import MINUTE
from seamless_assets.sandbox.streams.market_events import MarketEvents

ON_ANY: frozenset[FaultKind] = frozenset({"drop", "silence", "duplicate", "bad_json"})
"""Kinds that hit every update, snapshots too."""
CORRECTED_AFTER_S = 90.0
"""So long after its close a bar is sent again, unless the fault says otherwise."""
MAX_CORRECTIONS = 1_000
"""As many corrections of one connection wait for their time; more are not made."""


class Dropped(Exception):
    """The connection is to be cut."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An update to be sent, whole or, where it `is_broken`, half of its text."""

    update: Update
    is_broken: bool = False


class StreamFaults:
    """The faults in force, as they hit one connection to `path`."""

    def __init__(self, faults: Faults, path: str, events: MarketEvents, *, has_closed_flag: bool) -> None:
        self._faults, self._path, self._events = faults, path, events
        self._has_closed_flag = has_closed_flag
        self._silences: list[tuple[Fault, float]] = []
        self._skipped: dict[Topic, int] = {}
        self._held: dict[Topic, Update] = {}
        self._corrections: list[tuple[float, Topic, int]] = []

    def snapshot(self, topic: Topic, now: float, rows: int) -> Update | None:
        """The `rows` latest of a topic that was just subscribed to, or what a fault puts in their place."""
        fault = self._faults.take(self._target(topic), {"stale_snapshot"})
        if fault is not None:
            return self._events.stale(topic, now, fault.rows)
        return self._events.latest(topic, now, rows) if rows else None

    def closed(self, close: Update) -> None:
        """Plan the correction of a bar that has closed, where a fault asks for one."""
        if len(self._corrections) < MAX_CORRECTIONS:
            fault = self._faults.take(self._target(close.topic), {"correction"})
            if fault is not None:
                due = close.at + (fault.seconds or CORRECTED_AFTER_S)
                self._corrections.append((due, close.topic, close.candles[-1].ts))

    def corrections(self, after: float, until: float) -> Iterator[Update]:
        """Corrections due in `(after, until]`, as they are known then; they are no longer planned."""
        due = [planned for planned in self._corrections if planned[0] <= until]
        self._corrections = [planned for planned in self._corrections if planned[0] > until]
        for at, topic, opened in due:
            update = self._events.corrected(topic, opened, at)
            if update is not None and at > after:
                yield update

    def apply(self, update: Update) -> list[Outgoing]:
        """What is sent in place of an update. Raises `Dropped`."""
        topic, target = update.topic, self._target(update.topic)
        if self._is_silent(update.at, target) or self._skipped.get(topic) == _bar(update):
            return []
        sent = [Outgoing(update)]
        fault = self._faults.take(target, self._kinds(update))
        match None if fault is None else fault.kind:
            case "drop":
                raise Dropped
            case "silence" if fault is not None:
                self._silences.append((fault, update.at + (fault.seconds or math.inf)))
                return []
            case "skip":
                self._skipped[topic] = _bar(update)
                return []
            case "disorder":
                self._held[topic] = update
                return []
            case "duplicate":
                sent = [Outgoing(update), Outgoing(update)]
            case "bad_json":
                sent = [Outgoing(update, is_broken=True)]
            case "forming_as_closed":
                sent = [Outgoing(replace(update, candles=(replace(update.candles[-1], is_closed=True),)))]
        held = None if update.is_snapshot else self._held.pop(topic, None)
        return sent if held is None else [*sent, Outgoing(held)]

    def _kinds(self, update: Update) -> frozenset[FaultKind]:
        """The kinds of fault that can hit an update."""
        if update.is_snapshot:
            return ON_ANY
        kinds: frozenset[FaultKind] = ON_ANY | {"skip"}
        if update.topic not in self._held:
            kinds |= {"disorder"}
        if self._has_closed_flag and update.candles and not update.candles[-1].is_closed:
            kinds |= {"forming_as_closed"}
        return kinds

    def _is_silent(self, at: float, target: str) -> bool:
        self._silences = [(fault, until) for fault, until in self._silences if at < until]
        return any(fault.hits(target) for fault, _ in self._silences)

    def _target(self, topic: Topic) -> str:
        return f"{self._path} {topic.name} {topic.symbol}"


def _bar(update: Update) -> int:
    """When the bar opened that an update is about; of trades their minute."""
    return update.candles[-1].ts if update.candles else int(update.trades[-1].at) // MINUTE * MINUTE
