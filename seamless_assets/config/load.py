"""Settings: `seamless.yaml` and the environment, read and judged once, before anything starts.

Every problem is reported at once, with its line. This is the only room that looks at the environment.
Relative folders start at the folder of the file; `${VAR}` and `${VAR:-default}` work in every text.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from seamless_assets.config.checks import Dsn, explain
from seamless_assets.config.models import (
    ExchangeSettings,
    NodeSettings,
    S3Settings,
    SeamlessSettings,
    Settings,
)
from seamless_assets.config.rules import judge
from seamless_assets.config.yaml_places import Document, Place, Problem, read_mapping, read_yaml, substitute
from seamless_assets.errors import ConfigError

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
    "load_settings",
    "settings_from_mapping",
]

DEFAULT_FILE = "seamless.yaml"
FILE_VARIABLE = "SEAMLESS_CONFIG"
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
_KEY_MARK = "[key]"


def load_settings(path: str | Path | None = None) -> Settings:
    """The settings of a file: `path`, else the file `SEAMLESS_CONFIG` names, else ./seamless.yaml.

    Their `file` is its absolute path, so that whoever is handed them can open the same file again.
    Raises `ConfigError`, whose `problems` lists everything that is wrong with it.
    """
    file = Path(path or os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)
    absolute = Path(os.path.abspath(file))
    return _settings(_read(absolute, str(file)), absolute.parent, os.environ, absolute)


def settings_from_mapping(
    mapping: Mapping[str, Any], base: str | Path = ".", environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a mapping in the form of the file; relative folders start at `base`.

    `environ` stands in for the process's environment. Raises `ConfigError`.
    """
    document = read_mapping(mapping, "settings")
    return _settings(document, Path(os.path.abspath(base)), os.environ if environ is None else environ)


def _read(file: Path, name: str) -> Document:
    """The document of `file`, which its problems call `name`."""
    try:
        return read_yaml(file.read_text(encoding="utf-8"), name)
    except FileNotFoundError:
        message = f"no such file; name one in {FILE_VARIABLE}, or create it with at least\n\n{SMALLEST_YAML}"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    raise _config_error(name, [Problem(name, None, "", message)])


def _settings(
    document: Document, base: Path, environ: Mapping[str, str], file: Path | None = None
) -> Settings:
    substitute(document, environ, optional="environment")
    _add_environment(document, environ)
    settings = None if document.is_broken(()) else _validated(document, base, file)
    if settings is not None:
        judge(settings, document)
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
    for fault in faults:
        place = tuple(part for part in fault["loc"] if part != _KEY_MARK)
        if not document.is_broken(place):
            document.break_at(place, explain(fault, _known_keys(place[:-1])))
    for fault in reversed(faults):
        _remove(data, tuple(part for part in fault["loc"] if part != _KEY_MARK))
    try:
        return Settings.model_validate(data, context=context)
    except ValidationError:
        return None


def _remove(data: dict[str, Any], place: Place) -> None:
    *above, last = place
    holder: Any = data
    for part in above:
        holder = holder[part]
    if isinstance(holder, dict):
        holder.pop(last, None)
    else:
        del holder[last]


def _known_keys(place: Place) -> tuple[str, ...]:
    """The keys that the section at `place` may have."""
    kind: Any = Settings
    for part in place:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1]
    return tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _config_error(file: str, problems: list[Problem]) -> ConfigError:
    ordered = tuple(sorted(problems, key=lambda problem: problem.line or 0))
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    lines = "\n".join(f"  {problem}" for problem in ordered)
    return ConfigError(f"{file} has {count}:\n{lines}", problems=ordered)
