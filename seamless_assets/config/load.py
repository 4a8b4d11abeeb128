"""Settings: `seamless.yaml` and the environment, read and judged once, before anything starts.

Every problem is reported at once, with its line. This is the only room that looks at the environment.
Relative folders start at the folder of the file; `${VAR}` and `${VAR:-default}` work in every text.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seamless_assets.config.addresses import Dsn, http_url
from seamless_assets.config.document.places import MAX_PROBLEMS, Document, Place, Problem
from seamless_assets.config.document.reading import read_mapping, read_text, read_yaml
from seamless_assets.config.document.variables import refuse_unwritable, substitute
from seamless_assets.config.explain import explain, place_of, shown_place_of
from seamless_assets.config.rules import Rule, judge
from seamless_assets.config.sections import S3Settings, SeamlessSettings
from seamless_assets.config.settings import ExchangeSettings, NodeSettings, Settings
from seamless_assets.errors import ConfigError, InvalidInput, masked

__all__ = [
    "DEFAULT_FILE",
    "FILE_VARIABLE",
    "SMALLEST_YAML",
    "Dsn",
    "ExchangeSettings",
    "NodeSettings",
    "Problem",
    "S3Settings",
    "SeamlessSettings",
    "Settings",
    "environment_of",
    "is_file_there",
    "load_settings",
    "service_token",
    "service_url",
    "settings_from_mapping",
]

DEFAULT_FILE = "seamless.yaml"
FILE_VARIABLE = "SEAMLESS_CONFIG"
_TOKEN_VARIABLE = "SEAMLESS_TOKEN"  # noqa: S105
SMALLEST_YAML = """\
seamless:
  artifact: {object_store_uri: ./data/artifacts}
  hot_store: {dsn: sqlite:///./data/hot.sqlite}
exchanges:
  binance:
    symbols: ["BTC/USDT"]
    timeframes: ["1m"]
    start: 2025-01-01
"""
_ARTIFACT_FOLDER = "./data/artifacts"


def load_settings(path: str | os.PathLike[str] | None = None, *, rules: Iterable[Rule] = ()) -> Settings:
    """The settings of a file: `path`, else the file `SEAMLESS_CONFIG` names, else ./seamless.yaml.

    Their `file` is its absolute path, so that whoever is handed them can open the same file again. `rules`
    judge them beside those that hold always.

    Raises `ConfigError`, whose `problems` lists everything that is wrong with it.
    """
    named = (os.environ.get(FILE_VARIABLE) or DEFAULT_FILE) if path is None else path
    name = _path(named, "the file of the settings")
    absolute = Path(os.path.abspath(name))
    return settings_of(_read(absolute, name), absolute.parent, os.environ, absolute, rules)


def settings_from_mapping(
    mapping: Mapping[str, Any], base: str | os.PathLike[str] = ".", environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a mapping in the form of the file; relative folders start at `base`.

    `environ` stands in for the process's environment. Raises `ConfigError`.
    """
    if not isinstance(mapping, Mapping):
        raise _refused("settings", "must be a mapping of sections such as `seamless` and `exchanges`")
    document = read_mapping(mapping, "settings")
    folder = Path(os.path.abspath(_path(base, "base")))
    return settings_of(document, folder, os.environ if environ is None else environ)


def is_file_there() -> bool:
    """Whether the environment names the file of the settings, or this folder has one."""
    return bool(os.environ.get(FILE_VARIABLE)) or Path(DEFAULT_FILE).exists()


def service_url(url: str) -> str:
    """The URL of a service, checked. Raises `InvalidInput`."""
    try:
        return http_url(url)
    except ValueError as error:
        raise InvalidInput(f"{masked(url)} {error}", value=masked(url)) from error


def service_token() -> str | None:
    """The token that the environment holds for a service that is reached by its URL."""
    return os.environ.get(_TOKEN_VARIABLE) or None


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment, for another one that is to find the file of `settings`."""
    named = {FILE_VARIABLE: str(settings.file)} if settings.file else {}
    return {**os.environ, **named}


def _path(given: Any, meant: str) -> str:
    """A path that somebody gave. Raises `ConfigError` for what is none."""
    path = os.fsdecode(given) if isinstance(given, (str, os.PathLike)) else ""
    if not path or "\0" in path:
        raise _refused(meant, f"is not a path: {given!r:.80}")
    return path


def _read(file: Path, name: str) -> Document:
    """The document of `file`, which its problems call `name`."""
    try:
        return read_yaml(read_text(file), name)
    except FileNotFoundError:
        message = f"no such file; name one in {FILE_VARIABLE}, or create it with at least\n\n{SMALLEST_YAML}"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except ValueError as error:
        message = str(error)
    raise _refused(name, message)


def settings_of(
    document: Document,
    base: Path,
    environ: Mapping[str, str],
    file: Path | None = None,
    rules: Iterable[Rule] = (),
) -> Settings:
    """The settings that a document says. Raises `ConfigError` with everything that is wrong with it."""
    substitute(document, environ, optional="environment")
    _add_environment(document, environ)
    refuse_unwritable(document)
    settings = None if document.is_broken(()) else _validated(document, base, file)
    if settings is not None:
        judge(settings, document, rules)
    if settings is None or document.problems:
        raise _config_error(document.file, document.problems)
    return settings


def _add_environment(document: Document, environ: Mapping[str, str]) -> None:
    """Let the blueprint's environment variables fill what the file leaves open."""
    addresses = {
        "QMTL_SEAMLESS_COORDINATOR_URL": ("environment", "coordinator_url"),
        "QMTL_CCXT_RATE_LIMITER_REDIS": ("environment", "rate_limiter_redis"),
        "QMTL_SEAMLESS_ARTIFACT_DIR": ("seamless", "artifact", "object_store_uri"),
    }
    for variable, place in addresses.items():
        if environ.get(variable):
            document.put(place, environ[variable], variable)
    switch = "QMTL_SEAMLESS_ARTIFACTS"
    if environ.get(switch, "").lower() in ("1", "true", "yes", "on"):
        document.put(("seamless", "artifact", "object_store_uri"), _ARTIFACT_FOLDER, switch)


def _validated(document: Document, base: Path, file: Path | None) -> Settings | None:
    """The settings of what is sound in `document`, so that rules can judge the rest; None if hopeless."""
    context = {"base": base, "file": file, "now": time.time()}
    data = copy.deepcopy(document.data)
    try:
        return Settings.model_validate(data, context=context)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    for fault in faults[:MAX_PROBLEMS]:
        place = place_of(fault)
        if not document.is_broken(place):
            document.break_at(place, explain(fault), shown_place_of(fault))
    for place in sorted({place_of(fault) for fault in faults}, key=_removal_order):
        _remove(data, place)
    try:
        return Settings.model_validate(data, context=context)
    except ValidationError:
        return None


def _removal_order(place: Place) -> tuple[int, int]:
    """Deeper places first, and later items of a list before earlier ones."""
    return -len(place), -place[-1] if isinstance(place[-1], int) else 0


def _remove(data: dict[str, Any], place: Place) -> None:
    *above, last = place
    holder: Any = data
    for part in above:
        inner = holder.get(part) if isinstance(holder, dict) else holder[part]
        if inner is None:
            # A name alone, of what lacks keys that it must have: it goes as a whole.
            last = part
            break
        holder = inner
    if isinstance(holder, dict):
        holder.pop(last, None)
    else:
        del holder[last]


def _refused(name: str, message: str) -> ConfigError:
    return _config_error(name, [Problem(name, None, "", message)])


def _config_error(file: str, problems: list[Problem]) -> ConfigError:
    ordered = tuple(sorted(problems, key=lambda problem: problem.line or 0))
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    lines = "\n".join(f"  {problem}" for problem in ordered)
    more = "\n  and perhaps more, once these are mended" if len(ordered) >= MAX_PROBLEMS else ""
    return ConfigError(f"{file} has {count}:\n{lines}{more}", problems=ordered)
