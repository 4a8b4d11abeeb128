"""The walls of the house: what imports what, what is exported, what lies where, what the wheel holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import seamless_assets as sa

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "seamless_assets"
LONGEST_FILE = 500
FOLDERS = {"seamless_assets", "seamless_assets_tests", "docs", "bench", "ops", ".ci"}
FILES = {
    *(".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "constraints.txt"),
    *("dagster.yaml", "pyproject.toml", "seamless.yaml", "workspace.yaml"),
}


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project cannot be told from what lies beside it")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_imports_run_one_way() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


def test_importing_the_package_loads_neither_dagster_nor_ccxt() -> None:
    code = (
        "import sys, seamless_assets; print([m for m in ('dagster', 'ccxt', 'pandera') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_every_exported_name_is_there_and_documented() -> None:
    assert sorted(sa.__all__) == sa.__all__
    assert all(getattr(sa, name).__doc__ for name in sa.__all__)


def test_files_stay_small() -> None:
    folders = (ROOT / name for name in ("seamless_assets", "seamless_assets_tests", "ops", "bench"))
    files = (path for folder in folders for path in folder.rglob("*.py"))
    long = {str(path) for path in files if len(path.read_text().splitlines()) > LONGEST_FILE}
    assert long == set()


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


def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    # setuptools leaves what it built before in the folder that it builds from.
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    uv = (sys.executable, "-m", "uv")
    if subprocess.run([*uv, "--version"], capture_output=True, check=False).returncode:
        build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w"]
    else:
        build = [*uv, "build", "--wheel", "--no-build-isolation", "--out-dir"]
    built = subprocess.run([*build, tmp_path, source], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    held = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    expected = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")} | {"seamless_assets/py.typed"}
    assert held == expected
