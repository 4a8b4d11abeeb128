"""One canonical byte form for records, so that equal records have equal hashes, and what has none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from msgspec import MsgspecError
from msgspec.json import Decoder, decode, encode


class Stored(Protocol):
    """What has a canonical form."""

    def to_json(self) -> bytes:
        """Its canonical bytes."""


T = TypeVar("T", bound=Stored)
_SURROGATE = re.compile("[\ud800-\udfff]")


def canonical_json(record: dict[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys, no blanks and a final newline; NaN and infinities are refused."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def read_record(
    payload: bytes,
    decoder: Decoder[T],
    version: str,
    known: int,
    stored: Callable[[T], object] = lambda record: record,
) -> T:
    """The record of stored bytes. Raises `ValueError` unless they are its canonical form, of this version.

    So what this release does not know is refused: whoever wrote the record on would lose it. `stored` is what
    is written of a record, where that is not all of it.
    """
    try:
        record = decoder.decode(payload)
    except (MsgspecError, RecursionError) as error:
        raise ValueError(_other_version(payload, version, known) or str(error)) from error
    # The decoder passes over names it does not know. Its own encoding is the canonical form but for rare
    # numbers and characters, and takes a tenth of the time.
    if encode(stored(record), order="sorted") + b"\n" != payload and record.to_json() != payload:
        raise ValueError(
            _other_version(payload, version, known)
            or "its bytes are not those of a record as it is written here"
        )
    return record


def _other_version(payload: bytes, version: str, known: int) -> str | None:
    try:
        record = decode(payload)
    except (MsgspecError, RecursionError):
        return None
    found = record.get(version, known) if isinstance(record, dict) else known
    return None if found == known else f"its {version} is {found}, and this release reads {known}"


def is_text(value: object) -> bool:
    """Whether it is a text that has a UTF-8 form; one with half a surrogate pair has none."""
    return isinstance(value, str) and (value.isascii() or _SURROGATE.search(value) is None)


def sha256_text(payload: bytes) -> str:
    """`sha256:` and the hexadecimal digest of `payload`."""
    return f"sha256:{hashlib.sha256(payload).hexdigest()}"
