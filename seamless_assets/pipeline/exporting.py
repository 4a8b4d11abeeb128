"""The part of the face that hands released bars to other programs, as files."""

from __future__ import annotations

import asyncio
from os import PathLike
from pathlib import Path

from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.exports.forms import choose_form
from seamless_assets.core.exports.sidecar import Sidecar, sidecar_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.sla import UNBOUNDED
from seamless_assets.errors import ExportCorrupt
from seamless_assets.flows.reading.read import read
from seamless_assets.pipeline.base import AsyncBase
from seamless_assets.pipeline.wiring.exports import ExportReport, verify_files, write_files

Named = str | PathLike[str]


class Exporting(AsyncBase):
    """Methods that write files for other programs, and prove them."""

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
    ) -> ExportReport:
        """Write released bars as files of another program, with a sidecar that names and proves them.

        `path` is the file for the forms csv, parquet and feather (None: by its ending), and the data folder
        of the other program for freqtrade (its folder of the exchange) and lean. Bars are those of the newest
        release or of `as_of`. Raises `InvalidInput` where a file is there and is not to be overwritten, and
        what `read` raises.
        """
        parsed, target = NodeId.parse(node), Path(path)
        chosen = choose_form(form, target.name)
        context = None if as_of is None else ComputeContext(as_of=as_of)
        request = ReadRequest.parse(parsed, start, end, context=context, default_sla=UNBOUNDED)
        bars = await self._do(lambda ports: read(ports, request))
        return await asyncio.to_thread(write_files, parsed, bars, chosen, target, overwrite)

    async def verify_export(self, path: Named) -> Sidecar:
        """Prove exported files by their sidecar, and both by the release that they are from.

        Raises `ExportCorrupt`, and what `read` raises where that release is not to be had.
        """
        sidecar = await asyncio.to_thread(verify_export, path)
        context = ComputeContext(as_of=sidecar.as_of)
        request = ReadRequest.parse(
            sidecar.node_id, sidecar.start, sidecar.end, context=context, default_sla=UNBOUNDED
        )
        released = await self._do(lambda ports: read(ports, request))
        again = sidecar_of(released, sidecar.form, {})
        facts = [name for name in Sidecar.__struct_fields__ if name != "files"]
        if differing := [name for name in facts if getattr(again, name) != getattr(sidecar, name)]:
            raise ExportCorrupt(
                f"{path} is not what was released as of {sidecar.as_of}: {', '.join(differing)} differ",
                path=str(path),
            )
        return sidecar


def verify_export(path: Named) -> Sidecar:
    """Prove exported files by their sidecar alone; `path` is the sidecar or a file that has one beside it.

    Raises `ExportCorrupt`, and `InvalidInput` where there is no sidecar.
    """
    return verify_files(Path(path))
