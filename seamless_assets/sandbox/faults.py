"""Faults that can be switched on, one request at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from seamless_assets.errors import InvalidChoice, InvalidInput

FaultKind = Literal[
    "status", "reset", "truncated", "html", "json", "hang", "delay",
    "ignore_since", "ignore_until", "empty", "short_page", "short_window", "edges", "hide",
    "null_fields", "inverted", "zero_prices",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(FaultKind)


@dataclass
class Fault:
    """One fault: which requests it hits and what happens to them.

    `path` and `symbol` match as parts of the request, empty matches all. `times` counts down, None is for
    ever. `status` answers with `code` (with `retry_after` and `body` where told), `json` with `body` and
    status 200; `delay` waits `seconds`. `ignore_since` hears neither bound of time, `ignore_until` not the
    upper one. `short_page` cuts to `rows`, `short_window` to what opens within the first `rows` bars of
    time; `edges` leaves out the first and the last row of a page, as exclusive bounds do; `hide` the rows
    that open in `[start, end)`. `null_fields`, `inverted` (high below low) and `zero_prices` spoil the
    middle row of a page.
    """

    kind: FaultKind
    path: str = ""
    symbol: str = ""
    times: int | None = 1
    code: int = 503
    retry_after: float | None = None
    seconds: float = 0.0
    rows: int = 10
    start: float = 0.0
    end: float = 0.0
    body: Any = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidChoice(
                f"fault {self.kind!r} is not one of {', '.join(KINDS)}", value=self.kind, choices=KINDS
            )

    @classmethod
    def from_record(cls, record: Any) -> Fault:
        """The fault of a JSON object. Raises `InvalidInput`."""
        try:
            return cls(**record)
        except TypeError as error:
            raise InvalidInput(f"{record!r} is no fault: {error}", value=record) from error


class Faults:
    """The faults in force, asked at each request in the order in which they were added."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._active.append(fault)

    def clear(self) -> None:
        """Lift all faults."""
        self._active.clear()

    def take(self, path: str) -> Fault | None:
        """The fault that hits a request (path with query), counted down."""
        for fault in self._active:
            if fault.path in path and fault.symbol in path:
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._active.remove(fault)
                return fault
        return None

    def as_records(self) -> list[dict[str, Any]]:
        """The faults in force as JSON values."""
        return [asdict(fault) for fault in self._active]
