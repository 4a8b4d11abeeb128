"""Whether what a row of an earlier run says of itself can be so together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import convert

from bench.line import POINTS, Row
from bench.running import exponent


def contradiction(row: Row, told: Mapping[str, Any]) -> str | None:
    """What of a row, which is told so, cannot be so beside the rest of it, in words.

    Only what follows for sure: a median of ratios need not be the ratio of the medians of many rounds.
    Raises `KeyError` and `ValidationError` where the row lacks its goal or verdict, or says what none does.
    """
    compared = row.ours is not None and row.peer is not None
    if compared != (row.ratio is not None):
        return f"a ratio of {row.ratio} beside {row.ours} and {row.peer} of its sides"
    quotient = (row.ours or 0.0) / row.peer if row.peer else math.nan
    if row.rounds == 1 and row.ratio is not None and not math.isclose(row.ratio, quotient):
        return f"a ratio of {row.ratio} in one round of {row.ours} and {row.peer}"
    middle = row.ours if row.ratio is None else row.ratio
    if row.spread and middle is not None and not _is_between(middle, *row.spread):
        return f"a median of {middle} outside of its quartiles {row.spread[0]} and {row.spread[1]}"
    if row.line.unit == "exponent" and row.facts.get(POINTS):
        sizes, seconds, _ = zip(*row.facts[POINTS], strict=True)
        grown = exponent(sizes, seconds)
        if grown is None or row.ours is None or not math.isclose(grown, row.ours):
            return f"an exponent of {row.ours}, where its last two sizes give {grown}"
    goal = convert(told["goal"], float | None)
    verdict = replace(row, line=replace(row.line, goal=goal)).is_met
    if told["met"] != verdict:
        return f"met: {told['met']}, where a goal of {goal} makes it {verdict}"
    return None


def _is_between(value: float, low: float, high: float) -> bool:
    """Up to how numbers are rounded."""
    return low <= value <= high or math.isclose(value, low) or math.isclose(value, high)
