"""A configuration as plain data that still knows the line of every key and item.

A place is the tuple of keys and indexes that leads to a value: `("exchanges", "kucoin", "symbols", 0)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|\$\{", re.ASCII)
_LITERAL = "$${"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration; `line` counts from 1 and is None where there is none."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


@dataclass
class Document:
    """Plain data, the lines it came from, and what was found wrong with it.

    `broken` holds the places whose values mean nothing, so that no rule judges them a second time;
    `origins` names the environment variable behind a value that no file gave.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Place] = field(default_factory=set)
    origins: dict[Place, str] = field(default_factory=dict)

    def report(self, place: Place, message: str) -> None:
        """Note a problem at `place`."""
        if place in self.origins:
            message = f"{message} (from the environment variable {self.origins[place]})"
        self.problems.append(Problem(self.file, self.line(place), key_text(place), message))

    def break_at(self, place: Place, message: str) -> None:
        """Note a problem that makes the value at `place` useless."""
        self.report(place, message)
        self.broken.add(place)

    def is_broken(self, place: Place) -> bool:
        """Whether the value at `place`, or one that holds it, means nothing."""
        return any(place[:length] in self.broken for length in range(len(place) + 1))

    def line(self, place: Place) -> int | None:
        """Line of `place`, or of the nearest thing above it that was written down."""
        known = (self.lines.get(place[:length]) for length in range(len(place), -1, -1))
        return next((line for line in known if line is not None), None)

    def put(self, place: Place, value: Any, origin: str) -> None:
        """Give `place` a value from the environment, unless it has one or cannot take one."""
        section: Any = self.data
        for part in place[:-1]:
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                return
        if section.get(place[-1]) is None:
            section[place[-1]] = value
            self.origins[place] = origin

    def get(self, *place: str | int) -> Any:
        """The value at `place`; None where there is none."""
        value: Any = self.data
        for part in place:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part] if part < len(value) else None
            else:
                return None
        return value


def key_text(place: Place) -> str:
    """A place as people write it: `exchanges.kucoin.symbols[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def read_yaml(text: str, file: str) -> Document:
    """The document of a YAML text; what cannot be read is among its problems."""
    document = Document(file)
    try:
        loader = yaml.SafeLoader(text)
        try:
            _fill(document, loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        _unreadable(document, line, _syntax_message(error, text, line))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _unreadable(document, line, f"holds a character that YAML forbids ({error.reason})")
    return document


def read_mapping(mapping: Mapping[str, Any], file: str) -> Document:
    """The document of a mapping that some caller built; it has no lines, and is not changed."""
    return Document(file, data={str(key): _plain(value) for key, value in mapping.items()})


def substitute(document: Document, environ: Mapping[str, str], optional: str) -> None:
    """Replace `${VAR}` and `${VAR:-default}` in all texts; `$${` is a literal `${`.

    An unset variable is a problem, except in the section `optional`, where it leaves its key unset.
    """
    document.data = {
        key: _substituted(document, (key,), value, environ, optional) for key, value in document.data.items()
    }


def _unreadable(document: Document, line: int | None, message: str) -> None:
    document.data = {}
    document.broken.add(())
    document.problems.append(Problem(document.file, line, "", message))


def _syntax_message(error: yaml.MarkedYAMLError, text: str, line: int | None) -> str:
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    written = text.splitlines()[line - 1 : line] if line else []
    hint = "; inside { } and [ ] put quotes around ${...}" if any("${" in part for part in written) else ""
    return f"is not valid YAML: {reason}{hint}"


def _fill(document: Document, loader: yaml.SafeLoader) -> None:
    root = loader.get_single_node()
    if root is None:
        _unreadable(document, 1, "is empty; write at least the sections seamless and exchanges")
    elif not isinstance(root, yaml.MappingNode):
        message = "must hold sections such as `seamless:` and `exchanges:`"
        _unreadable(document, root.start_mark.line + 1, message)
    else:
        document.lines[()] = 1
        document.data = _NodeReader(document, loader).mapping(root, ())


class _NodeReader:
    """Turns YAML nodes into plain data and notes where each key and item stands."""

    def __init__(self, document: Document, loader: yaml.SafeLoader) -> None:
        self._document = document
        self._loader = loader
        self._flattened: set[int] = set()
        self._open: set[int] = set()

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        if id(node) not in self._flattened:
            self._flattened.add(id(node))
            self._report_twins(node, place)
            self._loader.flatten_mapping(node)
        data = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._document.lines[(*place, "?")] = line
                self._document.report((*place, "?"), "a key must be a plain text")
                continue
            key_place = (*place, key_node.value)
            self._document.lines[key_place] = line
            data[key_node.value] = self._value(value_node, key_place)
        return data

    def _value(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._document.break_at(place, "this alias holds itself; write the values out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, place)
            return [self._item(item, (*place, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.remove(id(node))

    def _item(self, node: yaml.Node, place: Place) -> Any:
        self._document.lines[place] = node.start_mark.line + 1
        return self._value(node, place)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError:
            # `2025-02-31` looks like a date to YAML; as a text it gets a proper message later.
            return node.value

    def _report_twins(self, node: yaml.MappingNode, place: Place) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in first:
                self._document.lines[(*place, key_node.value)] = line
                self._document.report(
                    (*place, key_node.value), f"is written twice; first on line {first[key_node.value]}"
                )
            first.setdefault(key_node.value, line)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _substituted(
    document: Document, place: Place, value: Any, environ: Mapping[str, str], optional: str
) -> Any:
    if isinstance(value, dict):
        return {
            key: _substituted(document, (*place, key), inner, environ, optional)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _substituted(document, (*place, index), inner, environ, optional)
            for index, inner in enumerate(value)
        ]
    if not isinstance(value, str) or "${" not in value:
        return value
    text, unset, faults = _expanded(value, environ)
    if place[0] == optional and not faults:
        return None if unset else text or None
    for name in unset:
        faults.append(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
    if faults:
        document.break_at(place, "; ".join(faults))
        return value
    return text


def _expanded(text: str, environ: Mapping[str, str]) -> tuple[str, list[str], list[str]]:
    """The text with its references replaced, the variables that are not set, and what is malformed."""
    unset: list[str] = []
    faults: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match[0] == _LITERAL:
            return "${"
        if name is None:
            faults.append("`${` must be ${NAME} or ${NAME:-default}; write $${ for a literal ${")
        elif default is not None:
            return environ.get(name) or default
        elif name in environ:
            return environ[name]
        else:
            unset.append(name)
        return ""

    return _REFERENCE.sub(replacement, text), unset, faults
