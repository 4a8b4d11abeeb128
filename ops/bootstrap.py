"""One command from a bare clone: make the environment, then run the main job or the tests.

    python3 ops/bootstrap.py demo
    python3 ops/bootstrap.py check                      # while writing: no services, under 90 seconds
    python3 ops/bootstrap.py test [pytest arguments]    # before a push: everything, under 20 minutes
    python3 ops/bootstrap.py deep [pytest arguments]    # now and then: thousands of seeds, for hours
    python3 ops/bootstrap.py docs [--serve]             # the documentation's site, into build/site/html

Needs Python 3.11+ and pip, nothing else. Everything lands in `.venv` beside this folder's parent; running
again is quick while nothing changed, and an interrupted run is simply started again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TESTS = Path("seamless_assets_tests")
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"
JOBS = ("demo", "check", "test", "deep", "docs")
UNIT = ("aio", "config", "core", "flows", "test_determinism.py")
"""Tests that need no service and take seconds, below the folder of tests."""
PURE = (
    *("core/bars", "core/calendar", "core/imports", "core/reading", "core/releases"),
    "sandbox/test_replay.py",
)
"""Tests of what deals in frames, below the folder of tests; they hold for every pandas that we take."""
OLDEST_PANDAS = "2.2"
TEST_TOOLS = ("hypothesis", "pandera", "polars", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist")
ALL_TESTS = ("-n", "4", "--dist", "worksteal")
"""Two workers for each core of CI: tests wait for servers and processes half of their time."""
DEEP_TESTS = (*ALL_TESTS, "-m", "deep", "--timeout", "14400")


TOLD = 10_000
"""So many characters are shown of what tells why tests cannot be collected."""


@dataclass(frozen=True)
class Service:
    """Something real that tests need: the program that shows it is there, and Debian's packages of it."""

    name: str
    program: str
    packages: tuple[str, ...]


SERVICES = (
    Service("a headless browser", "chromedriver", ("chromium", "chromium-driver")),
    Service("Java", "java", ("openjdk-17-jre-headless",)),
    Service("Maven", "mvn", ("maven",)),
    Service("Redis", "redis-server", ("redis-server",)),
    Service("OpenSSL", "openssl", ("openssl",)),
    Service("PostgreSQL", "pg_ctlcluster", ("postgresql",)),
    Service("Prometheus's tools", "promtool", ("prometheus",)),
    Service("systemd's tools", "systemd-analyze", ("systemd",)),
)
QUESTDB = "org.questdb:questdb:9.3.4"
S3_SERVER = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
S3_PROGRAM = VENV / "services" / "versitygw-1.8.0"
QUESTDB_JAR = VENV / "services" / "questdb-9.3.4.jar"
KEEP_CLASSES = (
    "import sys; from pathlib import Path; sys.path[:0] = [sys.argv[1]]\n"
    "from support.services import QuestDbServer\n"
    "QuestDbServer(Path(sys.argv[2]), Path(sys.argv[3])).keep_classes()\n"
)


def main() -> int:
    """Set up, then run; the exit status is that of the job."""
    if sys.version_info < (3, 11):
        say(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}; use a later one")
        return 2
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        say(f"usage: python3 ops/bootstrap.py {'|'.join(JOBS)}")
        return 2
    os.chdir(ROOT)
    # Without its bytecode kept, ccxt is compiled anew in each process, which takes seconds.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    job, arguments = sys.argv[1], sys.argv[2:]
    if not works(PYTHON, "-c", "import sys"):
        make_environment()
    services = (provide_programs, provide_s3_server) if job in ("test", "deep") else ()
    with ThreadPoolExecutor() as beside:
        provided = [beside.submit(provide) for provide in services]
        install("" if job == "demo" else "[dev]")
    for service in provided:
        service.result()
    if job == "demo":
        return run(VENV / "bin" / "seamless", "demo", *arguments)
    if job == "docs":
        return run(PYTHON, Path("ops") / "site" / "build.py", *arguments)
    if job == "check":
        return lint() or test(arguments or ["-q", *ALL_TESTS, *(str(TESTS / name) for name in UNIT)])
    keep_classes()
    if job == "deep":
        return test([*DEEP_TESTS, *arguments])
    if arguments:
        return lint() or test(arguments)
    return lint(meanwhile=lambda: compile_tests() or test_oldest_pandas()) or test(list(ALL_TESTS))


