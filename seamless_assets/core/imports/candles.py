"""Candles of files as bars: judged like an exchange's answers, but that nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import MEANINGS, refused_rows
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, stack, timestamps
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.imports.rows import ReadingOptions, Rows, readable
from seamless_assets.errors import ImportRefused

_NAMED = 5
"""Opens that a message names."""


def bars_of_candles(
    rows: Rows, timeframe: Timeframe, options: ReadingOptions, severities: Mapping[str, str]
) -> tuple[pa.Table, dict[str, int]]:
    """The bars of one table (`BARS_SCHEMA`, sorted, one for each open) and what was mended, by flag.

    Raises `ImportRefused` for what blocks a release, for two different bars of one open, and for bars that
    lie beside the grid: those of a finer timeframe would lose all but one of each.
    """
    table = readable(rows, options.time_format, COLUMNS[1:])
    bars, report = conform(table, timeframe, tz=options.tz, severities=severities)
    problems = list(report.problems)
    if options.tz is not None and "invalid_timestamp" in report.flags:
        problems.append(
            f"a local time that {options.tz} skips or has twice is none; import these hours with times in "
            "UTC or with their offset"
        )
    if count := report.flags.get("conflicting_ts"):
        problems.append(f"conflicting_ts: {count} rows have other values than another row of their ts")
    if count := report.flags.get("misaligned_ts"):
        which = "no row opens" if count == report.rows_in else f"{count} of {report.rows_in} rows do not open"
        problems.append(
            f"misaligned_ts: {which} where a bar of {timeframe} does; say in which zone its times are by tz, "
            "import it as another timeframe, or leave these rows out"
        )
    if problems:
        raise ImportRefused(f"{rows.where}: {'; '.join(problems)}", path=rows.where, flags=report.flags)
    made = bars.select(COLUMNS).cast(BARS_SCHEMA)
    for flag, mask in refused_rows(made, severities).items():
        raise ImportRefused(
            f"{rows.where}: {flag}: {int(mask.sum())} {MEANINGS[flag]}: {opens_text(timestamps(made)[mask])}",
            path=rows.where,
        )
    return made, {name: count for name, count in report.flags.items() if name != "gap"}


def merged(parts: Sequence[pa.Table], names: Sequence[str]) -> tuple[pa.Table, int]:
    """Bars of several tables as one, sorted, and how many of them repeated another.

    Raises `ImportRefused` where two tables have different bars of one open; `names` says what they are.
    """
    every = stack(list(parts))
    opens = timestamps(every)
    if (opens[1:] < opens[:-1]).any():
        order = np.argsort(opens, kind="stable")
        every, opens = every.take(pa.array(order)), opens[order]
    repeats = np.flatnonzero(opens[1:] == opens[:-1]) + 1
    if len(repeats) == 0:
        return every.combine_chunks(), 0
    differs = np.zeros(len(repeats), dtype=bool)
    for name in COLUMNS[1:]:
        values = every.column(name).to_numpy()
        left, right = values[repeats - 1], values[repeats]
        differs |= (left != right) & ~(np.isnan(left) & np.isnan(right))
    if differs.any():
        raise ImportRefused(
            f"{', '.join(dict.fromkeys(names))}: different bars of one open in several of them: "
            f"{opens_text(opens[repeats[differs]])}; import one of them alone",
            opens=tuple(opens[repeats[differs]].tolist()),
        )
    is_first = np.append(True, opens[1:] != opens[:-1])
    return every.filter(pa.array(is_first)).combine_chunks(), len(repeats)


def opens_text(opens: np.ndarray) -> str:
    """The first opens in words, and how many more there are."""
    said = ", ".join(seconds_text(int(open_)) for open_ in opens[:_NAMED])
    return said + (f" and {len(opens) - _NAMED} more" if len(opens) > _NAMED else "")
