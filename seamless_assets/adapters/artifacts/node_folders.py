"""Where the folder of a node is: under its name of today, or under a former one if it lies there already."""

from __future__ import annotations

from seamless_assets.adapters.artifacts.files import Files
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest, manifest_edition
from seamless_assets.core.releases.release import Release, record_number, record_path
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing


class NodeFolders:
    """Finds the folders of nodes below the root of `files`, named by `template`.

    Most nodes have one name. Of the others, whose former names differed from those of others in case alone,
    what the first version wrote is found and goes on where it is.
    """

    def __init__(self, files: Files, template: str) -> None:
        self._files, self._template = files, template
        self._found: dict[NodeId, str] = {}

    def known(self, node: NodeId) -> str:
        """The folder as far as it was looked for."""
        return self._found.get(node) or self._template.format(**node.path_values)

    def found(self, node: NodeId) -> str | None:
        """The folder, if it was looked for and is there."""
        return self._found.get(node)

    def possible(self, node: NodeId) -> frozenset[str]:
        """The folders of which one is the node's: that one where it was found, else all that could be."""
        found = self._found.get(node)
        names = node.path_values, node.former_path_values
        return frozenset([found] if found else [self._template.format(**values) for values in names])

    async def find(self, node: NodeId, *, is_written: bool = False) -> str:
        """The folder, below the root. Where `is_written`, it is from now on what it is now."""
        found = self._found.get(node)
        if found is None:
            name = self._template.format(**node.path_values)
            former = self._template.format(**node.former_path_values)
            found = name if name == former or await self._has_log(name) else None
            if found is None and await self._holds(former, node):
                found = former
            if found is None and not is_written:
                return name
            # Who looked at the same time may have been quicker, and has it from then on.
            found = self._found.setdefault(node, found or name)
        return found

    async def _has_log(self, folder: str) -> bool:
        return await self._read(f"{folder}/{record_path(1)}") is not None

    async def _holds(self, folder: str, node: NodeId) -> bool:
        """Whether a folder of a former name is the node's; where case does not count, it may be another's."""
        payload = await self._read(f"{folder}/{record_path(1)}")
        if payload is not None:
            try:
                return Release.from_json(payload, folder).node_id == str(node)
            except ArtifactCorrupt:
                # What may be the node's history is no place to start another from.
                return True
        below = len(folder) + 1
        paths = [file.path for file in await self._files.list_files(folder) if not file.is_leftover]
        if any(record_number(path[below:]) is not None for path in paths):
            return True
        manifests = [path for path in paths if manifest_edition(path[below:]) is not None]
        return any([await self._is_of(path, node) for path in manifests])

    async def _is_of(self, path: str, node: NodeId) -> bool:
        payload = await self._read(path)
        try:
            return payload is not None and Manifest.from_json(payload, path).node_id == str(node)
        except ArtifactCorrupt:
            return False

    async def _read(self, path: str) -> bytes | None:
        try:
            return await self._files.read(path)
        except ArtifactMissing:
            return None
