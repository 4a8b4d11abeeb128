"""A notebook of a script in the percent format: `# %%` begins a cell, `# %% [markdown]` one of prose."""

from __future__ import annotations

import json
import re

MARK = re.compile(r"^# %%(?P<prose> \[markdown\])?.*$", re.MULTILINE)


def notebook(source: str) -> str | None:
    """The JSON of an .ipynb; None for a script without cells."""
    marks = list(MARK.finditer(source))
    if not marks:
        return None
    ends = [*(mark.start() for mark in marks[1:]), len(source)]
    cells = [
        cell(number, source[mark.end() : end].strip("\n"), is_prose=bool(mark["prose"]))
        for number, (mark, end) in enumerate(zip(marks, ends, strict=True))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def cell(number: int, text: str, *, is_prose: bool) -> dict[str, object]:
    """One cell; prose stands in comments in the script."""
    if is_prose:
        text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
    lines = text.splitlines(keepends=True)
    common: dict[str, object] = {"id": f"cell-{number}", "metadata": {}, "source": lines}
    if is_prose:
        return {"cell_type": "markdown", **common}
    return {"cell_type": "code", "execution_count": None, "outputs": [], **common}
