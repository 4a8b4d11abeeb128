"""Programs that the project does not need and that read what it writes; tests without them are skipped."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv" / "engines"
UV = (sys.executable, "-m", "uv")


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of an environment of its own that holds the packages, made where it is missing.

    Skips the test, with the reason, where they cannot be had.
    """
    home = HOME / name
    python, stamp = home / "bin" / "python", home / ".installed"
    wanted = "\n".join((sys.version, *packages))
    if not (stamp.exists() and stamp.read_text() == wanted):
        settings = runpy.run_path(str(ROOT / "ops" / "bootstrap.py"))["uv_environment"]()
        for words in (
            ("venv", "--quiet", "--clear", "--python", sys.executable, home),
            ("pip", "install", "--quiet", "--python", python, *packages),
        ):
            _run([*UV, *map(str, words)], f"{', '.join(packages)} cannot be installed", settings)
        stamp.write_text(wanted)
    return python


def jars_of(name: str, *artifacts: str) -> list[Path]:
    """Maven's jars of the artifacts (`group:name:version[:classifier]`) and of all that these need.

    Skips the test, with the reason, where they cannot be had.
    """
    folder = HOME / name
    if shutil.which("mvn") is None:
        pytest.skip(f"Maven is not here, which fetches {', '.join(artifacts)}")
    stamp = folder / ".fetched"
    if not (stamp.exists() and stamp.read_text() == "\n".join(artifacts)):
        folder.mkdir(parents=True, exist_ok=True)
        project = folder / "pom.xml"
        project.write_text(_project(artifacts))
        command = ["mvn", "-q", "-B", "-f", str(project), "dependency:copy-dependencies"]
        _run([*command, f"-DoutputDirectory={folder}"], f"{', '.join(artifacts)} cannot be fetched")
        stamp.write_text("\n".join(artifacts))
    return sorted(folder.glob("*.jar"))


def _project(artifacts: tuple[str, ...]) -> str:
    names = ("groupId", "artifactId", "version", "classifier")
    needed = "".join(
        "<dependency>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, one.split(":"), strict=False))
        + "</dependency>"
        for one in artifacts
    )
    own = "<groupId>none</groupId><artifactId>none</artifactId><version>1</version>"
    return f"<project><modelVersion>4.0.0</modelVersion>{own}<dependencies>{needed}</dependencies></project>"


def _run(command: list[str], problem: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        pytest.skip(f"{problem}: {lines[-1] if lines else 'no reason was said'}")
