"""Stored bytes against what the release log promises of them; what does not match is `ArtifactCorrupt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.cells import fill_cells
from seamless_assets.core.bars.extents import PackedFile, fill_values
from seamless_assets.core.bars.parquet import decode_bars
from seamless_assets.core.bars.stored import misplaced
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest, opens_of
from seamless_assets.errors import ArtifactCorrupt

MANY_BARS = 8
"""With fewer bars to a gap, times are read sooner from the file than made from what the gaps leave."""


@dataclass(frozen=True, slots=True)
class ProvenFile:
    """The Parquet file of an artifact, its bytes being those that the artifact's release promises."""

    uri: str
    payload: bytes = field(repr=False)
    node: NodeId
    ref: ArtifactRef

    def bars(self) -> pa.Table:
        """Its bars, sorted by `ts`.

        Raises `ArtifactCorrupt` where it holds none, not so many, or bars that are out of order, outside of
        their range or off the grid: a hash says that they are those that were written, and no more.
        """
        bars = stored_bars(self.uri, self.payload)
        problem = misplaced(timestamps(bars), self.node.timeframe, self.ref.segment)
        if bars.num_rows != self.ref.rows:
            problem = f"it holds {bars.num_rows} bars, its release promises {self.ref.rows}"
        if problem:
            raise ArtifactCorrupt(
                f"{self.uri} cannot be served: {problem}; release other bars of {self.ref.partition}",
                uri=self.uri,
            )
        return bars


def proven_file(uri: str, payload: bytes, node: NodeId, ref: ArtifactRef) -> ProvenFile:
    """The file of `ref` in stored bytes. Raises `ArtifactCorrupt`."""
    _expect(uri, payload, ref.file_sha256)
    return ProvenFile(uri, payload, node, ref)


def proven_manifest(uri: str, payload: bytes, node: NodeId, ref: ArtifactRef) -> Manifest:
    """The manifest of `ref` in stored bytes. Raises `ArtifactCorrupt`."""
    _expect(uri, payload, ref.manifest_sha256)
    manifest = Manifest.from_json(payload, uri)
    promised = (str(node), ref.start, ref.end, ref.rows)
    if (manifest.node_id, manifest.start, manifest.end, manifest.rows) != promised:
        raise ArtifactCorrupt(
            f"{uri} cannot be used: it says other things of its artifact than the release that names it; "
            f"release other bars of {ref.partition}",
            uri=uri,
        )
    return manifest


def fill_bars(
    cells: np.ndarray, node: NodeId, files: Sequence[ProvenFile], manifests: Sequence[Manifest]
) -> None:
    """Write the bars of artifacts, one after the other, into cells for just so many.

    Raises `ArtifactCorrupt` where a file holds none.
    """
    if not _filled_from_extents(cells, node, files, manifests):
        fill_cells(cells, [file.bars() for file in files])


def stored_bars(uri: str, payload: bytes) -> pa.Table:
    """Whatever bars stored bytes hold. Raises `ArtifactCorrupt` where they hold none."""
    try:
        return decode_bars(payload)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactCorrupt(f"{uri} is not a Parquet file of bars: {error}", uri=uri) from error


def _filled_from_extents(
    cells: np.ndarray, node: NodeId, files: Sequence[ProvenFile], manifests: Sequence[Manifest]
) -> bool:
    """Whether the cells were filled by what all the manifests say of extents, ranges and gaps."""
    gaps = sum(len(manifest.absent) + len(manifest.missing) for manifest in manifests)
    is_in_order = all(left.end <= right.start for left, right in pairwise(manifests))
    if cells.shape[1] < MANY_BARS * gaps or not is_in_order:
        return False
    opens = opens_of(manifests, node.timeframe)
    offsets = [*np.searchsorted(opens, [manifest.start for manifest in manifests]).tolist(), len(opens)]
    if offsets != list(accumulate((file.ref.rows for file in files), initial=0)):
        return False
    packed = [
        PackedFile(file.payload, manifest.packing, file.ref.rows)
        for file, manifest in zip(files, manifests, strict=True)
        if file.ref.rows
    ]
    if not all(file.packing.extents for file in packed):
        return False
    try:
        fill_values(cells, packed)
    except pa.ArrowInvalid:
        # What a file itself says of its extents counts more.
        return False
    cells[0] = opens
    return True


def _expect(uri: str, payload: bytes, promised: str) -> None:
    found = sha256_text(payload)
    if found != promised:
        raise ArtifactCorrupt(
            f"{uri} holds {found}, its release promises {promised}; restore the file", uri=uri
        )
