"""What an input's metadata and a run's tags say of how a node is read; all of it begins with `seamless/`.

| name | meaning |
|---|---|
| `seamless/as_of` | read what was known then: a release's `as_of`, an ISO text, a date or epoch seconds |
| `seamless/dataset_fingerprint` | read the last release of just that dataset |
| `seamless/start`, `seamless/end` | the window starts, or ends, there instead; one of them alone will do |
| `seamless/domain`, `seamless/world_id` | who reads, and for what: `backtest`, `dryrun` or `live` |
| `seamless/strategy` | what is filled before the bars are read |
| `seamless/sla` | the name of a preset, or a mapping of an `SLAPolicy`'s fields (JSON in a tag) |
| `seamless/min_coverage` | the least ratio of bars that must be there |
| `seamless/max_lag` | the greatest age of the last bar, in seconds, of a live read |
| `seamless/node` | the node's id, for an input of an op, which is of no asset |

The input's metadata goes before the run's tags. A name or value that means nothing is an error, and so is one
that only looks like ours, by its case or by another sign than `/`; other names belong to others and steer
nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seamless_assets.core.calendar.instant import OLDEST_MARKET, epoch_micros, epoch_seconds
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import DOMAINS, STRATEGIES, ComputeContext, choose
from seamless_assets.errors import InvalidInput, InvalidTimestamp

PREFIX = "seamless/"
_DATE_DIGITS = 8


@dataclass(frozen=True)
class Instructions:
    """How an input is read: the arguments of a read, of which None means that nothing was said.

    `context` is None where no knowledge time and no domain was named: then the newest release will do.
    `start` and `end` are epoch seconds.
    """

    context: ComputeContext | None = None
    start: int | None = None
    end: int | None = None
    strategy: str | None = None
    sla: Mapping[str, Any] | str | None = None
    min_coverage: float | None = None
    world_id: str | None = None
    node: NodeId | None = None

    @property
    def fills(self) -> bool:
        """Whether more than releases may be read: bars are fetched first, or are not released at all."""
        if self.context is not None:
            return self.context.domain != "backtest"
        return self.strategy not in (None, "FAIL_FAST")


def read_instructions(metadata: Mapping[str, Any], tags: Mapping[str, str]) -> Instructions:
    """The instructions of an input's metadata, else of its run's tags.

    Raises `InvalidChoice` for an unknown name and `InvalidInput` for a value that cannot mean anything.
    """
    known = tuple(PREFIX + name for name in _READERS)
    values: dict[str, Any] = {}
    for name, value in {**tags, **metadata}.items():
        if is_instruction(name):
            choose(name, known, "instruction")
            plain = getattr(value, "value", value)
            values[name.removeprefix(PREFIX)] = _READERS[name.removeprefix(PREFIX)](plain, name)
    return _combined(values)


def is_instruction(name: str) -> bool:
    """Whether a name is one of ours, or is written so much like one that it must be meant as one."""
    folded = name.strip().casefold()
    return folded.startswith(PREFIX) or _OTHER_SIGNS.sub("_", folded) in _LIKE_OURS


def _combined(values: Mapping[str, Any]) -> Instructions:
    is_bound = bool(values.keys() & {"as_of", "dataset_fingerprint", "domain"})
    if "max_lag" in values and values.get("domain") != "live":
        raise InvalidInput(
            f"{PREFIX}max_lag is for live reads, and bars of a release do not age; leave it out, or say "
            f"{PREFIX}domain: live",
            value=values["max_lag"],
        )
    context = ComputeContext(**{name: values[name] for name in _OF_THE_CONTEXT if name in values})
    return Instructions(
        context=context if is_bound else None,
        **{name: values[name] for name in _OF_THE_READ if name in values},
    )


def _instant(value: Any, name: str) -> Any:
    """A point in time as people write it: eight digits are a date, more are epoch seconds."""
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    is_text_or_number = isinstance(plain, (str, int)) and not isinstance(plain, bool)
    digits = str(plain).strip() if is_text_or_number else ""
    if digits.isdecimal() and digits.isascii():
        plain = digits if len(digits) == _DATE_DIGITS else int(digits)
    if isinstance(plain, int | float) and not isinstance(plain, bool) and plain < OLDEST_MARKET:
        raise InvalidTimestamp(
            f"{name} {value} lies before any market; write a date like 2025-01-31, or epoch seconds",
            value=value,
        )
    epoch_micros(plain, name)
    return plain


def _start(value: Any, name: str) -> int:
    return epoch_seconds(_instant(value, name), name, round_up=True)


def _end(value: Any, name: str) -> int:
    return epoch_seconds(_instant(value, name), name)


def _text(value: Any, name: str) -> Any:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{name} is {value!r}; give a text", value=value)
    return value


def _node(value: Any, name: str) -> NodeId:
    return NodeId.parse(_text(value, name))


def _domain(value: Any, name: str) -> str:
    return choose(value, DOMAINS, name)


def _strategy(value: Any, name: str) -> str:
    return choose(value, STRATEGIES, name)


def _number(value: Any, name: str, most: float, wanted: str) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number <= most:
        raise InvalidInput(f"{name} is {value!r}; give {wanted}", value=value)
    return number


def _ratio(value: Any, name: str) -> float:
    return _number(value, name, 1, "a ratio from 0 to 1, such as 0.98")


def _seconds(value: Any, name: str) -> float:
    return _number(value, name, 1e9, "seconds, such as 120")


def _sla(value: Any, name: str) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise InvalidInput(
            f"{name} is neither the name of a preset nor JSON: {error}", value=value
        ) from error


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "as_of": _instant,
    "dataset_fingerprint": _text,
    "start": _start,
    "end": _end,
    "domain": _domain,
    "world_id": _text,
    "strategy": _strategy,
    "sla": _sla,
    "min_coverage": _ratio,
    "max_lag": _seconds,
    "node": _node,
}
_OTHER_SIGNS = re.compile(r"[^a-z0-9]+")
_LIKE_OURS = frozenset(f"seamless_{name}" for name in _READERS)
_OF_THE_CONTEXT = ("as_of", "dataset_fingerprint", "domain", "world_id", "min_coverage", "max_lag")
_OF_THE_READ = ("start", "end", "strategy", "sla", "min_coverage", "world_id", "node")
