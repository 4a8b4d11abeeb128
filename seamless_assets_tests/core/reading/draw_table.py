"""The table of admissions and verdicts, drawn from the functions that decide them.

    python -m seamless_assets_tests.core.reading.draw_table

writes `docs/read-table.md` anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seamless_assets.core.reading.admission import Fill, admit
from seamless_assets.core.reading.context import DOMAINS, STRATEGIES, ComputeContext, Domain, Strategy
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.verdict import Evidence, judge

PAGE = Path(__file__).resolve().parents[3] / "docs" / "read-table.md"
AS_OF = "2024-12-31T00:00:00Z"
COVERS: dict[str, dict[str, int]] = {
    "whole": {"missing": 0},
    "all proven absent": {"missing": 0, "absent": 1_000},
    "1 % missing": {"missing": 10},
    "10 % missing": {"missing": 100},
    "nothing there": {"missing": 1_000},
}
AGES: dict[str, float | None] = {"fresh": 30.0, "older than max_lag": 300.0, "no bar": None}
SLOW = ("storage_wait",)
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "a budget exceeded, on_violation PARTIAL_FILL": {"violations": SLOW, "on_violation": "PARTIAL_FILL"},
    "the same, HOLD": {"violations": SLOW, "on_violation": "HOLD"},
}
LIVE_FAULTS: dict[str, dict[str, Any]] = {
    "as_of before the session's": {"as_of": "2025-01-01", "bound_as_of": "2025-01-02"},
    "another dataset at the same as_of": {
        "as_of": "2025-01-02",
        "bound_as_of": "2025-01-02",
        "bound_fingerprint": "sha256:a",
        "dataset_fingerprint": "sha256:b",
    },
    "the world service says validate": {"decision": "validate"},
}
FILLS = {
    Fill.NEVER: "never",
    Fill.FIRST: "before the answer",
    Fill.BACKGROUND: "after the answer",
    Fill.BY_SIZE: "before it up to max_sync_gap_bars, else after",
}
PAST = """Age spoils nothing of the past. `min_coverage` is 0.98 here; a read that asks for none is PARTIAL
where this table holds for missing bars."""
HEAD = """# What a read may do, and its verdict
Drawn from `admit` and `judge`, the two functions that decide (`seamless_assets/core/reading/`), by
`python -m seamless_assets_tests.core.reading.draw_table`. [Reads](reads.md) says it in words.
"""


def drawn() -> str:
    """The whole page."""
    parts = [HEAD, "## Before anything is asked", *_admissions()]
    parts += ["", "## A live read", "Of 1,000 bars, `min_coverage` 0.98, `max_lag` 120 s."]
    parts += ["", *_verdicts("live", AGES, FAULTS | LIVE_FAULTS)]
    parts += [
        "",
        "## Any other read",
        "Age spoils nothing of the past; `min_coverage` 0.98 where it is asked for.",
    ]
    parts += ["", *_verdicts("dryrun", {"any": 300.0}, FAULTS)]
    return "\n".join(parts) + "\n"


def _admissions() -> list[str]:
    rows = []
    domains: tuple[Domain | None, ...] = (None, *DOMAINS)
    for domain in domains:
        strategies: tuple[Strategy | None, ...] = (None, *STRATEGIES) if domain is None else STRATEGIES
        for strategy in strategies:
            context = None if domain is None else ComputeContext(domain=domain, as_of=AS_OF)
            admission = admit(context, strategy, ReadSettings())
            serves = "releases and hot bars" if admission.blends else "a release"
            serves += ", made if need be" if admission.publishes else ""
            rows.append(
                (
                    domain or "none",
                    strategy or "none named",
                    FILLS[admission.fill],
                    serves,
                    "refused" if admission.must_cover else "judged",
                )
            )
    return _table(("domain", "strategy", "what is missing is fetched", "serves", "a gap is"), rows)


def _verdicts(domain: Domain, ages: dict[str, float | None], faults: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for cover, counts in COVERS.items():
        for age, lag in ages.items():
            cells = [_verdict(domain, counts, lag, fault) for fault in faults.values()]
            rows.append((cover, *([age] if len(ages) > 1 else []), *cells))
    return _table(("cover", *(["newest bar"] if len(ages) > 1 else []), *faults), rows)


def _verdict(domain: Domain, counts: dict[str, int], lag: float | None, fault: dict[str, Any]) -> str:
    facts: dict[str, Any] = {
        "absent": 0,
        **counts,
        "min_coverage": 0.98,
        "lag_s": lag,
        "max_lag_s": 120.0,
        **fault,
    }
    return judge(Evidence(domain=domain, expected=1_000, **facts)).verdict


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    PAGE.write_text(drawn())