def install(extra: str) -> None:
    """Install the locked dependencies and the project, unless just that was done before."""
    wanted = fingerprint(extra)
    if PYTHON.exists() and STAMP.exists() and wanted in STAMP.read_text().split():
        return
    say(f"setting up {VENV.relative_to(ROOT)} (seconds with uv, minutes with pip alone)")
    target = ("--constraint", "constraints.txt", "--editable", f".{extra}")
    if works(PYTHON, "-m", "uv", "--version") or works(*pip(), "install", "--quiet", "uv"):
        check(
            PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON, *target, env=uv_environment()
        )
    else:
        say("uv cannot be had; pip takes its place")
        check(*pip(), "install", "--quiet", *target)
    both = {wanted, fingerprint("")} if extra else {wanted}
    STAMP.write_text("\n".join(sorted(both)))


def make_environment() -> None:
    """A virtual environment, also where Debian's Python comes without the part that installs pip."""
    shutil.rmtree(VENV, ignore_errors=True)
    if works(sys.executable, "-c", "import ensurepip"):
        check(sys.executable, "-m", "venv", VENV)
    else:
        check(sys.executable, "-m", "venv", "--without-pip", VENV)


def pip() -> tuple[object, ...]:
    """The pip that installs into the environment: its own, else this Python's."""
    if works(PYTHON, "-m", "pip", "--version"):
        return (PYTHON, "-m", "pip")
    return (sys.executable, "-m", "pip", "--python", PYTHON)


def uv_environment() -> dict[str, str]:
    """uv asks the package index that pip is set up for, and trusts the certificates that pip trusts."""
    environment = dict(os.environ)
    for option, variable in (("global.index-url", "UV_DEFAULT_INDEX"), ("global.cert", "SSL_CERT_FILE")):
        answer = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", option],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode == 0 and answer.stdout.strip():
            environment.setdefault(variable, answer.stdout.strip())
    return environment


def provide_programs() -> None:
    """Install the programs that are not here, and the QuestDB server by them; say why where that cannot be.

    What it means that one is missing, its tests decide.
    """
    if missing := [service for service in SERVICES if not shutil.which(service.program)]:
        install_programs(missing)
    provide_questdb()


def install_programs(missing: list[Service]) -> None:
    """Let Debian install them, all at once where all are to be had."""
    names = ", ".join(service.name for service in missing)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        say(f"not here, and only root on Debian can install it; its tests will say so: {names}")
        return
    say(f"installing {names}")
    apt_get("update")
    if not apt_get("install", "-y", *(package for service in missing for package in service.packages)):
        for service in missing:
            apt_get("install", "-y", *service.packages)


