"""Errors as problem details (RFC 9457), and back: the kind by its name, the facts as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import MsgspecError, Struct, to_builtins
from msgspec.json import decode, encode

from seamless_assets import errors
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.errors import SeamlessError

PROBLEM_TYPE = "application/problem+json"


class Problem(Struct):
    """Problem details: `error` is the name of an error of `errors.py`, `facts` its attributes."""

    title: str
    status: int
    detail: str
    error: str
    facts: dict[str, Any] = {}
    type: str = "about:blank"


def problem_of(error: SeamlessError, status: int) -> Problem:
    """What the service answers where `error` is raised."""
    name = type(error).__name__
    summary = (type(error).__doc__ or name).split("\n")[0].rstrip(".")
    facts = {key: plain(value) for key, value in error.facts.items()}
    return Problem(title=summary, status=status, detail=str(error), error=name, facts=facts)


def problem_json(error: SeamlessError, status: int) -> bytes:
    """The same as JSON."""
    return encode(problem_of(error, status))


def error_of(payload: bytes) -> SeamlessError:
    """The error of an answer's body. Raises `ValueError` where it is no problem that this version knows."""
    try:
        problem = decode(payload, type=Problem)
    except (MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    kind = vars(errors).get(problem.error)
    if not (isinstance(kind, type) and issubclass(kind, SeamlessError)):
        raise ValueError(f"{problem.error[:100]!r} is no error of this version")
    try:
        return kind(problem.detail, **_facts(problem.facts))
    except TypeError as error:
        raise ValueError(f"the facts of {problem.error} are none of this version: {error}") from error


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has no form for as its text."""
    return to_builtins(value, str_keys=True, enc_hook=str)


def _facts(raw: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: _frozen(value) for key, value in raw.items() if key.isidentifier()}
    if (gaps := facts.get("gaps")) and all(isinstance(gap, tuple) and len(gap) == 3 for gap in gaps):
        facts["gaps"] = tuple(Gap(*gap) for gap in gaps)
    return facts


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
