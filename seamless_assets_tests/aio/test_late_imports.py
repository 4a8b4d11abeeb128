"""Late imports: one thread at a time, whole packages first, and nowhere in the package otherwise."""

from __future__ import annotations

import ast
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import seamless_assets as sa
from seamless_assets.aio import late_imports as module
from seamless_assets.aio.late_imports import EXTRAS, LateModule, late_imports
from seamless_assets.errors import MissingPackage, SeamlessError

PACKAGE = Path(sa.__file__).parent
OF_ONE_THREAD = ("cli/", "sandbox/__main__.py", "aio/late_imports.py")
"""What begins a process has it for itself."""
FRAME = "dict.fromkeys('ts open high low close volume'.split(), [1735689600])"


def unguarded(tree: ast.AST, in_function: bool = False, is_guarded: bool = False) -> Iterator[int]:
    """Lines of the imports inside functions that no `with late_imports(...)` holds."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and in_function and not is_guarded:
            yield node.lineno
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = is_guarded or (
            isinstance(node, ast.With) and "late_imports(" in ast.unparse(node.items[0].context_expr)
        )
        yield from unguarded(node, inside, guarded)


def test_what_is_imported_late_is_imported_by_one_thread_at_a_time() -> None:
    found = {
        f"{name}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith(OF_ONE_THREAD)
        for line in unguarded(ast.parse(path.read_text()))
    }
    assert found == set()


def test_the_look_at_the_code_finds_an_import_in_a_function() -> None:
    code = "import a\ndef f():\n    import b\n    with late_imports('c'):\n        import c\n"
    assert list(unguarded(ast.parse(code))) == [3]


def test_nobody_else_imports_late_meanwhile_but_the_same_thread_may() -> None:
    def is_free() -> bool:
        free = module._one_at_a_time.acquire(blocking=False)
        if free:
            module._one_at_a_time.release()
        return free

    with ThreadPoolExecutor(1) as other:
        with late_imports(), late_imports("json"):
            assert not other.submit(is_free).result()
        with pytest.raises(ModuleNotFoundError), late_imports("no_such_package"):
            raise AssertionError
        assert other.submit(is_free).result()


def test_a_package_is_imported_whole_before_what_is_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "knotted").mkdir()
    (tmp_path / "knotted" / "__init__.py").write_text("import knotted.left")
    for name, other in (("left", "right"), ("right", "left")):
        (tmp_path / "knotted" / f"{name}.py").write_text(f"import knotted.{other}")
    monkeypatch.syspath_prepend(tmp_path)
    with late_imports("knotted"):
        assert {"knotted", "knotted.left", "knotted.right"} <= sys.modules.keys()


def test_calls_on_frames_import_nothing_late() -> None:
    calls = [
        f"sa.conform(pandas.DataFrame({FRAME}))",
        f"sa.conform(pyarrow.table({FRAME}))",
        f"sa.conform(pandas.DataFrame({FRAME}).assign(ts=['2025-01-01']), tz='Asia/Tokyo')",
        f"sa.fingerprint(pandas.DataFrame({FRAME}), node_id='ohlcv:binance:A/B:1m', interval=60)",
        "sa.missing_ranges([(0, 60)], (0, 120), 60)",
    ]
    program = (
        "import sys, json, pandas, pyarrow, seamless_assets as sa;"
        "sa.conform, sa.fingerprint, sa.missing_ranges; known = set(sys.modules);"
        f"{'; '.join(calls)}; print(json.dumps(sorted(set(sys.modules) - known)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    late = {name.split(".")[0] for name in json.loads(done.stdout)}
    # Arrow's own bridge to pandas, which is one module.
    assert late <= {"pyarrow"}


def test_a_package_that_is_not_installed_is_named() -> None:
    with (
        pytest.raises(MissingPackage, match="pip install no_such_package") as caught,
        late_imports("no_such_package.part"),
    ):
        raise AssertionError("a block was entered without its package")
    assert caught.value.facts == {"package": "no_such_package"}
    assert isinstance(caught.value, SeamlessError) and isinstance(caught.value, ModuleNotFoundError)


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_a_package_that_an_extra_brings_is_named_by_that_extra(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = {Requirement(one) for one in metadata.requires("seamless-assets") or ()}
    of_the_extra = {one.name for one in brought if one.marker and one.marker.evaluate({"extra": extra})}
    assert {name for name in of_the_extra if name.startswith(package)}
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(MissingPackage, match=rf"pip install 'seamless-assets\[{extra}\]'$"),
        late_imports(package),
    ):
        raise AssertionError("a block was entered without its package")


def test_a_package_that_lacks_one_of_its_own_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(ModuleNotFoundError, match="no_such_package") as caught,
        late_imports("half_installed"),
    ):
        pass
    assert not isinstance(caught.value, SeamlessError)


def test_a_package_in_place_of_its_name_is_imported_once_it_is_asked_for_by_any_thread() -> None:
    program = (
        "import sys, seamless_assets as sa; from concurrent.futures import ThreadPoolExecutor;"
        "assert 'pandas' not in sys.modules and 'ccxt' not in sys.modules;"
        f"frame = __import__('pyarrow').table({FRAME});"
        "call = lambda _: sa.fingerprint(frame, node_id='ohlcv:binance:A/B:1m', interval=60);"
        "found = set(ThreadPoolExecutor(8).map(call, range(8)));"
        "assert len(found) == 1 and 'pandas' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    late = LateModule("colorsys")
    assert late.hls_to_rgb is late.hls_to_rgb
    with pytest.raises(AttributeError, match="nothing_of_it"):
        late.nothing_of_it  # noqa: B018
    with pytest.raises(MissingPackage, match="no_such_package"):
        LateModule("no_such_package").anything  # noqa: B018


@pytest.mark.parametrize("is_collected", [False, True])
def test_no_garbage_is_looked_for_meanwhile_and_afterwards_as_before(is_collected: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if is_collected else gc.disable)()
        with late_imports(), late_imports("json"):
            assert not gc.isenabled()
        assert gc.isenabled() is is_collected
        with pytest.raises(ModuleNotFoundError), late_imports("no_such_package"):
            raise AssertionError("nothing is imported of it")
        with pytest.raises(KeyError), late_imports():
            raise KeyError
        assert gc.isenabled() is is_collected
    finally:
        (gc.enable if before else gc.disable)()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that keeps many objects, not imported yet."""
    (tmp_path / "keeps_many.py").write_text("KEPT = [[number] for number in range(3_000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "keeps_many"
    sys.modules.pop("keeps_many", None)


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """Nothing of the tests' own process is kept out of the collector's sight meanwhile."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("nothing_frozen")
def test_what_imports_keep_is_not_looked_through_as_what_is_young(kept: str) -> None:
    looked_at: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] < 2:
            young = {id(one) for generation in (0, 1) for one in gc.get_objects(generation)}
            looked_at.append(sum(id(one) in young for one in sys.modules[kept].KEPT))

    with late_imports(kept):
        gc.callbacks.append(note)
    try:
        gc.collect(1)
    finally:
        gc.callbacks.remove(note)
    assert looked_at and not any(looked_at)


@pytest.mark.usefixtures("nothing_frozen")
def test_what_was_imported_before_leaves_the_young_young_and_the_frozen_stay_frozen(kept: str) -> None:
    def is_young(one: object) -> bool:
        return any(one is other for generation in (0, 1) for other in gc.get_objects(generation))

    with late_imports(kept):
        pass
    made: list[object] = [[]]
    with late_imports(kept):
        pass
    assert is_young(made)
    del sys.modules[kept]
    gc.freeze()
    try:
        with late_imports(kept):
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