def apt_get(command: str, *arguments: str) -> bool:
    """Whether Debian's installer did it; it is said why where it did not."""
    answer = subprocess.run(
        ["apt-get", command, "-qq", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        say(f"apt-get {command} {' '.join(arguments)} failed: {answer.stderr.strip()[-300:]}")
    return answer.returncode == 0


def provide_questdb() -> None:
    """Fetch the QuestDB server, one jar, where Maven is; its tests say what follows where it is not."""
    if QUESTDB_JAR.exists() or not shutil.which("mvn"):
        return
    say(f"fetching {QUESTDB}")
    folder = QUESTDB_JAR.parent
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={QUESTDB}", f"-DoutputDirectory={folder}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        say(f"{' '.join(command)} failed: {answer.stdout.strip()[-300:]}")


def keep_classes() -> None:
    """Keep the classes of QuestDB as Java has read them."""
    if not QUESTDB_JAR.exists() or QUESTDB_JAR.with_suffix(".jsa").exists() or not shutil.which("java"):
        return
    say("keeping the classes of QuestDB, which halves the work of its starts")
    with tempfile.TemporaryDirectory() as folder:
        if run(PYTHON, "-c", KEEP_CLASSES, TESTS, QUESTDB_JAR.resolve(), folder):
            say("its classes are not kept, so each start takes twice the work")


def provide_s3_server() -> None:
    """Build the S3 server once (minutes), where Go is; its tests say what follows where it is not."""
    if S3_PROGRAM.exists() or not shutil.which("go"):
        return
    say(f"building {S3_SERVER}")
    folder = S3_PROGRAM.parent / "building"
    built = {**os.environ, "GOBIN": str(folder.resolve()), "CGO_ENABLED": "0"}
    command = ["go", "install", S3_SERVER]
    answer = subprocess.run(command, env=built, capture_output=True, text=True, check=False)
    if answer.returncode:
        say(f"{' '.join(command)} failed: {answer.stderr.strip()[-300:]}")
    else:
        (folder / "versitygw").rename(S3_PROGRAM)
        folder.rmdir()


def lint(meanwhile: Callable[[], int] = lambda: 0) -> int:
    """Format, lint, the house's walls and types; `meanwhile` is run beside the last, which take one core."""
    tools = VENV / "bin"
    for command in (
        (tools / "ruff", "check", "--quiet", "."),
        (tools / "ruff", "format", "--check", "--quiet", "."),
        (tools / "lint-imports",),
    ):
        if status := announced(*command):
            return status
    say("mypy")
    with tempfile.TemporaryFile() as told:
        types = subprocess.Popen([tools / "mypy"], stdout=told, stderr=subprocess.STDOUT)
        try:
            status = meanwhile()
        finally:
            types.wait()
            told.seek(0)
            print(told.read().decode(), end="", flush=True)
    return types.returncode or status


def test(arguments: list[str]) -> int:
    """Run pytest."""
    return announced(PYTHON, "-m", "pytest", *arguments)


def compile_tests() -> int:
    """Collect the tests once, so that not each worker compiles all that they import."""
    say("compiling what tests import")
    collected = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "--collect-only"], capture_output=True, check=False
    )
    if collected.returncode:
        print(collected.stdout.decode(errors="replace")[-TOLD:], flush=True)
    return collected.returncode


def test_oldest_pandas() -> int:
    """Run the pure part of the tests on the oldest pandas, in an environment of its own."""
    if not works(PYTHON, "-m", "uv", "--version"):
        say(f"uv cannot be had, so nothing is tested on pandas {OLDEST_PANDAS}")
        return int(os.environ.get("CI") == "true")
    home = VENV / f"pandas-{OLDEST_PANDAS}"
    python, stamp = home / "bin" / "python", home / ".installed"
    if not stamp.exists() or stamp.read_text() != fingerprint(OLDEST_PANDAS):
        uv, environment = (PYTHON, "-m", "uv"), uv_environment()
        check(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, home, env=environment)
        locked, pins = home / "constraints.txt", (ROOT / "constraints.txt").read_text().splitlines()
        pins = [pin for pin in pins if not pin.startswith(("pandas==", "pandas-stubs=="))]
        locked.write_text("\n".join([*pins, f"pandas=={OLDEST_PANDAS}.*", ""]))
        target = ("--constraint", locked, "--editable", ".", *TEST_TOOLS)
        check(*uv, "pip", "install", "--quiet", "--python", python, *target, env=environment)
        stamp.write_text(fingerprint(OLDEST_PANDAS))
    return announced(python, "-m", "pytest", "-q", *ALL_TESTS, *(str(TESTS / name) for name in PURE))


def announced(*command: object) -> int:
    """Say what is run, and run it."""
    say(f"{Path(str(command[0])).name} {' '.join(str(part) for part in command[1:])}")
    return run(*command)


def fingerprint(extra: str) -> str:
    """Changes when anything that decides the installation does."""
    parts = [extra.encode(), sys.version.encode(), *(Path(name).read_bytes() for name in LOCKED)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


LOCKED = ("pyproject.toml", "constraints.txt")


def run(*command: object) -> int:
    return subprocess.run([str(part) for part in command], check=False).returncode


def check(*command: object, env: dict[str, str] | None = None) -> None:
    words = [str(part) for part in command]
    status = subprocess.run(words, env=env, check=False).returncode
    if status:
        say(f"failed ({status}): {' '.join(words)}")
        sys.exit(status)


def works(*command: object) -> bool:
    try:
        answer = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    except OSError:
        return False
    return answer.returncode == 0


def say(message: str) -> None:
    print(f"bootstrap: {message}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
