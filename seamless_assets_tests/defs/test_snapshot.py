"""Whatever changes of what Dagster shows is seen in a diff of one page."""

from __future__ import annotations

from pathlib import Path

from seamless_assets_tests.defs.snapshot import PAGE, current


def test_what_dagster_shows_is_what_the_page_says(tmp_path: Path) -> None:
    assert current(tmp_path) == PAGE.read_text(), (
        "what Dagster shows has changed; if that is meant, write the page anew by "
        "`.venv/bin/python -m seamless_assets_tests.defs.snapshot` and tell it in CHANGELOG.md"
    )
