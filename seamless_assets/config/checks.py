"""What a value of the configuration must look like, and how to say so in plain words."""

from __future__ import annotations

import importlib.util
import os.path
import re
import string
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationInfo
from pydantic_core import ErrorDetails

from seamless_assets.core.calendar.timeframe import Timeframe

SQLITE = "sqlite:///"
_CONCEALED = re.compile(r"dsn|url|uri|proxy|redis|key|secret|password|uid|options")
_SYMBOL = re.compile(r"[^/:\s]+/[^/:\s]+(:[^/\s]+)?")
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list, such as [a, b]",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
    "finite_number": "a finite number",
}


class Dsn(str):
    """An address that shows no password when it is printed as part of something; `masked` is for logs."""

    __slots__ = ()

    @property
    def masked(self) -> str:
        """The address with its user and password replaced."""
        return re.sub(r"//[^/@]*@", "//***@", self)

    def __repr__(self) -> str:
        return repr(self.masked)


def number(value: Any) -> Any:
    """A number that came as text (out of the environment) as a number; all else unchanged."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def truth(value: Any) -> Any:
    """`true` and `false` that came as text as booleans; all else unchanged."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def address(value: Any, schemes: tuple[str, ...], needs: str = "a host") -> Dsn:
    """A URL of one of `schemes` with a host and, if any, a possible port. Raises `ValueError`."""
    forms = " or ".join(f"{scheme}://" for scheme in schemes)
    if not isinstance(value, str):
        raise ValueError(f"must be an address that starts with {forms}")
    scheme, separator, _ = value.partition("://")
    if not separator:
        raise ValueError(f"has no scheme; start it with {forms}")
    if scheme not in schemes:
        raise ValueError(f"has the unknown scheme {scheme}://; use {forms}")
    try:
        parts = urlsplit(value)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        reachable = False
    if not reachable:
        raise ValueError(f"does not name {needs} that can be reached; write it like {scheme}://name")
    return Dsn(value)


def folder(value: Any, info: ValidationInfo) -> Path:
    """An absolute folder; relative ones start at the folder of the configuration."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("must be a folder, such as ./data/state")
    return _absolute(str(value), info)


def object_store(value: Any, info: ValidationInfo) -> str:
    """`scheme://bucket/prefix` unchanged, or an absolute folder. Raises `ValueError`."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a folder or s3://bucket/prefix")
    scheme, separator, rest = value.partition("://")
    if not separator or (scheme == "file" and rest.startswith("/")):
        return str(_absolute(rest if separator else value, info))
    if scheme == "file":
        raise ValueError(f"file:// takes an absolute path; write the folder alone: {rest}")
    return address(value, ("s3", "gs", "az"), "a bucket")


def hot_store(value: Any, info: ValidationInfo) -> Dsn:
    """`questdb://host:port`, or `sqlite:///` and an absolute path. Raises `ValueError`."""
    if isinstance(value, str) and value.startswith("sqlite:"):
        name = value.removeprefix(SQLITE)
        if name in ("", ":memory:", value):
            raise ValueError("must name a file: sqlite:///./data/hot.sqlite")
        return Dsn(f"{SQLITE}{_absolute(name, info)}")
    try:
        return address(value, ("questdb",))
    except ValueError as error:
        raise ValueError(f"{error}, or sqlite:///./data/hot.sqlite") from error


def symbol(value: str) -> str:
    """A unified symbol of ccxt. Raises `ValueError`."""
    if not _SYMBOL.fullmatch(value) or not value.isprintable():
        raise ValueError(f"{value!r} is not a symbol; write it like BTC/USDT or BTC/USDT:USDT")
    if value.islower():
        raise ValueError(f"{value!r} is not a symbol; did you mean {value.upper()}?")
    return value


def timeframe_name(value: str) -> str:
    """The name of a timeframe, checked. Raises `InvalidTimeframe`."""
    return str(Timeframe(value))


def placeholders(template: str, allowed: Iterable[str], required: Iterable[str]) -> str:
    """A template that names every one of `required` and nothing beyond `allowed`. Raises `ValueError`."""
    allowed, required = sorted(allowed), sorted(required)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is not a template: {error}") from error
    names = [name for _, name, _, _ in parts if name is not None]
    if unknown := sorted(set(names) - set(allowed)):
        raise ValueError(f"{{{unknown[0]}}} is not known here; use {_braced(allowed)}")
    if any(form or conversion for _, _, form, conversion in parts):
        raise ValueError(f"{template!r}: placeholders take no format; write {{name}} alone")
    if missing := [name for name in required if name not in names]:
        raise ValueError(f"must hold {_braced(missing)} too")
    return template


def unknown_exchange(name: str) -> str | None:
    """What is wrong with an exchange's name; None for one that ccxt has, or where ccxt is not installed.

    ccxt itself is not imported: that takes a second, and its folder tells the names.
    """
    spec = importlib.util.find_spec("ccxt")
    if spec is None or not spec.submodule_search_locations:
        return None
    modules = Path(spec.submodule_search_locations[0], "async_support")
    known = sorted(module.stem for module in modules.glob("[a-z0-9]*.py"))
    if name in known:
        return None
    near = get_close_matches(name.lower(), known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"ccxt knows {', '.join(known)}"
    return f"{name!r} is no exchange of ccxt; {hint}"


def explain(error: ErrorDetails, known_keys: Iterable[str]) -> str:
    """A validation error in one plain sentence that repeats no secret."""
    kind, where = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {_nearest(where, known_keys)}"
    if kind == "value_error":
        return str(context["error"])
    shown = "" if _CONCEALED.search(where) else f", not {_brief(error['input'])}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"must be {' or '.join(choices)}{shown}{_guess(str(error['input']), choices)}"
    family = kind.removesuffix("_type").removesuffix("_from_float").removesuffix("_parsing")
    if family in _EXPECTED:
        return f"must be {_EXPECTED[family]}{shown}"
    return f"{error['msg'].removeprefix('Input ').replace('should', 'must')}{shown}"


def _absolute(path: str, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path())
    return Path(os.path.abspath(base / Path(path).expanduser()))


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(known)}"


def _guess(name: str, known: list[str]) -> str:
    folded = {choice.lower(): choice for choice in known}
    near = get_close_matches(name.lower(), folded, n=1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _braced(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)[:60]
