"""The sidecar of exported files: what they hold, as of when, and what proves it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pyarrow as pa

from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.exports.forms import FORMS
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.errors import ExportCorrupt, SeamlessError

ENDING = ".seamless.json"
_UNREADABLE = (
    *(ValueError, OSError, ArithmeticError, SeamlessError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError),
)
"""What readers of files raise for files that are not of their form, odd and encrypted zips among them."""
VERSION = 1


class ExportedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its path from the sidecar's folder, the SHA-256 of its bytes and their number."""

    path: str
    sha256: str
    bytes: int


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What exported files hold.

    Times are epoch seconds, `as_of` ISO text. `bars_fingerprint` is that of the bars in the files, as
    `seamless_assets.fingerprint` makes it; `dataset_fingerprint` is that of the release they are from.
    """

    version: int
    form: str
    node_id: str
    start: int
    end: int
    rows: int
    as_of: str
    dataset_fingerprint: str
    bars_fingerprint: str
    conformance_version: str
    coverage_ratio: float
    gaps: tuple[tuple[int, int, str], ...]
    files: tuple[ExportedFile, ...]

    def to_bytes(self) -> bytes:
        """Its one form as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def sidecar_of(read: ReadResult, form: str, files: Mapping[str, bytes]) -> Sidecar:
    """The sidecar of a read whose bars went into these files, by their paths from the sidecar's folder."""
    known, held = read.metadata, FORMS[form].held
    node = NodeId.parse(known.node_id)
    bars = read.bars if held is None else held(node, read.bars)
    return Sidecar(
        version=VERSION,
        form=form,
        node_id=known.node_id,
        start=known.start,
        end=known.end,
        rows=known.rows,
        as_of=str(known.as_of),
        dataset_fingerprint=str(known.dataset_fingerprint),
        bars_fingerprint=_fingerprint(node, bars, known.conformance_version),
        conformance_version=known.conformance_version,
        coverage_ratio=known.coverage_ratio,
        gaps=tuple((gap.start, gap.end, gap.reason) for gap in known.gaps),
        files=tuple(
            ExportedFile(path, sha256_text(payload), len(payload)) for path, payload in sorted(files.items())
        ),
    )


def read_sidecar(payload: bytes, where: str) -> Sidecar:
    """The sidecar that is written there. Raises `ExportCorrupt`."""
    try:
        sidecar = msgspec.json.decode(payload, type=Sidecar)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ExportCorrupt(f"{where} is no sidecar of an export: {error}", path=where) from error
    outside = [file.path for file in sidecar.files if not _is_inside(file.path)]
    if sidecar.version != VERSION or sidecar.form not in FORMS or outside:
        raise ExportCorrupt(
            f"{where} cannot be a sidecar of ours: version {sidecar.version}, form {sidecar.form}"
            + "".join(f", a file at {path}" for path in outside[:1]),
            path=where,
        )
    return sidecar


def prove(sidecar: Sidecar, files: Mapping[str, bytes], where: str) -> pa.Table:
    """The bars of the files, which are just what the sidecar says. Raises `ExportCorrupt`."""
    for file in sidecar.files:
        if sha256_text(files[file.path]) != file.sha256:
            raise ExportCorrupt(
                f"{file.path} is not the file that was exported: its SHA-256 differs", path=where
            )
    try:
        bars = FORMS[sidecar.form].decode(NodeId.parse(sidecar.node_id), files)
        found = _fingerprint(NodeId.parse(sidecar.node_id), bars, sidecar.conformance_version)
    except _UNREADABLE as error:
        raise ExportCorrupt(
            f"{where}: its files are not of the form {sidecar.form}: {error}", path=where
        ) from error
    if found != sidecar.bars_fingerprint or bars.num_rows != sidecar.rows:
        raise ExportCorrupt(
            f"{where}: its files hold {bars.num_rows} bars with the fingerprint {found}, and it says "
            f"{sidecar.rows} with {sidecar.bars_fingerprint}",
            path=where,
        )
    return bars


def _fingerprint(node: NodeId, bars: Any, conformance_version: str) -> str:
    return fingerprint(bars, node_id=node, interval=node.timeframe, conformance_version=conformance_version)


def _is_inside(path: str) -> bool:
    parts: Iterable[str] = PurePosixPath(path).parts
    return bool(path) and not path.startswith("/") and ".." not in parts and "\0" not in path
