"""What an exchange answered to a request that was passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """An answer as it was sent: status, headers by their names in small letters, and text."""

    status: int
    headers: Mapping[str, str]
    text: str
