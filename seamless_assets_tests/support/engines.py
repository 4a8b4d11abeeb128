"""Programs that the project does not need and that read what it writes; tests without them are skipped."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv" / "engines"
UV = (sys.executable, "-m", "uv")
SPARK = ("pyspark>=3.5,<3.6", "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.9.2")
SPARK_SCRIPT = """
import json, sys
from pyspark.sql import SparkSession
settings = {
    "spark.jars": sys.argv[1],
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "1",
}
spark = SparkSession.builder.master("local[1]").config(map=settings).getOrCreate()
for location, at in json.load(sys.stdin):
    rows = spark.read.format("iceberg").option("as-of-timestamp", at).load(location).orderBy("ts").collect()
    print("ROWS", json.dumps([list(row) for row in rows]))
"""
"""Of each table and instant (epoch milliseconds) that it is handed, the rows, as one line."""


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


@contextmanager
def duckdb_of_iceberg() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with what it needs for Iceberg, from packages."""
    with duckdb.connect() as connection:
        for package in (duckdb_extension_avro, duckdb_extension_iceberg):
            (extension,) = Path(package.__path__[0]).rglob("*.duckdb_extension")
            connection.load_extension(str(extension))
        yield connection


def rows_of_spark(wanted: Sequence[tuple[str, int]]) -> list[list[tuple[float, ...]]]:
    """What Spark reads of tables, by their locations, at instants (epoch milliseconds), sorted.

    Skips the test, with the reason, where Spark cannot be had.
    """
    if shutil.which("java") is None:
        pytest.skip("Java is not here, on which Spark runs")
    package, runtime = SPARK
    python, jars = python_with("spark", package), jars_of("spark-jars", runtime)
    ran = subprocess.run(
        [str(python), "-c", SPARK_SCRIPT, ",".join(map(str, jars))],
        input=json.dumps(list(wanted)),
        capture_output=True,
        text=True,
        check=False,
    )
    causes = [line for line in ran.stderr.splitlines() if "Exception" in line]
    assert ran.returncode == 0, "\n".join(causes) or ran.stderr
    lines = [line.partition("ROWS ")[2] for line in ran.stdout.splitlines() if "ROWS " in line]
    return [[tuple(row) for row in json.loads(line)] for line in lines]


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
