"""Instructions that stand where nothing reads them: on the asset or the op that takes an input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seamless_assets.defs.inputs.instructions import PREFIX, is_instruction
from seamless_assets.defs.names import NODE_ID_METADATA, NODE_TAGS
from seamless_assets.errors import InvalidInput


def refuse_misplaced(step: Any) -> None:
    """Raise `InvalidInput` for a name under `seamless/` in the metadata or tags of what a step makes.

    None of it says which of several inputs it is for.
    """
    for name, where in _names(step):
        if is_instruction(name):
            raise InvalidInput(
                f"{name} stands in the {where}, where nothing reads it; say it in the metadata of the input "
                f"(AssetIn(..., metadata={{...}})), or in the run's tags, under {PREFIX}",
                value=name,
            )


def _names(step: Any) -> Iterator[tuple[str, str]]:
    """Names in metadata and tags, each with where it stands, but for those that mean something there."""
    if step is None:
        return
    yield from ((name, f"tags of the op {step.op.name}") for name in step.op.tags)
    for spec in step.assets_def.specs if step.assets_def is not None else ():
        shown = spec.key.to_user_string()
        yield from ((name, f"metadata of {shown}") for name in spec.metadata if name != NODE_ID_METADATA)
        yield from ((name, f"tags of {shown}") for name in spec.tags if name not in NODE_TAGS)
