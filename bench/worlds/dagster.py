"""Dagster as it is deployed: a webserver and a daemon of one project, and what they cost together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bench.ending import ENDING
from bench.measuring.sample import Sample
from bench.places import OURS, ROOT, reach_support
from seamless_assets.config.load import load_settings
from seamless_assets.core.calendar.partition import partition_start
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.nodes.checks import check_specs
from seamless_assets.defs.shards import shards_of

MODULE, BARE_MODULE = "seamless_assets.definitions", "bench.contenders.bare_location"
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_S, GONE_S, ENOUGH_S = 0.5, 20, 1_800
CODE_SERVER = b"\0-m\0dagster\0api\0grpc\0"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
READY = """{workspaceOrError {... on Workspace {locationEntries {name loadStatus
  locationOrLoadError {... on PythonError {message}}}}}}"""
STATUS = "query ($run: ID!) {runOrError(runId: $run) {... on Run {status}}}"
RUNS = "{runsOrError {... on Runs {results {runId status startTime endTime}}}}"
BEATS = '{instance {daemonHealth {daemonStatus(daemonType: "QUEUED_RUN_COORDINATOR") {healthy}}}}'
LAUNCH = """mutation ($asked: ExecutionParams!) {launchPipelineExecution(executionParams: $asked)
  {__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""


def write_bare(folder: Path) -> Path:
    """A file of what bare assets have of the project in a folder: names, keys, checks, first days."""
    file, names = folder / "bare.json", ProjectNames()
    shards = []
    for shard in shards_of(load_settings(folder / "seamless.yaml"), names):
        assert shard.unit == "day"
        keys = [names.asset_key(node) for node in shard.nodes]
        checks = [
            {"name": spec.name, "description": spec.description, "blocking": spec.blocking}
            for spec in check_specs(keys[0])
        ]
        first = datetime.fromtimestamp(partition_start(shard.unit, shard.start), UTC)
        shards.append(
            {
                "name": shard.name,
                "first": first.isoformat(),
                "keys": [key.path for key in keys],
                "checks": checks,
            }
        )
    file.write_text(json.dumps(shards))
    return file


class Deployment:
    """Processes of one project's folder, whose processor time is told together; a context manager.

    `module` holds the definitions, and `python` is what runs it. The folder has a seamless.yaml and a
    `DAGSTER_HOME`, `home`.
    """

    def __init__(
        self,
        folder: Path,
        module: str = MODULE,
        environment: dict[str, str] | None = None,
        python: Path = OURS,
    ) -> None:
        reach_support()
        from support.services import free_port

        self.folder, self._module, self._port, self._python = folder, module, free_port(), python
        self.environment = {
            "PATH": f"{python.parent}:{os.defpath}",
            "HOME": str(folder),
            "DAGSTER_HOME": str(folder / "home"),
            "SEAMLESS_CONFIG": str(folder / "seamless.yaml"),
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }
        self._processes: dict[subprocess.Popen[bytes], Path] = {}
        """Those that were started, each with its log."""
        self._location = ""

    @classmethod
    def of_bare(cls, folder: Path, python: Path) -> Self:
        """The same of bare assets with the nodes of the project in the folder."""
        return cls(folder, BARE_MODULE, {"BARE_ASSETS": str(write_bare(folder))}, python)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*reversed(self._processes)]:
            self.end(process)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A module of Python, in a session of its own that its children share."""
        told = self.folder / f"{words[0]}.log"
        with told.open("ab") as log, ENDING.put_off():
            process = subprocess.Popen(
                [self._python, "-m", *words],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._processes[process] = told
        return process

    def start_daemon(self) -> None:
        """The daemon, which loads the location for itself; returns once it looks for runs that wait."""
        process = self.start("dagster._daemon", "run", "-m", self._module)
        self.until(self._has_healthy_daemon, "the daemon's health", process)

    def start_webserver(self) -> None:
        """The webserver; returns once it has loaded the location. Raises `RuntimeError` where that fails."""
        process = self.start("dagster_webserver", "-m", self._module, "-p", str(self._port))
        self.until(self._is_ready, "the webserver's location", process)

    def start_workers(self, workers: int, queues: str) -> None:
        """Warm Celery workers, by the command of `ops/cluster/compose.yaml`; returns once they are ready."""
        warm = "seamless_assets.definitions"
        words = ("-A", "seamless_assets.defs.cluster.worker", "worker", "-I", warm, "-Q", queues)
        process = self.start("celery", *words, "-c", str(workers), "-l", "INFO")
        log = self._processes[process]
        self.until(lambda: "ready." in log.read_text(), "the workers", process)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, and what is left of those that it started."""
        with ENDING.put_off():
            del self._processes[process]
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def launch(self, keys: Sequence[Sequence[str]], tags: dict[str, str]) -> str:
        """The id of a run over assets, launched as the UI does it."""
        asked = {
            "selector": {
                "repositoryLocationName": self._location,
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": list(key)} for key in keys],
            },
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self.ask(LAUNCH, asked=asked)["launchPipelineExecution"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(f"nothing was launched: {answer}")
        return str(answer["run"]["runId"])

    def await_end(self, run: str) -> None:
        """Wait until a run has succeeded."""

        def has_succeeded() -> bool:
            status = self.ask(STATUS, run=run)["runOrError"]["status"]
            if status in ENDED - {"SUCCESS"}:
                raise RuntimeError(f"run {run} ended with {status}")
            return bool(status == "SUCCESS")

        self.until(has_succeeded, f"the end of run {run}")

    def await_ends(self, runs: int) -> list[dict[str, Any]]:
        """Start and end of each of so many runs, once all have succeeded."""
        found: list[dict[str, Any]] = []

        def have_succeeded() -> bool:
            found[:] = self.ask(RUNS)["runsOrError"]["results"]
            if failed := [one for one in found if one["status"] in ENDED - {"SUCCESS"}]:
                raise RuntimeError(f"{len(failed)} runs failed: {failed[0]}")
            return len(found) == runs and {one["status"] for one in found} == {"SUCCESS"}

        self.until(have_succeeded, f"the end of {runs} runs", every_s=4 * LOOK_S)
        return found

    def measured_run(self, keys: Sequence[Sequence[str]], tags: dict[str, str]) -> Sample:
        """Processor time of all processes from a run's launch until its own process is gone."""
        before, used = self._working(), self.cpu()
        self.await_end(self.launch(keys, tags))
        self.until(
            lambda: self._working() <= before,
            "the end of the run's process",
            every_s=LOOK_S / 5,
            within_s=GONE_S,
        )
        used = self.cpu() - used
        return Sample(used, used)

    def cpu(self) -> float:
        """Seconds of processor time of all processes so far, those that ended among them."""
        return sum(sum(map(int, words[11:15])) for words in self._statuses().values()) / TICKS

    def ask(self, query: str, **variables: Any) -> Any:
        """What the webserver answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self._port}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=ENOUGH_S) as answer:
            return json.load(answer)["data"]

    def until(
        self,
        is_so: Callable[[], bool],
        what: str,
        process: subprocess.Popen[bytes] | None = None,
        every_s: float = LOOK_S,
        within_s: float = ENOUGH_S,
    ) -> None:
        """Wait until it `is_so`. Raises `RuntimeError` after `within_s`, and once `process` has ended."""
        deadline = time.monotonic() + within_s
        while not is_so():
            has_ended = process is not None and process.poll() is not None
            if has_ended or time.monotonic() > deadline:
                why = "its process has ended" if has_ended else f"not within {within_s} s"
                said = self._processes[process].read_text()[-3_000:] if process is not None else ""
                raise RuntimeError(f"{what} was waited for: {why}\n{said}")
            time.sleep(every_s)

    def _has_healthy_daemon(self) -> bool:
        return bool(self.ask(BEATS)["instance"]["daemonHealth"]["daemonStatus"]["healthy"])

    def _is_ready(self) -> bool:
        try:
            (entry,) = self.ask(READY)["workspaceOrError"]["locationEntries"]
        except OSError:
            return False
        self._location = entry["name"]
        if message := (entry["locationOrLoadError"] or {}).get("message"):
            raise RuntimeError(f"the location {self._location} was not loaded: {message}")
        return bool(entry["loadStatus"] == "LOADED")

    def _working(self) -> set[int]:
        """The processes that have not ended, but for those that are no run's."""
        found = self._statuses().items()
        return {number for number, words in found if words[0] != "Z" and not _is_no_runs(number)}

    def _statuses(self) -> dict[int, list[str]]:
        """Of each process what the kernel tells behind its name: its state, parent, group, session, times."""
        sessions, found = {process.pid for process in self._processes}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) in sessions:
                found[int(folder.name)] = words
        return found


def _is_no_runs(number: int) -> bool:
    """Whether a process stays once anything was run, or comes and goes whatever runs.

    The one is what multiprocessing starts beside its first child, the other the daemon's code servers: it
    starts a new one from time to time.
    """
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False
    return b"multiprocessing.resource_tracker" in words or CODE_SERVER in words
