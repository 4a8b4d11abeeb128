"""What pydantic found, in plain sentences that repeat no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

from seamless_assets.config.addresses import Dsn
from seamless_assets.config.checks import nearest
from seamless_assets.config.document.places import Place
from seamless_assets.config.settings import Settings

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list, such as [a, b]",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
    "finite_number": "a finite number",
}
_KEY_MARK = "[key]"
LONGEST_SHOWN = 60


def place_of(error: ErrorDetails) -> Place:
    """Where the value stands that a validation error is about."""
    return tuple(part for part in error["loc"] if part != _KEY_MARK)


def shown_place_of(error: ErrorDetails) -> Place:
    """That place as it may be shown: behind the colon of an unknown key may stand a secret."""
    place = place_of(error)
    return (*place[:-1], _name(place)) if error["type"] == "extra_forbidden" else place


def explain(error: ErrorDetails) -> str:
    """A validation error in one plain sentence."""
    kind, place = error["type"], place_of(error)
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        if _name(place) != str(place[-1]):
            return "a colon that ends a key needs a space behind it"
        return f"unknown key; {nearest(str(place[-1]), _known_keys(place[:-1]))}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "is not there, and has to be"
    if kind == "too_short":
        return "has nothing in it; name one at least"
    is_shown = isinstance(error["input"], dict | list) or not _is_secret(place)
    shown = f", not {_brief(error['input'])}" if is_shown else ""
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"must be {' or '.join(choices)}{shown}{_guess(error['input'], choices)}"
    family = kind.removesuffix("_type").removesuffix("_from_float").removesuffix("_parsing")
    if family in _EXPECTED:
        return f"must be {_EXPECTED[family]}{shown}"
    return f"{error['msg'].removeprefix('Input ').replace('should', 'must')}{shown}"


def _name(place: Place) -> str:
    return str(place[-1]).partition(":")[0]


def _known_keys(place: Place) -> tuple[str, ...]:
    """The keys that the section at `place` may have."""
    kind = _kind_at(place)
    return tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _is_secret(place: Place) -> bool:
    """Whether the value at `place` may be or hold one; also where nobody knows what it is."""
    kind = _kind_at(place)
    return kind is None or any(part in (Any, Dsn, SecretStr) for part in _parts_of(kind))


def _kind_at(place: Place) -> Any:
    """The type that the value at `place` has; None where it may have none."""
    kind: Any = Settings
    for part in place:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = kind.model_fields.get(str(part))
            kind = found.annotation if found else None
        elif get_origin(kind) in (dict, tuple):
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
        else:
            return None
    return kind


def _parts_of(kind: Any) -> Iterator[Any]:
    yield kind
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for one in kind.model_fields.values():
            yield from _parts_of(one.annotation)
    for part in get_args(kind):
        yield from _parts_of(part)


def _guess(given: Any, known: list[str]) -> str:
    folded = {choice.lower(): choice for choice in known}
    near = (
        get_close_matches(str(given)[:LONGEST_SHOWN].lower(), folded, n=1) if isinstance(given, str) else []
    )
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**LONGEST_SHOWN:
        # A number of thousands of digits cannot even be written down.
        return "a number of that many digits"
    return "nothing" if value is None else repr(value)[:LONGEST_SHOWN]
