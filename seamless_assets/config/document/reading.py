"""A file or a mapping as a `Document`: bounded in size, depth and time, whatever it holds.

PyYAML's nodes are walked here because no reader of plain data (PyYAML's own, ruamel.yaml) keeps the lines of
what merges and aliases bring, goes on after a key that is written twice, or counts what aliases unfold to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path, PurePath
from typing import Any

import yaml

from seamless_assets.config.document.places import OWN_KEY, Document, Place, is_writable
from seamless_assets.core.calendar.timeframe import Timeframe

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
DEEPEST = 32
LONGEST_NUMBER = 64
NO_KEY = "a key must be a plain text"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TEXT, _MERGE = f"{_TAG}str", f"{_TAG}merge"
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
_WORDS = (f"{_TAG}null", f"{_TAG}bool", f"{_TAG}timestamp")
_PLAIN = (str, int, float, date, PurePath, Timeframe, type(None))


class _Unbounded(Exception):
    """More values, or deeper ones, than any settings have."""


def read_text(file: Path) -> str:
    """The text of a regular file of at most `MAX_BYTES`.

    Raises `OSError`, `UnicodeDecodeError`, and `ValueError` for what is no such file.
    """
    # A pipe without a writer is not waited for.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("is a pipe, socket or device; name a file")
        held = opened.read(MAX_BYTES + 1)
    if len(held) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes, which no settings are")
    return held.decode("utf-8")


def read_yaml(text: str, name: str) -> Document:
    """The document of a YAML text; what cannot be read is among its problems."""
    document = Document(name)
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        document.refuse(line, f"holds the character {found[0]!a}, which YAML forbids")
        return document
    try:
        _refuse_unbounded(text)
        _NodeReader(document).read(yaml.compose(text, _LOADER))
    except _Unbounded as error:
        document.refuse(None, str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = mark.line + 1 if mark else None
        document.refuse(at, _syntax_message(error, text, at))
    return document


def read_mapping(mapping: Mapping[str, Any], name: str) -> Document:
    """The document of a mapping that some caller built; it has no lines, and is not changed."""
    document = Document(name)
    try:
        document.data = _MappingReader(document).mapping(mapping, ())
    except _Unbounded as error:
        document.refuse(None, str(error))
    return document


def _refuse_unbounded(text: str) -> None:
    """Look at the events first: nodes take memory, and what composes them recurses."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, _LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        _refuse_beyond(count // 2, depth)


def _refuse_beyond(values: int, depth: int) -> None:
    if values > MAX_VALUES:
        raise _Unbounded(f"holds more than {MAX_VALUES} values, aliases written out; no settings do")
    if depth > DEEPEST:
        raise _Unbounded(f"is nested more than {DEEPEST} deep; no settings are")


def _syntax_message(error: yaml.MarkedYAMLError, text: str, line: int | None) -> str:
    if "undefined alias" in str(error.problem):
        # Its name may be a password that begins with an asterisk.
        return "is not valid YAML: an alias (*name) that nothing defines; put quotes around the text"
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    written = text.splitlines()[line - 1 : line] if line else []
    hint = "; inside { } and [ ] put quotes around ${...}" if any("${" in part for part in written) else ""
    return f"is not valid YAML: {reason}{hint}"


def _is_key(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and is_writable(node.value)


class _NodeReader:
    """Turns YAML nodes into plain data, and notes where each key and item stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._scalars = yaml.SafeLoader("")
        self._resolve: Callable[..., str] = self._scalars.resolve
        self._judged: set[int] = set()
        self._open: set[int] = set()
        self._values = 0

    def read(self, root: yaml.Node | None) -> None:
        """Fill the document."""
        if root is None:
            self._document.refuse(1, "is empty; write at least the sections seamless and exchanges")
        elif not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            self._document.refuse(line, "must hold sections such as `seamless:` and `exchanges:`")
        else:
            self._document.lines[()] = 1
            self._document.data = self._value(root, ()) or {}

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self._values += 1
        _refuse_beyond(self._values, len(place))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if id(node) in self._open:
            return self._document.break_at(place, "this alias holds itself; write the values out")
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            return self._refuse_tag(place)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            return [self._noted(item, item, (*place, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.remove(id(node))

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        if id(node) not in self._judged:
            self._judged.add(id(node))
            self._judge_keys(node, place)
        written = [(key, value) for key, value in node.value if _is_key(key)]
        # Merges come first, so that the lines of what is written here are those that count.
        data = self._merged([value for key, value in written if key.tag == _MERGE], place)
        for key, value in written:
            if key.tag != _MERGE and not key.value.startswith(OWN_KEY):
                data[key.value] = self._noted(key, value, (*place, key.value))
        return data

    def _merged(self, values: list[yaml.Node], place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for value in values:
            for node in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                held = self._value(node, place)
                if isinstance(held, dict):
                    data = held | data
                elif not self._document.is_broken(place):
                    self._document.break_at(place, "<< takes a mapping, or a list of them")
        return data

    def _judge_keys(self, node: yaml.MappingNode, place: Place) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            is_text = _is_key(key)
            line, key_place = key.start_mark.line + 1, (*place, key.value if is_text else "?")
            if is_text and (key.tag == _MERGE or key.value.startswith(OWN_KEY)):
                continue
            if is_text and key.value not in first:
                first[key.value] = line
                continue
            self._document.lines[key_place] = line
            problem = f"is written twice; first on line {first[key.value]}" if is_text else NO_KEY
            self._document.report(key_place, problem)

    def _noted(self, written: yaml.Node, value: yaml.Node, place: Place) -> Any:
        self._document.lines[place] = written.start_mark.line + 1
        return self._value(value, place)

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        meant: str = self._resolve(yaml.ScalarNode, node.value, (True, False))
        if node.tag not in (meant, _TEXT):
            return self._refuse_tag(place)
        is_number = node.tag in _NUMBERS and len(node.value) <= LONGEST_NUMBER
        if not is_number and node.tag not in _WORDS:
            return node.value
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError):
            # `2025-02-31` looks like a date to YAML; as a text it gets a proper message later.
            return node.value

    def _refuse_tag(self, place: Place) -> None:
        self._document.break_at(place, "a tag (!name) means nothing here; put quotes around a text with !")


class _MappingReader:
    """Copies what a caller built, as far as a file could have said it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0

    def mapping(self, mapping: Mapping[Any, Any], place: Place) -> dict[str, Any]:
        """The same with plain values."""
        data = {}
        for key, value in mapping.items():
            if not isinstance(key, str) or not is_writable(key):
                self._document.report((*place, "?"), NO_KEY)
            elif not key.startswith(OWN_KEY):
                data[str(key)] = self._value(value, (*place, str(key)))
        return data

    def _value(self, value: Any, place: Place) -> Any:
        self._values += 1
        _refuse_beyond(self._values, len(place))
        if isinstance(value, Mapping):
            return self.mapping(value, place)
        if isinstance(value, (list, tuple)):
            return [self._value(item, (*place, index)) for index, item in enumerate(value)]
        if not isinstance(value, _PLAIN):
            kind = type(value).__name__
            return self._document.break_at(place, f"is a {kind}; give a text, a number, a list or a mapping")
        return value
