"""One canonical byte form for records, so that equal records have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(record: dict[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys, no blanks and a final newline; NaN and infinities are refused."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def sha256_text(payload: bytes) -> str:
    """`sha256:` and the hexadecimal digest of `payload`."""
    return f"sha256:{hashlib.sha256(payload).hexdigest()}"
