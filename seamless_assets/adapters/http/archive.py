"""An exchange's own archive: zips of a month or a day of candles below a base URL, with their checksums."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from urllib.parse import quote, urlsplit

import aiohttp
import pyarrow as pa

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.addresses import without_user
from seamless_assets.core.bars.table import between, join
from seamless_assets.core.calendar.partition import Partition, partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.coverage.ledger import MadeRange
from seamless_assets.core.imports.archived import ArchivedBars, file_evidence
from seamless_assets.core.imports.bars import imported_bars
from seamless_assets.core.imports.columns import CANDLES
from seamless_assets.core.imports.files import CHECKSUM, tables_of, verify_checksum
from seamless_assets.core.imports.rows import ReadingOptions, Rows, Source
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import ArchiveEvent, Event
from seamless_assets.errors import ImportRefused

TIMEOUT_S, CONNECT_S = 120.0, 10.0
"""Seconds for a whole file, and until somebody is there who may send it."""
MAX_BYTES = 512 * 2**20
"""A month of seconds takes a fifth of it."""
MAX_FILES = 64
MAX_HELD_BYTES = 256 * 2**20
"""Of the bars that are kept; two months of seconds."""
ABSENT_FOR_S = 600.0
"""So long a file that could not be had is not asked for again, nor an archive that is away for any."""
FILES_AT_ONCE_S = 3_600.0
NOT_THERE = (403, 404, 410)
"""How servers of files, and buckets, say that there is none."""


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """Where an exchange's archive lies: templates of the paths of its files below `base_url`.

    They name {id}, {base}, {quote}, {timeframe}, and {month} or {day}. `is_of_swaps`: it is of perpetual
    swaps, else of spot markets.
    """

    base_url: str
    monthly: str
    daily: str
    is_of_swaps: bool = False

    def serves(self, node: NodeId) -> bool:
        """Whether it may have the node's candles."""
        settle = node.symbol.partition(":")[2]
        return "-" not in settle and bool(settle) == self.is_of_swaps

    def url(self, node: NodeId, partition: Partition, template: str) -> str:
        """The address of the file of a month or a day, whose key is the partition's."""
        base, _, rest = node.symbol.partition("/")
        pair = rest.partition(":")[0]
        named = {
            "id": base + pair,
            "base": base,
            "quote": pair,
            "timeframe": str(node.timeframe).replace("M", "mo"),
            "month": partition.key,
            "day": partition.key,
        }
        path = template.format_map({name: quote(value, safe="") for name, value in named.items()})
        return f"{self.base_url.rstrip('/')}/{path}"


@dataclass(frozen=True, slots=True)
class _File:
    """The bars of a file, and what is kept of it as evidence."""

    bars: pa.Table
    evidence: str


