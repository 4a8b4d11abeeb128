"""A configuration as plain data that still knows the line of every key and item.

A place is the tuple of keys and indexes that leads to a value: `("exchanges", "kucoin", "symbols", 0)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

Place = tuple[str | int, ...]
OWN_KEY = "x-"
"""Keys that begin so are the user's own: no part of the data, whatever they hold."""
MAX_PROBLEMS = 200
"""Of a file with more problems the first ones are reported: the rest costs time and says nothing new."""
LONGEST_KEY = 60
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration; `line` counts from 1 and is None where there is none."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


@dataclass
class Document:
    """Plain data, the lines it came from, and what was found wrong with it.

    `broken` holds the places whose values mean nothing, so that no rule judges them a second time;
    `origins` names the environment variable behind a value that no file gave.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Place] = field(default_factory=set)
    origins: dict[Place, str] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether there are as many problems as are reported."""
        return len(self.problems) >= MAX_PROBLEMS

    def report(self, place: Place, message: str, shown: Place | None = None) -> None:
        """Note a problem at `place`, unless there are enough; it is `shown` as the place that may be."""
        if self.is_full:
            return
        if place in self.origins:
            message = f"{message} (from the environment variable {self.origins[place]})"
        self.problems.append(Problem(self.file, self.line(place), key_text(shown or place), message))

    def break_at(self, place: Place, message: str, shown: Place | None = None) -> None:
        """Note a problem that makes the value at `place` useless; `shown` as for `report`."""
        self.report(place, message, shown)
        self.broken.add(place)

    def is_broken(self, place: Place) -> bool:
        """Whether the value at `place`, or one that holds it, means nothing."""
        return any(place[:length] in self.broken for length in range(len(place) + 1))

    def refuse(self, line: int | None, message: str) -> None:
        """Note a problem that makes the whole of it useless."""
        self.data = {}
        self.broken.add(())
        self.problems.append(Problem(self.file, line, "", message))

    def line(self, place: Place) -> int | None:
        """Line of `place`, or of the nearest thing above it that was written down."""
        known = (self.lines.get(place[:length]) for length in range(len(place), -1, -1))
        return next((line for line in known if line is not None), None)

    def put(self, place: Place, value: Any, origin: str) -> None:
        """Give `place` a value from the environment, unless it has one or cannot take one."""
        section: Any = self.data
        for part in place[:-1]:
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                return
        if section.get(place[-1]) is None:
            section[place[-1]] = value
            self.origins[place] = origin

    def get(self, *place: str | int) -> Any:
        """The value at `place`; None where there is none."""
        value: Any = self.data
        for part in place:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part] if part < len(value) else None
            else:
                return None
        return value


def is_writable(text: str) -> bool:
    """Whether files, databases and addresses can hold a text: no NUL, no half of a surrogate pair."""
    return not _UNWRITABLE.search(text)


def key_text(place: Place) -> str:
    """A place as people write it: `exchanges.kucoin.symbols[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:LONGEST_KEY]}" for part in place)
    return text.removeprefix(".")
