"""What a value of the configuration must look like."""

from __future__ import annotations

import importlib.util
import os
import re
import string
import time
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr, ValidationInfo

from seamless_assets.config import addresses
from seamless_assets.config.addresses import Dsn
from seamless_assets.core.calendar.instant import OLDEST_MARKET, epoch_seconds
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.core.worlds.webhook import signing_key

SQLITE = "sqlite:///"
LONGEST_TEXT = 200
LONGEST_NAME, LONGEST_PATH = 255, 4_000
"""Bytes of a file's name and of a path that every file system of today takes."""
LONGEST_NUMBER = 64
SLOWEST_RPS = 0.0001
_LONGEST_BAR_S = 366 * 86_400
_SYMBOL = re.compile(r"[^/:\s]+/[^/:\s]+(:[^/\s]+)?")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_=.,+{} -]+", re.ASCII)


def number(value: Any) -> Any:
    """A number that came as text (out of the environment) as a number; all else unchanged."""
    if not isinstance(value, str) or isinstance(value, Timeframe):
        return value
    if len(value) > LONGEST_NUMBER:
        raise ValueError(f"must be a number, not a text of {len(value)} characters")
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def truth(value: Any) -> Any:
    """`true` and `false` that came as text as booleans; all else unchanged."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def text(value: str) -> str:
    """A text of one line. Raises `ValueError`."""
    if not value.isprintable():
        raise ValueError("holds a line break or a control character; write one line of plain text")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"is longer than {LONGEST_TEXT} characters")
    return value


def header(value: SecretStr) -> SecretStr:
    """A secret that travels in a header. Raises `ValueError`."""
    if not value.get_secret_value().isprintable():
        raise ValueError("holds a line break or a control character; is there one at its end?")
    return value


def signing_secret(value: SecretStr) -> SecretStr:
    """A secret that messages can be signed with. Raises `ValueError`, which does not tell it."""
    signing_key(value.get_secret_value())
    return value


def folder(value: Any, info: ValidationInfo) -> Path:
    """An absolute folder; relative ones start at the folder of the configuration. Raises `ValueError`."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("must be a folder, such as ./data/state")
    return _folder(str(value), info)


def file(value: Any, info: ValidationInfo) -> Path:
    """The absolute path of a file. Raises `ValueError`."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("must be a file, such as ./certificates/ca.pem")
    return _absolute(str(value), info)


def object_store(value: Any, info: ValidationInfo) -> str:
    """`scheme://bucket/prefix` unchanged, or an absolute folder. Raises `ValueError`."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("must be a folder or s3://bucket/prefix")
    text = str(value)
    scheme, separator, rest = text.partition("://")
    if not separator and re.match(r"(s3|gs|az|file):", text):
        raise ValueError("has a scheme with fewer than two slashes; write s3://bucket/prefix")
    if not separator or (scheme == "file" and rest.startswith("/")):
        return str(_folder(rest if separator else text, info))
    if scheme == "file":
        raise ValueError("file:// takes an absolute path; write the folder alone, such as ./data/artifacts")
    return addresses.bucket_url(text)


def hot_store(value: Any, info: ValidationInfo) -> Dsn:
    """`questdb://host:port`, or `sqlite:///` and an absolute path. Raises `ValueError`."""
    if isinstance(value, str) and value.startswith("sqlite:"):
        name = value.removeprefix(SQLITE)
        if name in ("", ":memory:", value) or name.endswith("/"):
            raise ValueError("must name a file: sqlite:///./data/hot.sqlite")
        if "?" in name or "#" in name:
            raise ValueError("takes a path alone; remove what begins with ? or #")
        path = _absolute(name, info)
        if _is_folder(path):
            raise ValueError("names a folder; name a file in it: sqlite:///./data/hot.sqlite")
        _folder(str(path.parent), info)
        return Dsn(f"{SQLITE}{path}")
    try:
        return addresses.questdb_url(value)
    except ValueError as error:
        raise ValueError(f"{error}, or sqlite:///./data/hot.sqlite") from error


def symbol(value: str) -> str:
    """A unified symbol of ccxt. Raises `ValueError`."""
    if not _SYMBOL.fullmatch(value) or not value.isprintable():
        raise ValueError(f"{value[:60]!r} is not a symbol; write it like BTC/USDT or BTC/USDT:USDT")
    if value.islower():
        raise ValueError(f"{value[:60]!r} is not a symbol; did you mean {value[:60].upper()}?")
    if len(quote(value, safe="")) > LONGEST_TEXT:
        raise ValueError(f"{value[:60]!r} and so on is too long for the name of a folder")
    return value


def node(value: Any) -> NodeId:
    """The id of a node. Raises `ValueError`."""
    parsed = NodeId.parse(value)
    timeframe(parsed.timeframe)
    symbol(parsed.symbol)
    return parsed


