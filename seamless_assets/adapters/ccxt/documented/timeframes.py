"""What ccxt's source says of an exchange: nothing is asked, and ccxt, which takes seconds, not imported."""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from pathlib import Path

_CLASS = re.compile(r"^class (\w+)\((\w+)", re.MULTILINE)
_DESCRIBE = re.compile(r"^    def describe\(self\).*?(?=^    (?:async )?def |\Z)", re.MULTILINE | re.DOTALL)
_ROOT = "Exchange"


def documented_timeframes(exchange: str) -> tuple[str, ...] | None:
    """The timeframes that ccxt names of `exchange`, inherited ones too; None where that is not told."""
    source = _source(exchange)
    parent = _CLASS.search(source)
    described = _DESCRIBE.search(source)
    if parent is None or described is None:
        return None
    inherited = () if parent.group(2) == _ROOT else documented_timeframes(parent.group(2))
    own = _timeframes(described.group())
    if inherited is None or own is None:
        return None
    return tuple(dict.fromkeys((*inherited, *own)))


def _source(exchange: str) -> str:
    spec = importlib.util.find_spec("ccxt")
    if spec is None or not spec.submodule_search_locations:
        return ""
    file = Path(spec.submodule_search_locations[0], "async_support", f"{exchange}.py")
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _timeframes(method: str) -> tuple[str, ...] | None:
    """The keys of `timeframes` in what a method returns; none where it has none."""
    try:
        tree = ast.parse(textwrap.dedent(method))
    except SyntaxError:
        return None
    returned = next((node.value for node in ast.walk(tree) if isinstance(node, ast.Return)), None)
    if not isinstance(returned, ast.Call) or not isinstance(described := returned.args[-1], ast.Dict):
        return None
    for key, value in zip(described.keys, described.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "timeframes":
            return _keys(value)
    return ()


def _keys(value: ast.expr) -> tuple[str, ...] | None:
    if isinstance(value, ast.Constant) and value.value is None:
        return ()
    if not isinstance(value, ast.Dict):
        return None
    return tuple(str(key.value) for key in value.keys if isinstance(key, ast.Constant))
