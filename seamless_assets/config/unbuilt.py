"""Keys of the blueprint that nothing acts on yet.

Each is taken with its default, the blueprint's own value, so that the blueprint's file loads; any other is
refused, because it would change nothing. Whoever builds what a key is about takes it out of here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from seamless_assets.config.document.places import Place

_KEYS = {
    "seamless.backfill": ("mode",),
    "seamless.observability": (
        "backfill_completion_ratio_min",
        "storage_wait_warn_ms",
        "backfill_wait_warn_ms",
    ),
}


def given_unbuilt(settings: BaseModel) -> Iterator[tuple[Place, bool]]:
    """The keys among them that were given, and whether with the value they may have."""
    for path, keys in _KEYS.items():
        place: Place = tuple(path.split("."))
        section = settings
        for part in place:
            section = getattr(section, str(part))
        for key in keys:
            if key in section.model_fields_set:
                is_default = getattr(section, key) == type(section).model_fields[key].default
                yield (*place, key), is_default