def timeframe(value: Any) -> Timeframe:
    """A timeframe of at most a year. Raises `ValueError`."""
    parsed = Timeframe.parse(value)
    if parsed.approximate_seconds > _LONGEST_BAR_S:
        raise ValueError(f"{parsed} is longer than a year, the longest partition; use shorter bars")
    return parsed


def timeframe_name(value: str) -> str:
    """The name of a timeframe, checked. Raises `ValueError`."""
    return str(timeframe(value))


def start(value: Any, info: ValidationInfo) -> int:
    """Epoch seconds of the first day wanted. Raises `ValueError`."""
    seconds = epoch_seconds(value, "start")
    now = (info.context or {}).get("now", time.time())
    if seconds < OLDEST_MARKET:
        raise ValueError(f"{value} lies before any market; write a date like 2025-01-01")
    if seconds > now + 86_400:
        raise ValueError(f"{value} lies in the future; start is the day of the first bars to fetch")
    return seconds


def joint(value: Any) -> int:
    """Epoch seconds at which a symbol became another. Raises `ValueError`."""
    seconds = epoch_seconds(value, "to")
    if seconds < OLDEST_MARKET:
        raise ValueError(f"{value} lies before any market; write a date like 2024-09-10")
    return seconds


def pace(value: float) -> float:
    """Requests a second that are worth waiting for. Raises `ValueError`."""
    if value < SLOWEST_RPS:
        raise ValueError(f"is fewer than one request in {1 / SLOWEST_RPS:.0f} s; nothing would be fetched")
    return value


def placeholders(template: str, allowed: Iterable[str], required: Iterable[str]) -> str:
    """A template that names every one of `required` and nothing beyond `allowed`. Raises `ValueError`."""
    allowed, required = sorted(allowed), sorted(required)
    try:
        parts = list(string.Formatter().parse(text(template)))
    except ValueError as error:
        raise ValueError(f"{template[:60]!r} is not a template: {error}") from error
    names = [name for _, name, _, _ in parts if name is not None]
    if unknown := sorted(set(names) - set(allowed)):
        raise ValueError(f"{{{unknown[0]}}} is not known here; use {_braced(allowed)}")
    if any(form or conversion for _, _, form, conversion in parts):
        raise ValueError(f"{template!r}: placeholders take no format; write {{name}} alone")
    if missing := [name for name in required if name not in names]:
        raise ValueError(f"must hold {_braced(missing)} too")
    return template


def folders(template: str) -> str:
    """A template that is a relative path, one placeholder a folder. Raises `ValueError`."""
    parts = template.split("/")
    if any(part in ("", ".", "..") or part.count("{") > 1 for part in parts):
        raise ValueError("must be folders joined by /, each with at most one placeholder, no / at the ends")
    if not all(_FOLDER_NAME.fullmatch(part) for part in parts):
        raise ValueError("must hold letters, digits and _ = . , + - alone, so that every store takes it")
    return template


def the_form_of(form: str) -> Callable[[str], str]:
    """A check that takes `form` alone."""

    def judge(value: str) -> str:
        if value != form:
            raise ValueError(f"node ids have one form, {form}; remove this line")
        return value

    return judge


def nearest(name: str, known: Iterable[str]) -> str:
    """What was meant by a name that is not known."""
    known = sorted(known)
    near = get_close_matches(name[:60], known, n=1)
    return f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(known)}"


def unknown_exchange(name: str) -> str | None:
    """What is wrong with an exchange's name; None for one that ccxt has, or where ccxt is not installed."""
    known = _exchanges()
    if not known or name in known:
        return None
    near = get_close_matches(name[:60].lower(), known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"ccxt knows {', '.join(known)}"
    return f"{name[:60]!r} is no exchange of ccxt; {hint}"


@cache
def _exchanges() -> tuple[str, ...]:
    """Names of ccxt's exchanges. It is not imported: that takes a second, and its folder tells the names."""
    spec = importlib.util.find_spec("ccxt")
    if spec is None or not spec.submodule_search_locations:
        return ()
    modules = Path(spec.submodule_search_locations[0], "async_support")
    return tuple(sorted(module.stem for module in modules.glob("[a-z0-9]*.py")))


def _absolute(path: str, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path())
    try:
        whole = os.path.abspath(base / Path(path).expanduser())
    except RuntimeError as error:
        raise ValueError("begins with ~ and a user that is not known here; write the whole path") from error
    if len(os.fsencode(whole)) > LONGEST_PATH or any(
        len(os.fsencode(part)) > LONGEST_NAME for part in whole.split("/")
    ):
        raise ValueError("is too long for a path; write a shorter one")
    return Path(whole)


def _folder(path: str, info: ValidationInfo) -> Path:
    whole = _absolute(path, info)
    for above in (whole, *whole.parents):
        if os.path.lexists(above):
            if not _is_folder(above):
                raise ValueError(f"cannot be a folder: {above} is a file; name another place")
            break
    return whole


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Who may not look finds out when the folder is used.
        return True


def _braced(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
