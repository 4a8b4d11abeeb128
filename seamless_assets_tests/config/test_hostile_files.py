"""Files that would take all memory or time, or are no files at all, are refused soon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seamless_assets.config.document.places import MAX_PROBLEMS
from seamless_assets.config.document.reading import MAX_BYTES
from seamless_assets.config.load import load_settings
from seamless_assets.errors import ConfigError

FILE = "seamless: {artifact: {object_store_uri: ./artifacts}}\nexchanges: {binance: {symbols: [BTC/USDT]}}\n"
LISTS = "seamless: {artifact: {object_store_uri: ./artifacts}}\nexchanges:\n  binance:\n"
MAX_MEMORY = 1 << 30
"""Far above what any of these takes, and far below what it would take unbounded."""


def unfolding(first: str, line: str, one: str, joint: str = ",") -> str:
    """Nine lines, each of which holds the one before nine times."""
    lines = [f"a0: &a0 {first}"]
    lines += [
        f"a{at}: &a{at} {line % joint.join(one.format(at - 1, each) for each in range(9))}"
        for at in range(1, 9)
    ]
    return FILE + "\n".join(lines)


HOSTILE = {
    "lists of aliases": unfolding("[x]", "[%s]", "*a{0}"),
    "mappings of aliases": unfolding("{x: 1}", "{%s}", "k{1}: *a{0}"),
    "merges of merges": unfolding("{x: 1}", "{<<: [%s]}", "*a{0}"),
    "aliases that lead deeper": unfolding("[x]", "[[[[%s]]]]", "*a{0}", "]]]],[[[["),
    "an alias that holds itself": f"{FILE}a: &a [*a, *a, {{b: *a}}]\n",
    "a merge of itself": f"{FILE}a: &a {{<<: *a, b: {{<<: [*a, *a]}}}}\n",
    "lists in lists": f"{FILE}a: {'[' * 400_000}",
    "mappings in mappings": f"{FILE}a: {'{a: ' * 200_000}",
    "dashes": f"{FILE}a:\n  {'- ' * 100_000}x\n",
    "a huge text": f"{FILE}a: {'x' * 1_000_000}\n",
    "a huge key": f"{FILE}? {'k' * 1_000_000}\n: 1\n",
    "a huge number": f"{FILE}cache: {{ttl_ms: {'9' * 900_000}}}\n",
    "a huge number to the base 60": f"{FILE}cache: {{ttl_ms: 1{':1' * 400_000}}}\n",
    "many documents": "---\n" * 200_000,
    "many keys": FILE + "".join(f"k{at}: 1\n" for at in range(15_000)),
    "a key written often": FILE + "cache: {}\n" * 15_000,
    "many exchanges": LISTS + "".join(f"  k{at}:\n" for at in range(15_000)),
    "many wrong symbols": f"{LISTS}    symbols:\n" + "".join(f"      - {at}\n" for at in range(15_000)),
    "many twins": f"{LISTS}    symbols:\n" + "      - A/B\n" * 15_000,
    "many nodes": LISTS
    + f"    symbols: [{','.join(f'A{at}/B' for at in range(5_000))}]\n"
    + f"    timeframes: [{','.join(f'{at}s' for at in range(1, 5_000))}]\n",
    "a variable named often": f"{FILE}cache: {{ttl_ms: '{'${X}' * 200_000}'}}\n",
    "variables without end": f"{FILE}cache: {{ttl_ms: '{'${' * 400_000}'}}\n",
    "many placeholders": f"{FILE}cache: {{key_template: '{'{node_id}' * 90_000}'}}\n",
    "more than a file may hold": f"{FILE}{'#' * MAX_BYTES}",
}
READ = """\
import resource, sys
from pathlib import Path
from seamless_assets.config.load import ConfigError, load_settings
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + %d, used + %d))
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_settings(file)
    except ConfigError as error:
        print(f"{file.name}: {len(error.problems)} problems in {len(str(error))} characters")
"""


def test_no_file_takes_all_memory_or_time(tmp_path: Path) -> None:
    for name, text in HOSTILE.items():
        (tmp_path / name).write_text(text)
    result = subprocess.run(
        [sys.executable, "-c", READ % (MAX_MEMORY, MAX_MEMORY), tmp_path],
        env={**os.environ, "X": "x" * 100_000},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(": ") for line in result.stdout.splitlines())
    assert set(lines) == set(HOSTILE)
    for name, line in lines.items():
        problems, _, _, characters, _ = line.split()
        assert 1 <= int(problems) <= MAX_PROBLEMS, name
        assert int(characters) < 500_000, name


def refusal(file: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    (problem,) = caught.value.problems
    return problem.message


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "cannot be read" in refusal(tmp_path / "socket")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in (tmp_path / "pipe", "/dev/zero", "/dev/stdin"):
        assert refusal(name) == "is a pipe, socket or device; name a file"
    assert refusal(tmp_path) == "cannot be read: Is a directory"
    assert "symbolic links" in refusal(tmp_path / "loop")
    assert "no such file" in refusal(tmp_path / "none")
    assert "cannot be read" in refusal("x" * 5_000)


@pytest.mark.parametrize("path", ["", "a\0b", b"seamless.yaml", 5, {}, ["seamless.yaml"]])
def test_what_is_no_path_is_an_error(path: object) -> None:
    assert "is not a path" in refusal(path)  # type: ignore[arg-type]


def test_a_file_behind_a_link_is_read_where_the_link_is(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file.yaml").write_text(FILE)
    (tmp_path / "seamless.yaml").symlink_to(tmp_path / "kept" / "file.yaml")
    loaded = load_settings(tmp_path / "seamless.yaml")
    assert loaded.seamless.artifact.object_store_uri == str(tmp_path / "artifacts")
