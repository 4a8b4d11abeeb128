"""The wheel and the sdist: what they hold, and that they work in empty environments, far from a checkout."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, refuse

from seamless_assets.sandbox.server import Sandbox

PACKAGE = ROOT / "seamless_assets"
UV = (sys.executable, "-m", "uv")
LATER = 1_743_465_600  # 2025-04-01
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
    parts = [*PACKAGE.rglob("*.py"), *(PACKAGE / name for name in ("py.typed", "metrics/runbooks.md"))]
    parts += (PACKAGE / "service" / "page").iterdir()
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


def test_the_packages_name_the_pythons_that_the_page_of_limits_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    head = "Programming Language :: Python :: 3."
    minors = [int(one.removeprefix(head)) for one in project["classifiers"] if one.startswith(head)]
    assert minors == [*range(minors[0], minors[-1] + 1)] and project["requires-python"] == f">=3.{minors[0]}"
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert f"empty environments of 3.{minors[0]} to 3.{minors[-1]}" in page


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
def environment_of(packages: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes an environment of a Python that holds the wheel and what it needs; the folder of its programs."""

    def make(python: Path, *more: str) -> Path:
        settings = runpy.run_path(str(ROOT / "ops" / "bootstrap.py"))["uv_environment"]()
        home = tmp_path / "environment"
        (wheel,) = packages.glob("*.whl")
        subprocess.run([*UV, "venv", "--quiet", "--python", python, home], check=True)
        install = [*UV, "pip", "install", "--quiet", "--python", home / "bin" / "python"]
        locked = ("--constraint", ROOT / "constraints.txt", wheel, *more)
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
    environment_of: Callable[..., Path], tmp_path: Path
) -> None:
    programs = environment_of(pythons()[-1])
    with Sandbox().running() as exchange:
        assert "seamless up" in run(programs / "seamless", "new", "mine", cwd=tmp_path, exchange=exchange.url)
        checked = run(programs / "seamless", "check", cwd=tmp_path / "mine", exchange=exchange.url)
    assert "2 nodes; the settings are valid" in checked


