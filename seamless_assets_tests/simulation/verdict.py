"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The hash of all that happened, what was found wrong, and how many mishaps befell the workers."""

    trace: str
    faults: tuple[str, ...]
    befallen: int
