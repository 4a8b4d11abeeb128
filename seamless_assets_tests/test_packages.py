"""The wheel and the sdist: what they hold, and that they work in empty environments, far from a checkout."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, refuse

from seamless_assets.sandbox.server import Sandbox

PACKAGE = ROOT / "seamless_assets"
UV = (sys.executable, "-m", "uv")
NODE, DAY = "ohlcv:binance:BTC/USDT:1m", ("2025-01-01", "2025-01-02")
NEWER = ("3.12", "3.13", "3.14")
ASSETS = """
from definitions import defs
print(*sorted(key.to_user_string() for key in defs.resolve_all_asset_keys()))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an sdist, and of a wheel that was made of it."""
    if subprocess.run([*UV, "--version"], capture_output=True, check=False).returncode:
        refuse("uv is not installed: it builds the packages and makes environments for them")
    # setuptools leaves what it built before in the folder that it builds from.
    source, folder = (tmp_path_factory.mktemp(name) for name in ("source", "packages"))
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [*UV, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, source]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def modules_and_data() -> set[str]:
    """What belongs into the packages, from the root on."""
    parts = [*PACKAGE.rglob("*.py"), PACKAGE / "py.typed", *(PACKAGE / "service" / "page").iterdir()]
    parts += (PACKAGE / "cli" / "project" / "template").glob("*.*")
    return {str(path.relative_to(ROOT)) for path in parts}


def test_the_packages_hold_every_module_and_nothing_else(packages: Path) -> None:
    (wheel,), (sdist,) = packages.glob("*.whl"), packages.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert held == modules_and_data()
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    own = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
    assert {name for name in names if ".egg-info/" not in name} == held | own


def pythons() -> list[Path]:
    """This Python and the newer ones that the machine has, also those that pyenv keeps."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [Path(sys.executable)]
    for version in NEWER:
        kept = sorted(versions.glob(f"{version}.*/bin/python"))
        on_path = shutil.which(f"python{version}")
        for python in (*kept, *([Path(on_path)] if on_path else [])):
            if not subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
                found.append(python)
                break
    return found


@pytest.fixture
def environment_of(packages: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """Makes an environment of a Python that holds the wheel and what it needs; the folder of its programs."""

    def make(python: Path) -> Path:
        settings = runpy.run_path(str(ROOT / "ops" / "bootstrap.py"))["uv_environment"]()
        home = tmp_path / "environment"
        (wheel,) = packages.glob("*.whl")
        subprocess.run([*UV, "venv", "--quiet", "--python", python, home], check=True)
        install = [*UV, "pip", "install", "--quiet", "--python", home / "bin" / "python"]
        locked = ("--constraint", ROOT / "constraints.txt", wheel)
        # What was installed before needs no network.
        for attempt in ([*install, "--offline", *locked], [*install, *locked]):
            done = subprocess.run(attempt, env=settings, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return home / "bin"
        raise AssertionError(done.stderr)

    return make


def run(*command: object, cwd: Path, exchange: str) -> str:
    """What a program prints that knows nothing of this checkout."""
    environment = {"PATH": os.defpath, "HOME": str(cwd), "SEAMLESS_EXCHANGE": exchange}
    words = [str(word) for word in command]
    ran = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_a_project_is_made_in_an_empty_environment_of_the_newest_python(
    environment_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    programs = environment_of(pythons()[-1])
    with Sandbox().running() as exchange:
        assert "seamless up" in run(programs / "seamless", "new", "mine", cwd=tmp_path, exchange=exchange.url)
        checked = run(programs / "seamless", "check", cwd=tmp_path / "mine", exchange=exchange.url)
    assert "2 nodes; the settings are valid" in checked


@pytest.mark.deep
@pytest.mark.parametrize("number", range(len(pythons())))
def test_the_project_works_in_an_empty_environment_of_each_python(
    environment_of: Callable[[Path], Path], tmp_path: Path, number: int
) -> None:
    """Dagster loads its definitions; a day is released and read back."""
    programs = environment_of(pythons()[number])
    with Sandbox().running() as exchange:
        run(programs / "seamless", "new", "mine", cwd=tmp_path, exchange=exchange.url)
        loaded = run(programs / "python", "-c", ASSETS, cwd=tmp_path / "mine", exchange=exchange.url)
        told = run(
            programs / "seamless", "materialize", NODE, *DAY, cwd=tmp_path / "mine", exchange=exchange.url
        )
        bars = run(
            programs / "seamless", "read", NODE, *DAY, "--json", cwd=tmp_path / "mine", exchange=exchange.url
        )
    assert loaded.split() == ["daily_range", "ohlcv/binance/BTC_USDT_1h", "ohlcv/binance/BTC_USDT_1m"]
    assert "released" in told and len(json.loads(bars)["bars"]) > 1_400


@pytest.mark.deep
@pytest.mark.parametrize("version", NEWER)
def test_newer_pythons_find_a_wheel_of_everything(version: str, tmp_path: Path) -> None:
    environment = runpy.run_path(str(ROOT / "ops" / "bootstrap.py"))["uv_environment"]()
    locked = ("--constraint", ROOT / "constraints.txt", "--all-extras", ROOT / "pyproject.toml")
    command = [
        *UV,
        "pip",
        "compile",
        "--quiet",
        "--only-binary",
        ":all:",
        "--python-version",
        version,
        *locked,
    ]
    resolved = subprocess.run(
        [*command, "-o", tmp_path / "resolved.txt"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resolved.returncode == 0, resolved.stderr
    assert "dagster==" in (tmp_path / "resolved.txt").read_text()
