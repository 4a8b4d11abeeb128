"""The runbooks, one for each alert and some for what is done by hand, as they lie in the package."""

from __future__ import annotations

import re
from importlib.resources import files

from seamless_assets.core.reading.context import choose

_SECTION = re.compile(r"^## (.+)\n((?:(?!^##? ).*\n?)*)", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def page() -> str:
    """All of them, in Markdown."""
    return (files("seamless_assets.metrics") / "runbooks.md").read_text(encoding="utf-8")


def runbook(name: str) -> str:
    """The one of an alert, or of a head such as `Rollback`. Raises `InvalidChoice`."""
    sections: dict[str, str] = dict(_SECTION.findall(page()))
    chosen = choose(name, tuple(sections), "runbook")
    # Links lead to places of the page that a terminal does not show.
    text = _LINK.sub(r"\1", sections[chosen]).strip()
    return f"{chosen}\n{text}"
