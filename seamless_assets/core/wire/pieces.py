"""Long values as JSON piece by piece, each a moment's work: the same bytes as at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from msgspec.json import encode

ITEMS = 100
"""Items of a list that are written at once."""


def is_long(value: Any) -> bool:
    """Whether a value is, or has as a field, a list that is not written in a moment."""
    if isinstance(value, list | tuple):
        return len(value) > ITEMS
    return is_dataclass(value) and any(is_long(getattr(value, field.name)) for field in fields(value))


def json_pieces(value: Any) -> Iterator[bytes]:
    """A value as JSON, in pieces."""
    if not is_long(value):
        yield encode(value, enc_hook=str)
    elif is_dataclass(value):
        yield b"{"
        for number, field in enumerate(fields(value)):
            yield (b"," if number else b"") + encode(field.name) + b":"
            yield from json_pieces(getattr(value, field.name))
        yield b"}"
    else:
        yield from _list_pieces(value)


def _list_pieces(items: Sequence[Any]) -> Iterator[bytes]:
    for start in range(0, len(items), ITEMS):
        yield (b"," if start else b"[") + encode(items[start : start + ITEMS], enc_hook=str)[1:-1]
    yield b"]"
