"""The checkpoint of a release log: what is in force at its end, once all of the log was proven.

Whoever finds the log unchanged since takes it from there, and of its artifacts only those are made that are
asked for. It stands for just the records of one listing: where any of them differs in name, size, time or
place, or there is one more or less, the log itself is proven.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property, partial
from itertools import accumulate
from typing import TypeVar, overload

import numpy as np
import pyarrow as pa
from msgspec import MsgspecError
from msgspec.json import Decoder, encode

from seamless_assets.core.bars.table import whole_numbers
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.plausible import refuse_implausible_ref
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.errors import ArtifactCorrupt

V = TypeVar("V")
_NAMES = tuple(field.name for field in fields(ArtifactRef))
_DIGESTS, _DIGEST = ("fingerprint", "file_sha256", "manifest_sha256"), "sha256:"
_TYPES = (
    dict.fromkeys(_NAMES, pa.int64()) | dict.fromkeys(_DIGESTS, pa.binary(32)) | {"partition": pa.string()}
)
_SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _TYPES.items()])
_FORMAT = b"seamless-assets checkpoint 1"
_PINNED, _DISCARDED = Decoder(list[tuple[int, int]]), Decoder(list[str])
_PARTS, _SINCE = Decoder(dict[str, tuple[ArtifactRef, ...]]), Decoder(dict[str, str])


def checkpoint_name(folder_uri: str) -> str:
    """What the checkpoint of a node's log is called."""
    return f"{hashlib.sha256(folder_uri.encode()).hexdigest()}.checkpoint"


def to_bytes(snapshot: Snapshot, records: Mapping[str, str]) -> bytes:
    """What is written of a snapshot at the end of a log of `records`, paths with their signatures."""
    assert snapshot.release is not None
    facts = {
        b"format": _FORMAT,
        b"records": _digest(records),
        b"release": snapshot.release.to_json(),
        b"pinned": encode([tuple(pin) for pin in snapshot.pinned]),
        b"discarded": encode(sorted(snapshot.discarded)),
        b"parts": encode(dict(snapshot.parts)),
        b"since": encode(dict(snapshot.since)),
    }
    table = pa.table(list(map(partial(_column, snapshot.artifacts), _NAMES)), _SCHEMA.with_metadata(facts))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _column(refs: Sequence[ArtifactRef], name: str) -> pa.Array:
    """What artifacts say under a name, in buffers of its own size: Arrow's builders take several times it."""
    kind, told = _TYPES[name], [getattr(ref, name) for ref in refs]
    if kind == pa.int64():
        return pa.array(np.fromiter(told, np.int64, len(told)))
    if name in _DIGESTS:
        digests = bytes.fromhex("".join(digest.removeprefix(_DIGEST) for digest in told))
        return pa.Array.from_buffers(kind, len(told), [None, pa.py_buffer(digests)])
    texts = [text.encode() for text in told]
    ends = np.fromiter(accumulate(map(len, texts), initial=0), np.int32, len(texts) + 1)
    return pa.Array.from_buffers(kind, len(told), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])


def from_bytes(body: bytes, node: NodeId, uri: str, records: Mapping[str, str]) -> Snapshot | None:
    """The snapshot of a checkpoint; None where it is none of this node's log, or of other `records`."""
    try:
        table = pa.ipc.open_stream(body).read_all().combine_chunks()
        facts = table.schema.metadata or {}
        if not table.schema.equals(_SCHEMA) or facts.get(b"format") != _FORMAT:
            return None
        if facts[b"records"] != _digest(records):
            return None
        release = Release.from_json(facts[b"release"], uri)
        if release.node_id != str(node) or not _is_in_order(table):
            return None
        return Snapshot(
            node_id=str(node),
            release=release,
            artifacts=_Artifacts(table, node, uri),
            parts=_Deferred(lambda: _PARTS.decode(facts[b"parts"]), uri),
            pinned=tuple(Segment(*pin) for pin in _PINNED.decode(facts[b"pinned"])),
            discarded=frozenset(_DISCARDED.decode(facts[b"discarded"])),
            since=_Deferred(lambda: _SINCE.decode(facts[b"since"]), uri),
        )
    except (pa.ArrowException, OSError, MsgspecError, KeyError, ValueError, ArtifactCorrupt):
        return None


def _digest(records: Mapping[str, str]) -> bytes:
    return hashlib.sha256(encode(list(records.items()))).hexdigest().encode()


def _is_in_order(table: pa.Table) -> bool:
    """Whether the artifacts come one after the other."""
    starts, ends = (whole_numbers(table.column(name)) for name in ("start", "end"))
    return bool(np.all(starts <= ends) and np.all(ends[:-1] <= starts[1:]))


class _Artifacts(Sequence[ArtifactRef]):
    """The artifacts in force, each made of its row when it is first asked for."""

    def __init__(self, table: pa.Table, node: NodeId, uri: str) -> None:
        self._columns, self._rows = table.columns, int(table.num_rows)
        self._timeframe, self._uri = node.timeframe, uri
        self._known: dict[int, ArtifactRef] = {}

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, at: int) -> ArtifactRef: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[ArtifactRef, ...]: ...
    def __getitem__(self, at: int | slice) -> ArtifactRef | tuple[ArtifactRef, ...]:
        if isinstance(at, slice):
            return tuple(map(self._row, range(self._rows)[at]))
        return self._row(range(self._rows)[at])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def _row(self, row: int) -> ArtifactRef:
        # Every read of the node looks for its window among the same few.
        known = self._known.get(row)
        if known is None:
            known = self._known[row] = self._made(row)
        return known

    def _made(self, row: int) -> ArtifactRef:
        held = {name: column[row].as_py() for name, column in zip(_NAMES, self._columns, strict=True)}
        held.update((name, _DIGEST + held[name].hex()) for name in _DIGESTS)
        ref = ArtifactRef(**held)
        try:
            refuse_implausible_ref(ref, self._timeframe)
        except ValueError as error:
            raise _unreadable(self._uri, error) from error
        return ref


class _Deferred(Mapping[str, V]):
    """A mapping that is decoded once it is asked for."""

    def __init__(self, decode: Callable[[], Mapping[str, V]], uri: str) -> None:
        self._decode, self._uri = decode, uri

    @cached_property
    def _held(self) -> Mapping[str, V]:
        try:
            return self._decode()
        except (MsgspecError, KeyError) as error:
            raise _unreadable(self._uri, error) from error

    def __getitem__(self, name: str) -> V:
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def _unreadable(uri: str, error: Exception) -> ArtifactCorrupt:
    problem = f"the checkpoint of release log {uri} says what cannot be: {error}"
    return ArtifactCorrupt(f"{problem}; remove state_dir/segments", uri=uri)
