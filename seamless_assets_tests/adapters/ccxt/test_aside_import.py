"""An import aside: waited for by many, held by none of them."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from seamless_assets.adapters.ccxt.aside_import import AsideImport


async def test_an_import_aside_is_waited_for_by_many_while_the_loop_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    monkeypatch.setitem(sys.modules, "held_back", SimpleNamespace(by=may_end))
    (tmp_path / "slow_to_import.py").write_text("import held_back; held_back.by.wait(30); done = True")
    monkeypatch.syspath_prepend(tmp_path)
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
