"""What `dagster asset materialize` was asked for, so that its process builds no more than that."""

from __future__ import annotations

import re

import click
from dagster import AssetKey

_ONE_KEY = re.compile(r'(?:key:)?("?)(?P<key>[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*)\1')


def commanded_keys(module: str) -> frozenset[AssetKey] | None:
    """The keys that this process materializes of the definitions in `module`, as its command line names them.

    None for any other process, and for a selection that is more than a list of keys.
    """
    context = click.get_current_context(silent=True)
    parent = context.parent if context else None
    if context is None or parent is None or (parent.info_name, context.info_name) != ("asset", "materialize"):
        return None
    if context.params.get("module_name") != module:
        return None
    parts = str(context.params.get("select") or "").split(",")
    asked = [_ONE_KEY.fullmatch(part.strip()) for part in parts]
    if not all(asked):
        return None
    return frozenset(AssetKey(one["key"].split("/")) for one in asked if one)
