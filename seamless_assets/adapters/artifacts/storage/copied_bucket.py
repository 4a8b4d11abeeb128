"""An object store whose files are kept on this machine once they were read or written here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from seamless_assets.adapters.artifacts.files import Take
from seamless_assets.adapters.artifacts.storage.bucket import BucketFiles, Signed
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError

T = TypeVar("T")
U = TypeVar("U")


class CopiedBucket(BucketFiles):
    """Files of an object store with copies in a folder; a copy is served while the object's signature is its.

    An object that was altered or removed is so noticed, as `load` asks for the signatures of what it has.
    """

    def __init__(self, root: str, options: Mapping[str, Any], copies: CopyFolder) -> None:
        super().__init__(root, options)
        self._copies = copies

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Copy what was just written there, as far as there is room.

        A bucket that cannot be asked meanwhile is no error: what is written is written, copied or not.
        """
        try:
            signatures = await self.signatures([path for path, _ in written])
        except ArtifactStoreError:
            return
        signed = [Signed(payload, known) for (_, payload), known in zip(written, signatures, strict=True)]
        # What nobody has read yet does not drive out what somebody did.
        self._keep([path for path, _ in written], signed, may_evict=False)

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        """What `take`, and then `finish`, make of each group of files, in a thread. Raises like `read`.

        A file is copied once `take` has taken it, so that no copy is ever of bytes that it refused.
        """
        held = [path for paths in groups for path in paths if self._copies.holds(self._name(path))]
        return await self._load(partial(self._fetch_lacking, await self._known(held)), groups, take, finish)

    async def _known(self, held: Sequence[str]) -> dict[str, str]:
        """The signatures of files of which there are copies; of a file that cannot be asked for, none."""
        try:
            return dict(zip(held, await self.signatures(held), strict=True)) if held else {}
        except ArtifactMissing:
            raise
        except ArtifactStoreError:
            # Whether it can be had is for the sending to say.
            return {}

    async def _fetch_lacking(self, known: Mapping[str, str], paths: Sequence[str]) -> list[Signed]:
        copied = await asyncio.to_thread(self._copied, {path: known[path] for path in paths if path in known})
        lacking = [path for path in paths if path not in copied]
        both = copied | dict(zip(lacking, await self._fetch(lacking), strict=True))
        return [both[path] for path in paths]

    def _proven(self, paths: Sequence[str], found: Sequence[Signed]) -> None:
        """Copy the files that came from the bucket."""
        sent = [at for at, file in enumerate(found) if not file.is_copy]
        self._keep([paths[at] for at in sent], [found[at] for at in sent], may_evict=True)

    def _copied(self, signatures: Mapping[str, str]) -> dict[str, Signed]:
        """The files of which there are copies that have these signatures."""
        found = {}
        for path, signature in signatures.items():
            known, _, payload = (self._copies.load(self._name(path)) or b"").partition(b"\n")
            if known.decode(errors="replace") == signature:
                found[path] = Signed(payload, signature, is_copy=True)
        return found

    def _keep(self, paths: Sequence[str], signed: Sequence[Signed], *, may_evict: bool) -> None:
        bodies = [partial(b"\n".join, (file.signature.encode(), file.payload)) for file in signed]
        names = [self._name(path) for path in paths]
        self._copies.keep_soon(list(zip(names, bodies, strict=True)), may_evict=may_evict)

    def _name(self, path: str) -> str:
        return f"{hashlib.sha256(self.uri(path).encode()).hexdigest()}.file"
