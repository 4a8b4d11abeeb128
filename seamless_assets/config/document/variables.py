"""`${VAR}` and `${VAR:-default}` in the texts of a document, and texts that nothing can hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from seamless_assets.config.document.places import Document, Place, is_writable

MAX_CHARACTERS = 1 << 20
"""What all variables of a document together may say."""
MAX_NAMED = 20
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|\$\{", re.ASCII)
_LITERAL = "$${"


def substitute(document: Document, environ: Mapping[str, str], optional: str) -> None:
    """Replace `${VAR}` and `${VAR:-default}` in all texts; `$${` is a literal `${`.

    A text that says nothing then leaves its key unset: `${VAR:-}` means none. An unset variable is a
    problem, except in the section `optional`, where it leaves its key unset too.
    """
    expansion = _Expansion(environ)
    for holder, part, place in _leaves(document.data, ()):
        text = holder[part]
        if not isinstance(text, str) or "${" not in text:
            continue
        value, unset, faults = expansion.of(text)
        if unset and place[0] == optional and not faults:
            value, unset = "", []
        faults += [
            f"the environment variable {name} is not set; set it or write ${{{name}:-default}}"
            for name in unset[:MAX_NAMED]
        ]
        if faults:
            document.break_at(place, "; ".join(faults))
        else:
            holder[part] = value or None


def refuse_unwritable(document: Document) -> None:
    """Report texts that no file, database or address can hold."""
    for holder, part, place in _leaves(document.data, ()):
        if isinstance(holder[part], str) and not is_writable(holder[part]):
            document.break_at(place, "holds a NUL character or half a surrogate pair; write plain text")


def _leaves(value: Any, place: Place) -> Iterator[tuple[Any, Any, Place]]:
    """Each value that holds no others: what holds it, under which key or index, and its place."""
    for part, held in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(held, (dict, list)) and held:
            yield from _leaves(held, (*place, part))
        else:
            yield value, part, (*place, part)


class _Expansion:
    """References replaced by what an environment says, as long as that is of a sensible size."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._left = MAX_CHARACTERS

    def of(self, text: str) -> tuple[str, list[str], list[str]]:
        """The text with its references replaced, the variables that are not set, and what is malformed."""
        unset: list[str] = []
        faults: list[str] = []
        expanded = _REFERENCE.sub(lambda found: self._value(found, unset, faults), text)
        return expanded, list(dict.fromkeys(unset)), list(dict.fromkeys(faults))

    def _value(self, found: re.Match[str], unset: list[str], faults: list[str]) -> str:
        name, default = found["name"], found["default"]
        if found[0] == _LITERAL:
            return "${"
        if name is None:
            faults.append("`${` must be ${NAME} or ${NAME:-default}; write $${ for a literal ${")
            return ""
        value = self._environ.get(name)
        if default is not None:
            value = value or default
        elif value is None:
            unset.append(name)
            return ""
        self._left -= len(value)
        if self._left < 0:
            faults.append(f"with this the variables say more than {MAX_CHARACTERS} characters; say less")
            return ""
        return value
