"""Frames that were read and may be read again, under keys that name all that two of them may differ by."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from string import Formatter
from typing import NamedTuple

from cachetools import LRUCache, TTLCache

from seamless_assets.core.reading.gathered import Gathered

MAX_BYTES = 256_000_000
"""What is kept where nobody says how much: ten years of minutes."""
GAP_BYTES = 160
"""About what a gap takes of memory."""
DEFAULT_TEMPLATE = "{node_id}:{start}:{end}:{interval}:{conf_ver}:{world_id}:{as_of}"


class CacheKey(NamedTuple):
    """What a frame is of, and who may see it."""

    node_id: str
    start: int
    end: int
    interval: int | str
    conformance_version: str
    world_id: str
    domain: str
    as_of: str
    dataset_fingerprint: str

    def text(self, template: str = DEFAULT_TEMPLATE) -> str:
        """The key as `template` writes it, domain and fingerprint behind it where it leaves them out.

        Each value stands behind its length, so that no value can pass for two.
        """
        return _text_of(self, template)


@lru_cache(4_096)
def _text_of(key: CacheKey, template: str) -> str:
    parts: list[str] = []
    for literal, field in _parts_of(template):
        value = str(getattr(key, field)) if field else ""
        parts += (literal, str(len(value)), "#", value) if field else (literal,)
    return "".join(parts)


_FIELDS = {"conf_ver": "conformance_version"}
"""The field of a placeholder that is named otherwise."""


@lru_cache(64)
def _parts_of(template: str) -> tuple[tuple[str, str], ...]:
    """The texts of a template, each with the field that stands behind it, if one does."""
    rest = [name for name in ("domain", "dataset_fingerprint") if f"{{{name}}}" not in template]
    whole = ":".join([template, *(f"{{{name}}}" for name in rest)])
    found = ((literal, name or "") for literal, name, _, _ in Formatter().parse(whole))
    return tuple((literal, _FIELDS.get(name, name)) for literal, name in found)


Shard = tuple[CacheKey, int, Gathered]
"""A frame under its key, kept in a numbered stay of its world in one domain."""


class ReadCache:
    """At most `max_shards` frames of `max_bytes`, none older than `ttl` seconds by `timer`.

    `timer` is a clock that is never set back. The least used goes first. A frame counts with all the memory
    that it keeps from being freed, which is that of the artifacts it was cut from.

    Only what releases alone answer is kept. It holds bars and what is known of their gaps, never a verdict:
    every hit is judged again. A world that reads in another domain than before begins anew.
    """

    def __init__(
        self,
        timer: Callable[[], float],
        ttl: float,
        max_shards: int,
        template: str = DEFAULT_TEMPLATE,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._template, self._max_shards = template, max_shards
        self._shards: TTLCache[str, Shard] = TTLCache(max_bytes, ttl, timer, _bytes_of)
        self._stays: LRUCache[str, tuple[str, int]] = LRUCache(max_shards)
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def held_bytes(self) -> int:
        """The memory that its frames keep from being freed."""
        return int(self._shards.currsize)

    def load(self, key: CacheKey) -> Gathered | None:
        """The frame under `key`, where it is kept and young enough."""
        stay = self._enter(key)
        try:
            shard = self._shards[key.text(self._template)]
        except KeyError:
            return None
        return shard[2] if shard[1] == stay else None

    def keep(self, key: CacheKey, gathered: Gathered) -> None:
        """Keep a frame, where releases alone answered it."""
        shard = (key, self._enter(key), gathered)
        if gathered.source != "artifacts" or _bytes_of(shard) > self._shards.maxsize:
            return
        text = key.text(self._template)
        self._shards.pop(text, None)
        while len(self._shards) >= self._max_shards:
            self._shards.popitem()
        self._shards[text] = shard

    def _enter(self, key: CacheKey) -> int:
        """The number of the world's stay in this domain; a new one where it read in another before."""
        stay = self._stays.get(key.world_id)
        if stay is None or stay[0] != key.domain:
            # Frames of a world that was itself forgotten have the number of an earlier stay.
            if stay is not None:
                self._forget(key.world_id)
            stay = self._stays[key.world_id] = key.domain, next(self._numbers)
        return stay[1]

    def _forget(self, world_id: str) -> None:
        left = [text for text, (held, _, _) in self._shards.items() if held.world_id == world_id]
        for text in left:
            self._shards.pop(text, None)


def _bytes_of(shard: Shard) -> int:
    _, _, gathered = shard
    return int(gathered.bars.get_total_buffer_size()) + GAP_BYTES * len(gathered.coverage.gaps)
