"""The part of the face that hands released bars to other programs as files, and takes in those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.calendar.window import Instant, window_of
from seamless_assets.core.coverage.declaration import evidence_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, choose
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.sla import UNBOUNDED
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExportCorrupt, InvalidInput
from seamless_assets.flows.reading.read import read
from seamless_assets.pipeline.base import AsyncBase, require_truth

if TYPE_CHECKING:
    from seamless_assets.core.exports import forms
    from seamless_assets.core.exports import options as export_options
    from seamless_assets.core.exports import sidecar as sidecars
    from seamless_assets.core.imports import bars as importing
    from seamless_assets.core.imports import columns as layouts
    from seamless_assets.core.imports import frames
    from seamless_assets.core.imports import rows as rows_read
    from seamless_assets.flows.importing import ingest as ingesting
    from seamless_assets.flows.importing import plan as plans
    from seamless_assets.pipeline.wiring import files
else:
    # Most who read write no files and take none in.
    forms = LateModule("seamless_assets.core.exports.forms")
    export_options = LateModule("seamless_assets.core.exports.options")
    sidecars = LateModule("seamless_assets.core.exports.sidecar")
    importing = LateModule("seamless_assets.core.imports.bars")
    layouts = LateModule("seamless_assets.core.imports.columns")
    frames = LateModule("seamless_assets.core.imports.frames")
    rows_read = LateModule("seamless_assets.core.imports.rows")
    ingesting = LateModule("seamless_assets.flows.importing.ingest")
    plans = LateModule("seamless_assets.flows.importing.plan")
    files = LateModule("seamless_assets.pipeline.wiring.files")

Named = str | PathLike[str]
REFUSE, CONFIRM = "refuse", "confirm"


class Files(AsyncBase):
    """Methods that write files for other programs and prove them, and import those of others."""

    async def export(
        self,
        node: str | NodeId,
        path: Named,
        start: Instant = None,
        end: Instant = None,
        *,
        form: str | None = None,
        as_of: Instant = None,
        overwrite: bool = False,
        decimals: Sequence[int] | None = None,
        compression: str | None = None,
        encodings: Mapping[str, str] | None = None,
    ) -> files.ExportReport:
        """Write released bars as files of another program, with a sidecar that names and proves them.

        `path` is the file for the forms csv, parquet, feather (None: by its ending) and backtesting, and the
        data folder of the other program for freqtrade (its folder of the exchange), lean and nautilus. Bars
        are those of the newest release or of `as_of`. `decimals` are those of an instrument's prices and
        sizes, for nautilus; None: as many as the bars have. `compression` (zstd, snappy, lz4, gzip, none) and
        `encodings` by column (PLAIN, BYTE_STREAM_SPLIT, RLE_DICTIONARY, and DELTA_BINARY_PACKED of `ts`) are
        for parquet; None: as artifacts have them. Raises `InvalidInput` where a file is there and is not to
        be overwritten and where an option is not one of the form, and what `read` raises.
        """
        options = export_options.ExportOptions.parse(decimals, compression, encodings)
        parsed, target = NodeId.parse(node), _path(path)
        require_truth(overwrite, "overwrite")
        chosen = forms.choose_form(form, target.name)
        forms.refuse_other_options(chosen, options.given())
        context = None if as_of is None else ComputeContext(as_of=as_of)
        request = ReadRequest.parse(parsed, start, end, context=context, default_sla=UNBOUNDED)
        bars = await self._do(lambda ports: read(ports, request))
        return await asyncio.to_thread(files.write_files, parsed, bars, chosen, target, overwrite, options)

    async def verify_export(self, path: Named) -> sidecars.Sidecar:
        """Prove exported files by their sidecar, and both by the release that they are from.

        Raises `ExportCorrupt`, and what `read` raises where that release is not to be had.
        """
        sidecar = await asyncio.to_thread(verify_export, path)
        context = ComputeContext(as_of=sidecar.as_of)
        request = ReadRequest.parse(
            sidecar.node_id, sidecar.start, sidecar.end, context=context, default_sla=UNBOUNDED
        )
        released = await self._do(lambda ports: read(ports, request))
        again = sidecars.sidecar_of(released, sidecar.form, {})
        facts = [name for name in sidecars.Sidecar.__struct_fields__ if name != "files"]
        if differing := [name for name in facts if getattr(again, name) != getattr(sidecar, name)]:
            raise ExportCorrupt(
                f"{path} is not what was released as of {sidecar.as_of}: {', '.join(differing)} differ",
                path=str(path),
            )
        return sidecar

    async def ingest(
        self,
        data: Any,
        node: str | NodeId,
        start: Instant = None,
        end: Instant = None,
        *,
        rename: Mapping[Any, str] | None = None,
        tz: Any = None,
        time_format: str | None = None,
        trades: bool = False,
        complete: bool = False,
        revisions: Literal["refuse", "confirm"] = "refuse",
        dry_run: bool = False,
        by: str | None = None,
        note: str = "",
    ) -> ingesting.ImportReport:
        """Import bars of a frame or of files, and release them: all partitions in one record, or nothing.

        `data` is a pandas, polars or Arrow frame, a file, a pattern such as `data/*.zip`, or a list of these
        names: CSV, Parquet, feather, JSON, also in zip or gzip. `rename` says which column is which, `tz` is
        the zone of times that come without one, `time_format` the form of dates such as 20250101
        (`%Y%m%d`), `trades`: bars are made from trades. `start` and `end`, both or none, bound what is
        imported and what the files are whole for; without them that is from the first bar to the last, and
        of trades what lies between these. Bars that are not there are missing, unless the files are
        `complete`: nobody traded then, which is recorded as declared, by `by` with `note`. Bars that are
        known by other values are refused unless `revisions="confirm"`. `dry_run` says what would change.

        Raises `ImportRefused` for what cannot be bars of the node, `RevisionsUnconfirmed`, `InvalidInput`,
        `ReleasePinned` and `StoreError`; nothing is imported then. A partition that fails its checks is
        sealed and waits for a release by hand; `problems` says why.
        """
        known = self._declared(node)
        for name, switch in {"trades": trades, "complete": complete, "dry_run": dry_run}.items():
            require_truth(switch, name)
        if (start is None) != (end is None):
            raise InvalidInput(
                "give start and end of what the files are about, or neither", value=(start, end)
            )
        window = None if start is None else window_of(start, end).whole_bars(known.timeframe.grid)
        options = rows_read.ReadingOptions(tz, time_format, trades, window)
        is_confirmed = choose(revisions, (REFUSE, CONFIRM), "revisions") == CONFIRM
        who = self.ports.worker.replace(":", "-") if by is None else by
        evidence_of("import", note, who)
        policy = self.ports.policy
        imported = await asyncio.to_thread(_imported, data, known, options, rename or {}, policy)
        request = plans.IngestRequest(imported, complete, is_confirmed, dry_run, who, note.strip())
        return await self._do(lambda ports: ingesting.ingest(ports, known, request))


def _imported(
    data: Any, node: NodeId, options: rows_read.ReadingOptions, rename: Mapping[Any, str], policy: Policy
) -> importing.ImportedBars:
    layout = layouts.TRADES if options.is_trades else layouts.CANDLES
    if isinstance(data, str | PathLike):
        rows = files.read_rows([data], layout, rename)
    elif isinstance(data, Sequence) and all(isinstance(one, str | PathLike) for one in data):
        rows = files.read_rows([fspath(one) for one in data], layout, rename)
    else:
        rows = [frames.rows_of_frame(data, layout, rename)]
    drops_flat_bars = node.exchange in policy.drops_flat_bars
    return importing.imported_bars(node, rows, options, policy.severities, drops_flat_bars=drops_flat_bars)


def verify_export(path: Named) -> sidecars.Sidecar:
    """Prove exported files by their sidecar alone; `path` is the sidecar or a file that has one beside it.

    Raises `ExportCorrupt`, and `InvalidInput` where there is no sidecar.
    """
    return files.verify_files(_path(path))


def _path(given: Any) -> Path:
    if not isinstance(given, str | PathLike):
        raise InvalidInput(f"path is {given!r:.100}; give the name of a file or folder", value=given)
    return Path(given)
