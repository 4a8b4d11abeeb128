"""What this process materializes, where that is all it is for, so that it builds no more than that."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import click
from dagster import AssetKey
from dagster._core.code_pointer import ModuleCodePointer
from dagster._grpc.impl import core_execute_run, start_run_in_subprocess

_ONE_KEY = re.compile(r'(?:key:)?("?)(?P<key>[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*)\1')
_SELECTIONS = {("asset", "materialize"): "select", ("dg", "launch"): "assets"}
"""Commands that materialize what their option of this name selects."""
_RUN_WORKERS = {("api", "execute_run"), ("api", "resume_run")}
"""Commands by which launchers start a process for one run: in a container, a pod, a task."""


def selected_keys(module: str) -> frozenset[AssetKey] | None:
    """The keys that this process materializes of the definitions in `module`.

    A process does so that `dagster asset materialize` or `dg launch` runs in, or that was started for one run
    alone. None for any other process, and where what is selected is more than a list of keys.
    """
    command = _command()
    if command in _SELECTIONS:
        return _commanded_keys(module, _SELECTIONS[command])
    return _launched_keys(module, is_worker=command in _RUN_WORKERS)


def _command() -> tuple[str, str]:
    """The group and the name of the command that this process is; empty where it is none."""
    context = click.get_current_context(silent=True)
    parent = context.parent if context else None
    return (parent.info_name or "", context.info_name or "") if context and parent else ("", "")


def _commanded_keys(module: str, option: str) -> frozenset[AssetKey] | None:
    asked_for = click.get_current_context().params
    if asked_for.get("module_name") != module:
        return None
    parts = str(asked_for.get(option) or "").split(",")
    asked = [_ONE_KEY.fullmatch(part.strip()) for part in parts]
    if not all(asked):
        return None
    return frozenset(AssetKey(one["key"].split("/")) for one in asked if one)


def _launched_keys(module: str, *, is_worker: bool) -> frozenset[AssetKey] | None:
    """The keys of the run that loads the definitions, in a process that runs nothing else after it.

    Dagster tells definitions nothing of the run that they are loaded for; its functions are asked. A warm
    worker (Celery) calls the same ones, but runs others later.
    """
    asked: Mapping[str, Any] = {}
    frame = sys._getframe()
    while (caller := frame.f_back) is not None:
        frame = caller
        if frame.f_code is core_execute_run.__code__:
            asked = frame.f_locals
        is_worker = is_worker or frame.f_code is start_run_in_subprocess.__code__
    if not is_worker or not asked:
        return None
    run, pointer = asked["dagster_run"], asked["recon_job"].repository.pointer
    if not isinstance(pointer, ModuleCodePointer) or pointer.module != module or not run.asset_selection:
        return None
    return frozenset(run.asset_selection | {check.asset_key for check in run.asset_check_selection or ()})
