"""The rule that a seed and the ports decide all that happens, held by reading the code."""

from __future__ import annotations

import ast

import pytest
from support.determinism import REFUSED, SEEDED, find_offences
from test_house import PACKAGE

ROOMS = ("core", "flows", "aio")
EXCUSED = {
    # A package that is named in the code is imported whole before its modules; the code says which.
    ("aio/late_imports.py", "importlib.import_module"),
    # They keep threads of other people apart, and start none.
    ("aio/collector.py", "threading.RLock"),
    ("aio/late_imports.py", "threading.RLock"),
    # Its thread copies memory and ends with the call: what comes of it is the same whichever half is first.
    ("aio/halves.py", "concurrent.futures.ThreadPoolExecutor"),
}


def sources() -> dict[str, str]:
    paths = sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))
    return {str(path.relative_to(PACKAGE)): path.read_text() for path in paths}


def test_what_happens_hangs_on_the_seed_and_the_ports_alone() -> None:
    found = find_offences(sources(), may_read_loop_time="aio/")
    left = [one for one in found if not any(one.path == p and one.what.startswith(n) for p, n in EXCUSED)]
    assert not left, "\n".join(str(offence) for offence in left)


def test_no_excuse_outlives_what_it_excuses() -> None:
    found = find_offences(sources(), may_read_loop_time="aio/")
    for path, name in EXCUSED:
        assert any(one.path == path and one.what.startswith(name) for one in found), path


SINGLE = [name for name in REFUSED if "." in name and name != "numpy.random"]


@pytest.mark.parametrize("name", [*SINGLE, "hash", "id", "__import__"])
def test_a_refused_name_is_found_however_it_is_imported(name: str) -> None:
    module, _, member = name.rpartition(".")
    ways = [f"y = {name}(x)"]
    if module:
        ways = [
            f"import {module}\ny = {name}(x)",
            f"import {module} as m\ny = m.{member}(x)",
            f"from {module} import {member}",
            f"from {module} import {member} as other\ny = other(x)",
        ]
    for way in ways:
        assert find_offences({"planted.py": way}), way


PLANTED = {
    "import time\ndef f():\n    return time.monotonic()": 3,
    "from time import perf_counter_ns": 1,
    "from datetime import datetime\nx = datetime.now(tz=None)": 2,
    "import datetime as dt\nx = dt.date.today()": 2,
    "import random\nx = random.choice([1, 2])": 2,
    "from random import shuffle": 1,
    "from random import Random\nx = Random()": 2,
    "import numpy as np\nx = np.random.default_rng()": 2,
    "import numpy as np\nx = np.random.rand(3)": 2,
    "from uuid import uuid4": 1,
    "import secrets\nx = secrets.token_hex(3)": 2,
    "import asyncio\nasync def f():\n    await asyncio.sleep(0)": 3,
    "import asyncio\nx = asyncio.get_event_loop().time()": 2,
    "import asyncio\nloop = asyncio.get_running_loop()\nx = loop.time()": 3,
    "for x in {1, 2}:\n    pass": 1,
    "for x in set(y):\n    pass": 1,
    "x = [y for y in frozenset(z)]": 1,
    "x = {y: 1 for y in set(z)}": 1,
    "x = list({y for y in z})": 1,
    "x = dict.fromkeys(set(z))": 1,
    "x = ', '.join({str(y) for y in z})": 1,
    "x = f'{set(z)}'": 1,
    "x = next(iter(set(z)))": 1,
    "x = [*set(y), 1]": 1,
    "a, b = {1, 2}": 1,
    "def f(x):\n    yield from set(x)": 2,
    "x = sum({0.1, 0.2})": 1,
    "x = max(set(y), key=len)": 1,
    "def f(x):\n    y = set(x)\n    return [z for z in y]": 3,
    "def f(x: set[int]):\n    return tuple(x)": 2,
    "def f(x):\n    y = x | {1}\n    for z in y:\n        pass": 3,
    "def f(x, y):\n    for z in x.keys() - y:\n        pass": 2,
    "def f(x):\n    y = set(x)\n    return y.pop()": 3,
    "import asyncio\nasync def f(x):\n    done, _ = await asyncio.wait(x)\n    return [t for t in done]": 4,
    "class A:\n    held: set[int]\ndef f(a):\n    return list(a.held)": 4,
    "def names() -> frozenset[str]: ...\ndef f():\n    return [n for n in names()]": 3,
    "def f(x, y):\n    return list(x.held.union(y))": 2,
    "A = {1, 2}\ndef f():\n    return list(A)": 3,
    "A: frozenset[int] = frozenset()\ndef f():\n    return [*A]": 3,
    "def f(x):\n    y, z = set(x), 1\n    return tuple(y)": 3,
    "def f(x, y):\n    x += set(y)": 2,
    "from collections import deque\nx = deque(set(y))": 2,
    "import pandas as pd\nx = pd.Timestamp.utcnow()": 2,
    "import os\nx = os.environ['X']": 2,
    "import tempfile\nx = tempfile.mkdtemp()": 2,
    "import asyncio\nasyncio.get_running_loop().call_later(1, f)": 2,
    "x = sorted(y, key=id)": 1,
    "x = hash(y)": 1,
}


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_offence_is_found_at_its_line(code: str) -> None:
    assert [offence.line for offence in find_offences({"planted.py": code})] == [PLANTED[code]]


@pytest.mark.parametrize(
    "code",
    [
        "from random import Random\ndef f(rng: Random):\n    return Random(rng.random())",
        "import numpy as np\nx = np.random.default_rng(7)",
        "x = sorted({y for y in z})",
        "x = len(set(y)) + max({1, 2})",
        "x = {y + 1 for y in set(z)}",
        "x = any(y > 1 for y in set(z))",
        "x = 1 in {1, 2}",
        "def f(x):\n    y = set(x)\n    return sorted(y - {1})",
        "for x in dict.fromkeys(y):\n    pass",
        "class A:\n    held: set[int]\nclass B:\n    held: list[int]\ndef f(b):\n    return list(b.held)",
        "import asyncio\nasync def f(x):\n  async with asyncio.timeout(1):\n    await asyncio.wait({x})",
    ],
)
def test_sound_code_is_let_through(code: str) -> None:
    assert find_offences({"sound.py": code}) == []


def test_an_offence_in_any_function_of_the_real_code_is_found() -> None:
    """A line planted into each function: the reader reaches every corner of these rooms."""
    planted = 0
    for path, source in sources().items():
        tree = ast.parse(source)
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        for function in functions:
            function.body.append(ast.parse("hash(1)").body[0])
        found = find_offences({path: ast.unparse(ast.fix_missing_locations(tree))})
        assert sum(offence.what.startswith("hash:") for offence in found) == len(functions), path
        planted += len(functions)
    assert planted > 300


def test_the_seeded_are_refused_without_a_seed() -> None:
    for name in SEEDED:
        module, _, member = name.rpartition(".")
        assert not find_offences({"sound.py": f"from {module} import {member}\nx = {member}(1)"})
        assert find_offences({"planted.py": f"from {module} import {member}\nx = {member}()"})
