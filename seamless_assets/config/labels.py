"""What Dagster shows of assets beside them: groups, owners and tags, in the forms that it takes."""

from __future__ import annotations

import re

_GROUP = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_OWNER = re.compile(r"team:\S+|[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}", re.ASCII)
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}", re.ASCII)
_TAKEN = ("seamless/", "dagster/")


def group(value: str) -> str:
    """The name of a group of assets. Raises `ValueError`."""
    if not _GROUP.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a group; use letters, digits and underscores")
    return value


def owner(value: str) -> str:
    """An email address, or a team. Raises `ValueError`."""
    if not _OWNER.fullmatch(value) or not value.isprintable():
        raise ValueError(
            f"{value!r} is not an owner; write an email address, or team: and the name of a team"
        )
    return value


def tag_key(value: str) -> str:
    """The key of a tag. Raises `ValueError`."""
    if not _TAG_KEY.fullmatch(value):
        raise ValueError(
            f"{value!r} is not the key of a tag; write up to 63 letters, digits, _, - and ., and if wanted "
            "as many and a / before them"
        )
    if value.startswith(_TAKEN):
        raise ValueError(
            f"{value!r} begins with {value.partition('/')[0]}/, which is taken; begin it otherwise"
        )
    return value


def tag_value(value: str) -> str:
    """The value of a tag. Raises `ValueError`."""
    if not _TAG_VALUE.fullmatch(value):
        raise ValueError(f"{value!r} is not the value of a tag; write up to 63 letters, digits, _, - and .")
    return value
