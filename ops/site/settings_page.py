"""The reference of seamless.yaml, made of the models that read it and of what stands beside their fields."""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from seamless_assets.config.settings import ExchangeSettings, Settings
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId

HEAD = """# Settings
Every key of `seamless.yaml`, from the models that read it. What is wrong with a file is told all at once, with lines, by `seamless check`. A key that is not here is an error, but for those that begin with `x-`, which are yours. Relative folders start beside the file; `${VAR}` and `${VAR:-default}` stand for variables of the environment.

"""
FORMS = {
    "truth": "true or false",
    "folder": "folder",
    "file": "file",
    "symbol": "symbol, as ccxt writes it",
    "timeframe": "timeframe, such as 5m",
    "timeframe_name": "timeframe",
    "start": "date, or epoch seconds",
    "node": "node, `ohlcv:exchange:symbol:timeframe`",
    "joint": "date, or epoch seconds",
    "http_url": "address, http:// or https://",
    "endpoint_url": "address, http:// or https://",
    "redis_url": "address, redis:// or rediss://",
    "lease_url": "address, redis:// or http://",
    "proxy_url": "address, http:// or socks5://",
    "hot_store": "address, sqlite:/// or questdb://",
    "object_store": "folder or address, s3://",
    "cron": "cron line of five fields",
    "timezone": "name of a time zone",
    "header": "secret",
    "signing_secret": "secret",
    "placeholders": "text with the placeholders of its default",
}
"""What a validator takes, by its name, where its type says too little."""
PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", SecretStr: "secret", Path: "path",
         Timeframe: "timeframe", NodeId: "node", Any: "anything"}  # fmt: skip
ENUMS = {"Flag": "[flag](../conformance.md#flags)"}
"""Choices that are too many to be listed, and where they stand."""
BOUNDS = {"gt": "above {}", "ge": "{} or more", "lt": "below {}", "le": "at most {}"}


def page() -> str:
    """The page, in Markdown."""
    return HEAD + "".join(sections(Settings, ""))


def sections(model: type[BaseModel], place: str) -> Iterator[str]:
    """The sections of a model: its own keys in a table, then those that stand below it."""
    below = [
        (key, inner) for key, field in model.model_fields.items() if (inner := model_of(field.annotation))
    ]
    plain = [key for key in model.model_fields if key not in dict(below)]
    if place:
        yield f"\n## {place} {{ #{anchor(place)} }}\n{inspect.cleandoc(model.__doc__ or '')}\n"
        if plain:
            yield '\n<div class="keys" markdown>\n\n| key | takes | unless set | meaning |\n|---|---|---|---|\n'
            yield from (row(model, place, key) for key in plain)
            yield "\n</div>\n"
        if below:
            links = (f"[`{key}`](#{anchor(beneath(model, place, key))})" for key, _ in below)
            yield f"\nBelow it: {', '.join(links)}.\n"
    for key, inner in below:
        yield from sections(inner, beneath(model, place, key))


def row(model: type[BaseModel], place: str, key: str) -> str:
    field = model.model_fields[key]
    takes = form(field.annotation, field.metadata)
    return f'| <span id="{anchor(place)}-{key}"></span>`{key}` | {takes} | {default(field)} | {note(model, key)} |\n'


def beneath(model: type[BaseModel], place: str, key: str) -> str:
    """Where the section of a key stands; what users name themselves is written in capitals."""
    whole = f"{place}.{key}" if place else key
    kind = model.model_fields[key].annotation
    outer = get_origin(kind) if get_origin(kind) is not Annotated else get_origin(get_args(kind)[0])
    if outer is dict:
        return f"{whole}.SYMBOL" if model is ExchangeSettings else f"{whole}.NAME"
    return f"{whole}[]" if outer is tuple else whole


def anchor(place: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", place.lower()).strip("-")


def model_of(kind: Any) -> type[BaseModel] | None:
    """The model that stands below a key, also in a mapping or a list of them."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for part in get_args(kind) if (found := model_of(part))), None)


def form(kind: Any, metadata: Any = ()) -> str:
    """What a value may be, in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return form(parts[0], (*parts[1:], *metadata))
    if origin in (Union, types.UnionType):
        return " or ".join(form(part, metadata) for part in parts if part is not type(None))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in parts)
    if origin is tuple:
        return f"list of: {form(parts[0])}"
    if origin is dict:
        return f"mapping of {form(parts[0])} to {form(parts[1])}"
    words = [named(one) for one in metadata if isinstance(one, BeforeValidator | AfterValidator)]
    known = next((FORMS[word] for word in words if word in FORMS), None)
    if known is None and isinstance(kind, type) and issubclass(kind, Enum):
        known = ENUMS.get(kind.__name__) or " or ".join(f"`{choice.value}`" for choice in kind)
    return ", ".join([known or PLAIN[kind], *bounds(metadata)])


def named(validator: BeforeValidator | AfterValidator) -> str:
    function: Any = validator.func
    return str(getattr(getattr(function, "func", function), "__name__", ""))


def bounds(metadata: Any) -> list[str]:
    """The least and the most of a number."""
    told = []
    for one in metadata:
        for part in getattr(one, "metadata", None) or (one,):
            told += [
                text.format(f"{limit:,g}" if limit < 10 else f"{limit:,.0f}")
                for name, text in BOUNDS.items()
                if (limit := getattr(part, name, None)) is not None
            ]
    return told


def default(field: FieldInfo) -> str:
    """What holds where the key is not written."""
    if field.is_required():
        return "has to be"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ({}, ()):
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def note(model: type[BaseModel], key: str) -> str:
    """What stands beside a field in the code, of the class that declares it."""
    for kind in model.__mro__:
        if kind is not BaseModel and key in inspect.get_annotations(kind):
            text = notes(kind).get(key, "")
            return re.sub(r"\s+", " ", text).replace("|", "\\|")
    return ""


@cache
def notes(model: type[BaseModel]) -> dict[str, str]:
    """The texts that follow the fields of a class."""
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for first, second in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(first, ast.AnnAssign)
            and isinstance(first.target, ast.Name)
            and isinstance(second, ast.Expr)
            and isinstance(second.value, ast.Constant)
            and isinstance(second.value.value, str)
        ):
            found[first.target.id] = second.value.value
    return found
