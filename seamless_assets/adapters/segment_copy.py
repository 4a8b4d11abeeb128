"""The copy of an artifact: cells of its bars (see `core.cells`), then the signatures of the two files that it
was made of, a line each, then the manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.bars import COLUMNS
from seamless_assets.core.cells import CELL_BYTES

SUFFIX = ".bars"


@dataclass(frozen=True, slots=True)
class SegmentCopy:
    """Cells of an artifact's bars, its manifest as stored, and the signatures of its two files."""

    cells: np.ndarray
    manifest: bytes
    signatures: list[str]

    def to_bytes(self) -> bytes:
        """What is written."""
        signatures = "".join(f"{signature}\n" for signature in self.signatures)
        return self.cells.tobytes() + signatures.encode() + self.manifest

    @classmethod
    def from_bytes(cls, body: bytes | None, rows: int) -> SegmentCopy | None:
        """The copy of so many bars; None where the bytes are none."""
        many = len(COLUMNS) * rows
        try:
            cells = np.frombuffer(body or b"", dtype="<i8", count=many).reshape(len(COLUMNS), rows)
            *signatures, manifest = (body or b"")[many * CELL_BYTES :].split(b"\n", 2)
            return cls(cells, manifest, [told.decode() for told in signatures])
        except ValueError:
            return None


def copy_name(ref: ArtifactRef) -> str:
    """What the copy of an artifact is called."""
    named = hashlib.sha256(f"{ref.file_sha256}{ref.manifest_sha256}".encode())
    return f"{named.hexdigest()}{SUFFIX}"