@pytest.mark.deep
@pytest.mark.parametrize("number", range(len(pythons())))
def test_the_project_works_in_an_empty_environment_of_each_python(
    environment_of: Callable[..., Path], tmp_path: Path, number: int
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


FOREIGN = {
    "pyproject.toml": """
[project]
name = "foreign"
version = "0"
requires-python = ">=3.11"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "foreign"
""",
    "foreign/__init__.py": "",
    "foreign/definitions.py": """
from pathlib import Path
from dagster import Definitions, definitions, in_process_executor, load_from_defs_folder

@definitions
def defs():
    found = load_from_defs_folder(path_within_project=Path(__file__).parent)
    return Definitions.merge(found, Definitions(executor=in_process_executor))
""",
    "foreign/defs/own.py": """
import pandas as pd
from dagster import AssetCheckResult, AssetIn, AssetKey, DailyPartitionsDefinition, asset, asset_check

HOURS = AssetKey(["ohlcv", "binance", "BTC_USDT_1h"])
DAYS = DailyPartitionsDefinition("2025-01-01")

@asset(ins={"bars": AssetIn(HOURS)}, partitions_def=DAYS)
def daily_range(bars: pd.DataFrame) -> float:
    return float(bars.high.max() - bars.low.min())

@asset_check(asset=HOURS)
def prices_move(bars: pd.DataFrame) -> AssetCheckResult:
    return AssetCheckResult(passed=bool(bars.close.nunique() > 1), metadata={"rows": len(bars)})
""",
    "look.py": """
import json
from pathlib import Path
from dagster import AssetCheckKey, AssetKey, DagsterInstance, Definitions
import seamless_assets as sa
from foreign.definitions import defs
from seamless_assets.defs import build_definitions

own, hours = defs(), AssetKey(["ohlcv", "binance", "BTC_USDT_1h"])
second = AssetKey(["research", "ohlcv", "binance", "BTC_USDT_1h"])
told = {}
with DagsterInstance.get() as instance:
    for name, key in {"first": hours, "second": second}.items():
        months = sorted(instance.get_materialized_partitions(key))
        told[name] = {month: len(own.load_asset_value(key, partition_key=month)) for month in months}
        pages = [one.asset_materialization for one in instance.fetch_materializations(key, limit=9).records]
        told[f"{name} manifests"] = len({page.metadata["manifest_uri"].value for page in pages})
    told["range"] = own.load_asset_value(AssetKey("daily_range"), partition_key="2025-02-03")
    job = own.resolve_implicit_global_asset_job_def()
    checked = job.get_subset(asset_check_selection={AssetCheckKey(hours, "prices_move")})
    told["check"] = checked.execute_in_process(instance=instance).get_asset_check_evaluations()[0].passed
merged = Definitions.merge(
    build_definitions(sa.load_settings(Path("foreign/defs/candles/seamless.yaml").absolute()), name="third"),
    Definitions(),
)
told["merged"] = len(merged.load_asset_value(hours, partition_key="2025-01"))
print(json.dumps(told))
""",
}
HOURLY = """
seamless:
  artifact: {{object_store_uri: ./artifacts}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
  state_dir: ./state
exchanges:
  binance: {{base_url: "{url}", symbols: ["BTC/USDT"], timeframes: ["1h"], start: 2025-01-01}}
"""


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_a_project_of_somebody_else_lives_on_the_wheel(
    environment_of: Callable[..., Path], tmp_path: Path
) -> None:
    """Components, own assets and checks, ranges, values; two of them in one instance, and merged by hand."""
    programs, project = environment_of(Path(sys.executable), "dagster-dg-cli"), tmp_path / "project"
    for name, text in FOREIGN.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / "home").mkdir()
    (project / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    components = project / "foreign" / "defs"
    environment = {
        "PATH": f"{programs}:{os.defpath}",
        "HOME": str(tmp_path),
        "DAGSTER_HOME": str(project / "home"),
        "PYTHONPATH": str(project),
    }

    def ask(*words: str, status: int = 0) -> str:
        ran = subprocess.run(
            [programs / words[0], *words[1:]],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout

    assert "seamless_assets.SeamlessComponent" in ask("dg", "list", "components", "--json")
    with Sandbox(now=LATER).running() as exchange:
        for name in ("candles", "others"):
            ask("dg", "scaffold", "defs", "seamless_assets.SeamlessComponent", name)
            (components / name / "seamless.yaml").write_text(HOURLY.format(url=exchange.url))
        second = components / "others" / "defs.yaml"
        second.write_text(second.read_text() + "  name: research\n  key_prefix: research\n")
        ask("dg", "check", "defs")
        for key in ("ohlcv/binance/BTC_USDT_1h", "research/ohlcv/binance/BTC_USDT_1h"):
            ask("dg", "launch", "--assets", f"key:{key}", "--partition-range", "2025-01...2025-02")
        ask("dg", "launch", "--assets", "key:daily_range", "--partition", "2025-02-03")
        told = json.loads(ask("python", "look.py").splitlines()[-1])
    months = {"2025-01": 31 * 24, "2025-02": 28 * 24}
    for name in ("first", "second"):
        assert told[name].keys() == months.keys()
        assert all(
            0 < months[month] - rows < 24 or rows == months[month] for month, rows in told[name].items()
        )
        assert told[f"{name} manifests"] == 2
    assert told["range"] > 0 and told["check"] is True and told["merged"] == told["first"]["2025-01"]
    # Dagster looks into the last file alone of those that have one component's type.
    shutil.rmtree(components / "others")
    written = components / "candles" / "defs.yaml"
    written.write_text(written.read_text().replace("config:", "confg:"))
    refused = ask("dg", "check", "yaml", status=1)
    assert "defs.yaml:4 - " in refused and "'confg'" in refused


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
