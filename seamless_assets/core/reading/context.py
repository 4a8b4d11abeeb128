"""Who reads, for what, and what came of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, cast, get_args

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.canonical import is_text
from seamless_assets.errors import InvalidChoice, InvalidInput

Domain = Literal["backtest", "dryrun", "live"]
Strategy = Literal["FAIL_FAST", "AUTO_BACKFILL", "PARTIAL_FILL", "SEAMLESS"]
Verdict = Literal["PASS", "PARTIAL", "HOLD", "REJECT"]
Mode = Literal["live", "paper", "shadow", "compute-only", "validate"]
"""What a world service lets a world do."""
DOMAINS: tuple[Domain, ...] = get_args(Domain)
MODES: tuple[Mode, ...] = get_args(Mode)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ComputeContext:
    """The compute context of one read.

    `as_of` takes a release's `as_of`, an ISO 8601 text, epoch seconds or an aware datetime, and is kept
    as ISO text in UTC. `dataset_fingerprint` asks for the last release of just that dataset, at or before
    `as_of` where both are given. `max_lag` is in seconds, and for live reads alone; `min_coverage` is a
    ratio. Raises `InvalidInput`.
    """

    world_id: str = "default"
    domain: Domain = "backtest"
    as_of: str | None = None
    max_lag: float | None = None
    min_coverage: float | None = None
    dataset_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if not is_text(self.world_id) or not self.world_id:
            raise InvalidInput(f"world_id is {self.world_id!r}; give a non-empty text", value=self.world_id)
        choose(self.domain, DOMAINS, "domain")
        if self.dataset_fingerprint is not None:
            text = self.dataset_fingerprint
            if not is_fingerprint(text):
                raise InvalidInput(
                    f"dataset_fingerprint is {text!r}; give the sha256:... of a release", value=text
                )
        require_limits(self.max_lag, self.min_coverage)
        require_live(self.domain, self.max_lag)
        if self.as_of is not None:
            object.__setattr__(self, "as_of", instant_text(epoch_micros(self.as_of, "as_of")))


def is_fingerprint(text: object) -> bool:
    """Whether a text is written as a fingerprint is."""
    return isinstance(text, str) and _FINGERPRINT.fullmatch(text) is not None


def require_limits(max_lag: object, min_coverage: object) -> None:
    """Raise `InvalidInput` for a lag or a coverage that nothing can be held against; None is no limit."""
    if max_lag is not None and not 0 < _number(max_lag) < math.inf:
        raise InvalidInput(f"max_lag is {max_lag!r}; give seconds above 0", value=max_lag)
    if min_coverage is not None and not 0 <= _number(min_coverage) <= 1:
        raise InvalidInput(f"min_coverage is {min_coverage!r}; give a ratio from 0 to 1", value=min_coverage)


def require_live(domain: Domain, max_lag: object) -> None:
    """Raise `InvalidInput` for a `max_lag` in a domain where nothing ages."""
    if max_lag is not None and domain != "live":
        raise InvalidInput(
            f"max_lag is for live reads, and bars of a release do not age; leave it out of a {domain}, or "
            'say domain="live"',
            value=max_lag,
        )


def _number(value: object) -> float:
    """The number, or NaN, which lies in no range, where it is none."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def choose_strategy(name: object) -> Strategy:
    """The strategy of a name; raises `InvalidChoice`."""
    return cast("Strategy", choose(name, STRATEGIES, "strategy"))


def choose(name: object, choices: tuple[str, ...], what: str) -> str:
    """`name` if it is one of `choices`, else `InvalidChoice` with the nearest of them."""
    if isinstance(name, str) and name in choices:
        return name
    known = {choice.casefold(): choice for choice in choices}
    near = get_close_matches(str(name).casefold(), known, n=1)
    hint = f"; did you mean {known[near[0]]}?" if near else ""
    raise InvalidChoice(
        f"{what} {name!r} is not one of {', '.join(choices)}{hint}", value=name, choices=choices
    )


NEWEST = ComputeContext()
"""The context of a read that names none: it binds the newest release."""
