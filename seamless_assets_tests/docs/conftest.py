"""The documentation's site, built once for all tests of a run, and the project that its pages work in."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from support.docs_world import ENVIRONMENT, World, world


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. Workers of one run share it: the first one builds, the others wait."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "site"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            command = [sys.executable, ROOT / "ops" / "site" / "build.py", "--into", folder]
            built = subprocess.run(command, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stdout + built.stderr
            (folder / "done").touch()
    return folder / "html"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One materialized project for all pages."""
    with world(tmp_path_factory.mktemp("docs")) as made:
        yield made


@pytest.fixture
def in_folder(stage: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same, and we are in its folder, with the variables that pages name."""
    monkeypatch.chdir(stage.folder)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return stage
