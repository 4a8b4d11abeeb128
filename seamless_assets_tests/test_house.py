"""The walls of the house: what imports what, what is exported, what lies where, what the wheel holds."""

from __future__ import annotations

import re
import runpy
import statistics
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import seamless_assets as sa

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "seamless_assets"
LONGEST_FILE, MEDIAN_FILE, LONGEST_TEST = 450, 120, 500
MAX_AT_THE_TOP, MAX_FILES = 16, 12
FOLDERS = {"seamless_assets", "seamless_assets_tests", "docs", "bench", "ops", ".ci"}
FILES = {
    *(".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "constraints.txt"),
    *("dagster.yaml", "pyproject.toml", "seamless.yaml", "workspace.yaml"),
}


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip(
            "not a git checkout: what belongs to the project cannot be known from what lies beside it"
        )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_rooms_of_the_core_that_name_pandas_are_tested_on_the_oldest_one() -> None:
    tested = runpy.run_path(str(ROOT / "ops" / "bootstrap.py"))["PURE"]
    named = {
        file.relative_to(PACKAGE).parts[:2]
        for file in (PACKAGE / "core").rglob("*.py")
        if "pandas" in file.read_text()
    }
    assert {"/".join(room) for room in named} == {name for name in tested if name.startswith("core/")}


def test_importing_the_package_loads_neither_dagster_nor_ccxt() -> None:
    code = (
        "import sys; from seamless_assets import *; assert connect and NodeId; "
        "print([m for m in ('dagster', 'ccxt', 'pandera') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_testing_room_needs_no_pytest() -> None:
    code = "import sys, seamless_assets.testing; print('pytest' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not any(needed.startswith("pytest") for needed in project["dependencies"])


def test_importing_the_package_loads_only_what_is_asked_for() -> None:
    code = (
        "import sys, seamless_assets as sa\n"
        "assert 'numpy' not in sys.modules and 'pydantic' not in sys.modules\n"
        "sa.NodeId, sa.errors.SeamlessError\n"
        "print([m for m in ('pyarrow', 'pydantic', 'yaml', 'sqlite3') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_exported_name_is_there_and_documented() -> None:
    assert sorted(sa.__all__) == sa.__all__
    assert all(getattr(sa, name).__doc__ for name in sa.__all__)
    components = {"SeamlessComponent", "SeamlessMarketsComponent"}
    assert set(sa._HOME_OF) == {*sa.__all__, *components} <= set(dir(sa))
    assert all(getattr(sa, name).__module__.startswith("seamless_assets.") for name in sa._HOME_OF)
    assert sa.__version__ == version("seamless-assets") and "__version__" in dir(sa)
    with pytest.raises(AttributeError, match="has no attribute 'conect'"):
        sa.conect  # noqa: B018


def test_files_stay_small() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path) for path, lines in lengths.items() if lines > LONGEST_FILE} == set()
    assert statistics.median(lengths.values()) <= MEDIAN_FILE
    others = (
        path for name in ("seamless_assets_tests", "ops", "bench") for path in (ROOT / name).rglob("*.py")
    )
    assert {str(path) for path in others if len(path.read_text().splitlines()) > LONGEST_TEST} == set()


def test_the_folders_say_what_the_product_is() -> None:
    """Few plain nouns at the top, and no folder so full that its names say nothing."""
    top = {path.name for path in listed(PACKAGE)} - {"__main__.py", "py.typed"}
    assert len(top) <= MAX_AT_THE_TOP
    assert {name for name in top if name.startswith("_")} == {"__init__.py"}
    rooms = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    files = {room: [path.name for path in listed(room) if path.is_file()] for room in rooms}
    assert {str(room) for room, names in files.items() if len(names) > MAX_FILES} == set()
    hidden = {name for names in files.values() for name in names if name.startswith("_")}
    assert hidden <= {"__init__.py", "__main__.py"}


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, but for what Python wants or leaves there."""
    return [path for path in folder.iterdir() if path.name != "__pycache__"]


def test_the_page_of_the_house_names_rooms_that_are_there() -> None:
    page = (ROOT / "docs" / "house.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", page))
    tops = {path.name for path in listed(PACKAGE)}
    paths = {name for name in named if name.split("/")[0] in tops}
    assert len(paths) > 30
    assert {name for name in paths if not (PACKAGE / name).exists()} == set()
    assert {name for name in tops - {"__init__.py", "__main__.py", "py.typed"} if name not in page} == set()


def test_the_page_of_the_house_names_the_rooms_inside_each_room() -> None:
    page = (ROOT / "docs" / "house.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \|[^|]+\| (.+) \|$", page, re.MULTILINE)
    assert len(rows) == 4
    for room, inside in rows:
        named = set(re.findall(r"`(\w+)/`", inside))
        assert named == {path.name for path in listed(PACKAGE / room) if path.is_dir()}, room


def test_only_config_looks_at_the_environment() -> None:
    looking = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"os\.environ|os\.getenv|\bgetenv\(", path.read_text())
    }
    assert looking == {"load.py"}


def test_the_root_holds_what_it_should_and_nothing_else() -> None:
    first = {path.split("/")[0] for path in tracked()}
    assert first <= FOLDERS | FILES
