"""Cursors: where a stream stands in all its nodes, as one short text that can be kept and sent.

`c2.` and base64 of: a digest of the nodes, a position of each in order of their ids, and a checksum. Numbers
are of variable length; ranges and corrections are counted back from where the node stands. Where a bar was
told before it was stored it is `c3.`, with the values of such bars. Those of the first version, `c1.`, are
read as well; they do not say where their stream began.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from seamless_assets.core.coverage.coverage import ABSENT_REASONS, MISSING, Gap
from seamless_assets.core.live.position import Position
from seamless_assets.errors import InvalidCursor

PREFIX = "c2."
"""What a cursor begins with where all that was told is stored."""
AHEAD_PREFIX = "c3."
"""What it begins with where some is not."""
FIRST_PREFIX = "c1."
"""What those of the first version begin with."""
_PREFIXES = (FIRST_PREFIX, PREFIX, AHEAD_PREFIX)
_VALUES = struct.Struct(">5d")
_REASONS = (MISSING, *ABSENT_REASONS)
_DIGEST, _CHECKSUM = 8, 4
_MAX_BYTES = 64_000_000
_LONGEST_NUMBER = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream stands after one event: `own` is the position of the event's node."""

    positions: Mapping[str, Position]
    node_id: str
    own: Position

    @property
    def cursor(self) -> str:
        """The place as a text."""
        return write_cursor({**dict(self.positions.items()), self.node_id: self.own})


@dataclass(frozen=True, slots=True)
class WrittenPlace:
    """The same of a stream of `nodes`, known by its text alone."""

    cursor: str
    nodes: tuple[str, ...]
    node_id: str

    @property
    def positions(self) -> Mapping[str, Position]:
        """The positions of all nodes."""
        return read_cursor(self.cursor, self.nodes)

    @property
    def own(self) -> Position:
        """The position of the event's node."""
        return self.positions[self.node_id]


def is_cursor(text: object) -> bool:
    """Whether a text is meant as a cursor, of whatever version."""
    return isinstance(text, str) and text[:1] == "c" and text.partition(".")[0][1:].isdigit()


def write_cursor(positions: Mapping[str, Position]) -> str:
    """The cursor of the positions of all nodes of a stream, by node id."""
    nodes = sorted(positions)
    body = bytearray(_digest(nodes))
    is_ahead = any(positions[node].unstored is not None for node in nodes)
    for node in nodes:
        _write_position(body, positions[node], is_ahead=is_ahead)
    body += zlib.crc32(body).to_bytes(_CHECKSUM, "big")
    packed = base64.urlsafe_b64encode(zlib.compress(bytes(body), 6)).decode().rstrip("=")
    return (AHEAD_PREFIX if is_ahead else PREFIX) + packed


def read_cursor(text: str, nodes: Iterable[str]) -> dict[str, Position]:
    """The positions of `nodes`, the ids of a stream. Raises `InvalidCursor`."""
    ids = sorted(nodes)
    body = _unpacked(text)
    if body[:_DIGEST] != _digest(ids):
        raise InvalidCursor(
            f"the cursor was made for other nodes than these {len(ids)}; resume with the nodes it was made "
            "for, and subscribe to others beside them by a `since` of their own",
            nodes=tuple(ids),
        )
    numbers = _Numbers(body[_DIGEST:-_CHECKSUM])
    has_since, is_ahead = not text.startswith(FIRST_PREFIX), text.startswith(AHEAD_PREFIX)
    positions = {node: _read_position(numbers, has_since=has_since, is_ahead=is_ahead) for node in ids}
    if not numbers.is_at_end:
        raise _damaged("it is longer than its nodes need")
    return positions


def _unpacked(text: str) -> bytes:
    if not is_cursor(text):
        raise _damaged("it does not begin as one")
    version = text.partition(".")[0]
    if f"{version}." not in _PREFIXES:
        raise InvalidCursor(
            f"the cursor is of version {version}, and this release reads c1, c2 and c3; "
            "resume with the release that made it, or give an instant as `since`",
            value=text,
        )
    packed = text[len(PREFIX) :]
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        unpacking = zlib.decompressobj()
        body = unpacking.decompress(raw, _MAX_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise _damaged(str(error)) from error
    if not unpacking.eof or unpacking.unused_data or len(body) < _DIGEST + _CHECKSUM:
        raise _damaged("it is cut off or has more at its end")
    if zlib.crc32(body[:-_CHECKSUM]).to_bytes(_CHECKSUM, "big") != body[-_CHECKSUM:]:
        raise _damaged("its checksum is another one")
    return body


def _digest(nodes: Sequence[str]) -> bytes:
    return blake2b("\n".join(nodes).encode(), digest_size=_DIGEST).digest()


def _write_position(body: bytearray, position: Position, *, is_ahead: bool) -> None:
    _write_number(body, position.upto * 2 if position.upto >= 0 else -position.upto * 2 - 1)
    _write_number(body, 0 if position.since is None else position.upto - position.since + 1)
    _write_number(body, len(position.gaps))
    for gap in position.gaps:
        _write_number(body, position.upto - gap.start)
        _write_number(body, gap.end - gap.start)
        _write_number(body, _REASONS.index(gap.reason))
    _write_number(body, len(position.revised))
    for ts, count in position.revised:
        _write_number(body, position.upto - ts)
        _write_number(body, count)
    if is_ahead:
        _write_number(body, 0 if position.unstored is None else position.upto - position.unstored[0])
        body += b"" if position.unstored is None else _VALUES.pack(*position.unstored[1])


def _read_position(numbers: _Numbers, *, has_since: bool, is_ahead: bool) -> Position:
    number = numbers.next()
    upto = number // 2 if number % 2 == 0 else -(number + 1) // 2
    told = numbers.next() if has_since else 0
    since = upto - told + 1 if told else None
    gaps = []
    for _ in range(numbers.next()):
        start, length, reason = upto - numbers.next(), numbers.next(), numbers.next()
        if not length or reason >= len(_REASONS):
            raise _damaged("it holds a range that cannot be")
        gaps.append(Gap(start, start + length, _REASONS[reason]))
    revised = [(upto - numbers.next(), numbers.next()) for _ in range(numbers.next())]
    back = numbers.next() if is_ahead else 0
    unstored = (upto - back, numbers.next_values()) if back else None
    return Position(upto, tuple(gaps), tuple(revised), since, unstored)


def _write_number(body: bytearray, number: int) -> None:
    while number > 0x7F:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)


class _Numbers:
    """Reads numbers of variable length, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._body)

    def next(self) -> int:
        number = 0
        for place in range(_LONGEST_NUMBER):
            if self.is_at_end:
                raise _damaged("it ends too early")
            byte = self._body[self._at]
            self._at += 1
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return number
        raise _damaged("it holds a number that is too long")

    def next_values(self) -> tuple[float, float, float, float, float]:
        packed = self._body[self._at : self._at + _VALUES.size]
        if len(packed) < _VALUES.size:
            raise _damaged("it ends too early")
        self._at += _VALUES.size
        o, high, low, c, volume = _VALUES.unpack(packed)
        if not all(map(math.isfinite, (o, high, low, c, volume))):
            raise _damaged("it holds a value that cannot be")
        return o, high, low, c, volume


def _damaged(reason: str) -> InvalidCursor:
    return InvalidCursor(
        f"the cursor cannot be read: {reason}; give it just as an event told it, or an instant as `since`"
    )
