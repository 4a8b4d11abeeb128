"""What a store says of its own state, and what a look at it found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What an operator wants to know of a store that works. `latency_ms` is that of one empty question.

    `warning` says what went wrong with a part of it or soon will, and what to do; empty for nothing.
    """

    kind: str
    address: str
    version: str
    lag: str
    latency_ms: float
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one part of the pipeline found: its state, or why it has none, and what to do."""

    part: str
    is_well: bool
    status: StoreStatus | None
    advice: str
