"""An import aside: waited for by many, held by none of them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from seamless_assets.adapters.ccxt.aside_import import AsideImport


@pytest.fixture
def may_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Ends the imports of `slow_to_import`, and of `slow_to_fail`, which raises then."""
    held = threading.Event()
    monkeypatch.setitem(sys.modules, "held_back", SimpleNamespace(by=held))
    (tmp_path / "slow_to_import.py").write_text("import held_back; held_back.by.wait(30); done = True")
    (tmp_path / "slow_to_fail.py").write_text("import held_back; held_back.by.wait(30); raise OSError('no')")
    monkeypatch.syspath_prepend(tmp_path)
    yield held
    held.set()
    sys.modules.pop("slow_to_import", None)


async def test_an_import_aside_is_waited_for_by_many_while_the_loop_runs_on(may_end: threading.Event) -> None:
    aside = AsideImport("slow_to_import")
    waiting = [asyncio.create_task(aside.ended()) for _ in range(50)]
    given_up = asyncio.create_task(aside.ended())
    await asyncio.sleep(0)
    given_up.cancel()
    # The threads of the loop are for others too.
    await asyncio.wait_for(asyncio.to_thread(lambda: None), 20)
    assert not any(task.done() for task in waiting)
    may_end.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert sys.modules["slow_to_import"].done
    await aside.ended()


# What a thread raises is told by its hook, which pytest takes for a failure.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_who_waits_for_an_import_that_fails_goes_on_and_is_told_where_it_is_used(
    may_end: threading.Event,
) -> None:
    aside = AsideImport("slow_to_fail")
    (thread,) = (each for each in threading.enumerate() if each.name == "import slow_to_fail")
    waiting = [asyncio.create_task(aside.ended()) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    may_end.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 20)
    await aside.ended()
    # Its hook is called after those who wait are.
    thread.join(20)
    with pytest.raises(OSError, match="no"):
        import_module("slow_to_fail")