class HttpArchives:
    """The archives of exchanges, by their names.

    Files are kept in memory, the last ones asked for: `MAX_FILES` and `MAX_HELD_BYTES` of them, one at least.

    A file that cannot be had or does not hold what it should is as if it were not there; `notify` is told.
    An archive that cannot be reached, or is silent, is asked for nothing for `ABSENT_FOR_S`.
    Of the exchanges that `drops_flat_bars` names, flat bars without volume are none.
    """

    def __init__(
        self,
        places: Mapping[str, ArchivePlace],
        severities: Mapping[str, str],
        drops_flat_bars: Collection[str],
        now: Callable[[], float],
        notify: Callable[[Event], None],
    ) -> None:
        self._places, self._severities, self._drops_flat_bars = places, severities, drops_flat_bars
        self._now, self._notify = now, notify
        self._flights = SingleFlight(now, FILES_AT_ONCE_S)
        self._files: OrderedDict[str, tuple[_File | None, float]] = OrderedDict()
        self._away_until: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None

    async def load_bars(self, node: NodeId, window: Segment, closed: int) -> ArchivedBars:
        """Bars that open in `window` and that files of months or days hold that end by `closed`."""
        place = self._places.get(node.exchange)
        held = list[tuple[Segment, _File]]()
        if place is not None and place.serves(node):
            held = [found async for found in self._files_of(place, node, window, closed)]
        return ArchivedBars(
            join([between(file.bars, *window) for _, file in held]),
            tuple(MadeRange(*part.intersect(window), file.evidence) for part, file in held),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _files_of(
        self, place: ArchivePlace, node: NodeId, window: Segment, closed: int
    ) -> AsyncIterator[tuple[Segment, _File]]:
        for month in partitions(node.timeframe, "month", window):
            file = None
            if month.window.end <= closed:
                file = await self._file(node, month, place.url(node, month, place.monthly))
            if file is not None:
                yield month.window, file
                continue
            for day in partitions(node.timeframe, "day", month.window.intersect(window)):
                if day.window.end <= closed:
                    file = await self._file(node, day, place.url(node, day, place.daily))
                    if file is not None:
                        yield day.window, file

    async def _file(self, node: NodeId, partition: Partition, url: str) -> _File | None:
        known = self._files.get(url)
        if known is not None and (known[0] is not None or self._now() < known[1]):
            self._files.move_to_end(url)
            return known[0]
        if self._now() < self._away_until.get(node.exchange, -inf):
            return None
        return await self._flights.do(url, lambda: self._fetched(node, partition, url))

    async def _fetched(self, node: NodeId, partition: Partition, url: str) -> _File | None:
        file = None
        try:
            file = await self._downloaded(node, partition, url)
        except (aiohttp.ClientError, TimeoutError, OSError, ImportRefused) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, (aiohttp.ClientConnectionError, TimeoutError)):
                # Each day of the month would be waited for as long.
                self._away_until[node.exchange] = self._now() + ABSENT_FOR_S
                reason = f"{reason}; the archive is asked for nothing for {ABSENT_FOR_S:g} s"
            self._notify(ArchiveEvent("refused", str(node), without_user(url), reason=reason))
        self._keep(url, file)
        return file

    def _keep(self, url: str, file: _File | None) -> None:
        self._files[url] = file, self._now() + ABSENT_FOR_S
        self._files.move_to_end(url)
        held = sum(one.bars.nbytes for one, _ in self._files.values() if one is not None)
        while len(self._files) > 1 and (len(self._files) > MAX_FILES or held > MAX_HELD_BYTES):
            gone, _ = self._files.popitem(last=False)[1]
            held -= gone.bars.nbytes if gone is not None else 0

    async def _downloaded(self, node: NodeId, partition: Partition, url: str) -> _File | None:
        payload = await self._get(url)
        if payload is None:
            return None
        checksum = await self._get(url + CHECKSUM)
        name = urlsplit(url).path.rpartition("/")[2]
        # A month of seconds takes seconds to unpack and to read, which the loop must not wait for.
        file = await asyncio.to_thread(self._unpacked, node, partition, name, payload, checksum)
        self._notify(ArchiveEvent("loaded", str(node), without_user(url), rows=file.bars.num_rows))
        return file

    def _unpacked(
        self, node: NodeId, partition: Partition, name: str, payload: bytes, checksum: bytes | None
    ) -> _File:
        """What a file holds. Raises `ImportRefused`."""
        if checksum is not None:
            verify_checksum(name, payload, checksum)
        source = Source(name, sha256_text(payload), len(payload))
        rows = [Rows(source, where, table) for where, table in tables_of(name, payload, CANDLES, {})]
        made = imported_bars(
            node,
            rows,
            ReadingOptions(window=partition.window),
            self._severities,
            drops_flat_bars=node.exchange in self._drops_flat_bars,
        )
        if made.left_out:
            raise ImportRefused(f"{name} holds bars of other times than its name says", path=name)
        return _File(made.bars, file_evidence(source, is_checked=checksum is not None))

    async def _get(self, url: str) -> bytes | None:
        """What lies there; None where nothing does."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
            )
        async with self._session.get(url) as answer:
            if answer.status in NOT_THERE:
                return None
            answer.raise_for_status()
            held = bytearray()
            async for part in answer.content.iter_chunked(2**20):
                held += part
                if len(held) > MAX_BYTES:
                    raise ImportRefused(f"{without_user(url)} is larger than {MAX_BYTES >> 20} MiB")
            return bytes(held)
