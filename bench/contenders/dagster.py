"""A code location, built and described as the webserver loads it.

    python -m bench.contenders.dagster KIND FILE

KIND is `ours`, of a seamless.yaml, or `bare`, of what `bench.worlds.dagster.write_bare` wrote: multi-assets
with the same keys, checks and partitions, which need nothing but Dagster. Prints the processor time in
seconds, imports left out.
"""

# Dagster reads the annotations of assets at run time, so they are not postponed here.

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap


def bare_definitions(shards: list[dict[str, Any]]) -> dg.Definitions:
    """Bare multi-assets of the nodes of shards, of a partition each day, and a job of each."""
    made = [_bare_assets(**shard) for shard in shards]
    jobs = [dg.define_asset_job(f"job_{one.op.name}", dg.AssetSelection.assets(one)) for one in made]
    return dg.Definitions(assets=made, jobs=jobs, executor=dg.in_process_executor)


def _bare_assets(
    name: str, first: str, keys: list[list[str]], checks: list[dict[str, Any]]
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=name,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        partitions_def=dg.DailyPartitionsDefinition(
            datetime.fromisoformat(first), timezone="UTC", end_offset=1
        ),
        specs=[dg.AssetSpec(key, group_name="bare", skippable=True) for key in keys],
        check_specs=[dg.AssetCheckSpec(**check, asset=dg.AssetKey(key)) for key in keys for check in checks],
    )
    def bare(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        """Say that all is there and passes, of each partition."""
        for key in sorted(context.selected_asset_keys):
            checked = [
                dg.AssetCheckResult(passed=True, asset_key=key, check_name=check["name"]) for check in checks
            ]
            yield dg.MaterializeResult(asset_key=key, check_results=checked)

    return bare


def described_seconds(build: Callable[[], dg.Definitions]) -> float:
    """Processor time that it takes to build definitions and to describe them."""
    began = time.process_time()
    RepositorySnap.from_def(build().get_repository_def())
    return time.process_time() - began


def main() -> None:
    """Load, and say what it cost."""
    kind, file = sys.argv[1], Path(sys.argv[2])
    if kind == "bare":
        build = partial(bare_definitions, json.loads(file.read_text()))
    else:
        from seamless_assets.config.load import load_settings
        from seamless_assets.defs.build import build_definitions

        build = partial(build_definitions, load_settings(file))
    print(described_seconds(build))


if __name__ == "__main__":
    main()
