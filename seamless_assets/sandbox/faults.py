"""Faults that can be switched on, one request or one message of a stream at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

from msgspec import Meta, ValidationError, convert

from seamless_assets.errors import InvalidChoice, InvalidInput

FaultKind = Literal[
    "status", "reset", "truncated", "html", "json", "hang", "delay",
    "ignore_since", "ignore_until", "empty", "short_page", "short_window", "edges", "hide",
    "null_fields", "inverted", "zero_prices",
    "refused", "drop", "silence", "stale_snapshot", "duplicate", "disorder", "forming_as_closed", "skip",
    "correction", "bad_json",
]  # fmt: skip
MAX_FAULTS = 1_000
Seconds = Annotated[float, Meta(ge=0, le=1e6)]
Time = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""Epoch seconds."""
HeaderName = Annotated[str, Meta(pattern="^[A-Za-z0-9-]+$")]
HeaderText = Annotated[str, Meta(pattern="^[ -~]*$")]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
OF_STREAMS: frozenset[FaultKind] = frozenset(
    {"refused", "drop", "silence", "stale_snapshot", "duplicate", "disorder", "forming_as_closed", "skip",
     "correction", "bad_json"}
)  # fmt: skip
"""Kinds that hit WebSocket connections and their messages alone."""
OF_REQUESTS: frozenset[FaultKind] = frozenset(KINDS) - OF_STREAMS
"""Kinds that hit HTTP requests."""
OF_HANDSHAKES: frozenset[FaultKind] = frozenset({"refused", "status", "html", "json", "hang", "delay"})
"""Kinds that hit the request that opens a WebSocket connection."""


@dataclass
class Fault:
    """One fault: which requests it hits and what happens to them.

    `path` and `symbol` match as parts of the request, empty matches all. `times` counts down, None is for
    ever. `status` answers with `code`, `headers` and, where they are given, `retry_after` (seconds) and
    `body`; `json` with `body` and status 200; `delay` waits `seconds`. `ignore_since` ignores both bounds of
    time, `ignore_until` the upper one. `short_page` cuts to `rows`, `short_window` to what opens within the
    first `rows` bars of time; `edges` leaves out the first and the last row of a page, as exclusive bounds
    do; `hide` the rows that open in `[start, end)`. `null_fields`, `inverted` (high below low) and
    `zero_prices` change the middle row of a page.

    Of streams `path` and `symbol` match parts of the connection's path, the venue's name of what is followed
    and ccxt's symbol. `refused` cuts a connection before it stands, `drop` in place of a message. `silence`
    leaves out what happens in the `seconds` that follow by the exchange's clock (0: for as long as the
    connection lasts). `stale_snapshot` begins with what was so `rows` bars ago. `duplicate` sends a message
    twice, `disorder` after its successor, `bad_json` by half. `forming_as_closed` sets the closed flag of a
    forming candle, `skip` leaves out what remains of a bar, `correction` tells a closed bar again after
    `seconds` (0: 90), as it is known then. Raises `InvalidChoice` and `InvalidInput`.
    """

    kind: FaultKind
    path: str = ""
    symbol: str = ""
    times: Annotated[int, Meta(ge=1)] | None = 1
    code: Annotated[int, Meta(ge=200, le=599)] = 503
    retry_after: Annotated[float, Meta(ge=0)] | None = None
    headers: dict[HeaderName, HeaderText] = field(default_factory=dict)
    seconds: Seconds = 0.0
    rows: Annotated[int, Meta(ge=0)] = 10
    start: Time = 0.0
    end: Time = 0.0
    body: Any = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidChoice(
                f"fault {self.kind!r} is not one of {', '.join(KINDS)}", value=self.kind, choices=KINDS
            )
        for name, form in _forms().items():
            value = getattr(self, name)
            try:
                convert(value, form)
            except ValidationError as error:
                raise InvalidInput(f"{name} of a fault is {value!r}: {error}", value=value) from error

    def hits(self, target: str) -> bool:
        """Whether it is meant for a request (path with query) or a topic of a stream."""
        return self.path in target and self.symbol in target

    @classmethod
    def from_record(cls, record: Any) -> Fault:
        """The fault of a JSON object. Raises `InvalidInput`."""
        try:
            return cls(**record)
        except TypeError as error:
            raise InvalidInput(f"{record!r} is no fault: {error}", value=record) from error


@cache
def _forms() -> Mapping[str, Any]:
    """The type of each field, with its bounds."""
    return {name: form for name, form in get_type_hints(Fault, include_extras=True).items() if name != "kind"}


class Faults:
    """The faults in force, asked at each request and message in the order in which they were added."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force. Raises `InvalidInput` where there are too many."""
        if len(self._active) >= MAX_FAULTS:
            raise InvalidInput(f"{MAX_FAULTS} faults are in force already; lift them first")
        self._active.append(fault)

    def clear(self) -> None:
        """Lift all faults."""
        self._active.clear()

    def take(self, target: str, kinds: Collection[FaultKind] = OF_REQUESTS) -> Fault | None:
        """The first fault of these kinds that hits a request or a topic, counted down."""
        for fault in self._active:
            if fault.kind in kinds and fault.hits(target):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._active.remove(fault)
                return fault
        return None

    def as_records(self) -> list[dict[str, Any]]:
        """The faults in force as JSON values."""
        return [asdict(fault) for fault in self._active]
