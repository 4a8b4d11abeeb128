"""A code location, built and described as the webserver loads it.

    python -m bench.contenders.dagster KIND FILE

KIND is `ours`, or `bare` for multi-assets with the same keys, checks and partitions. Prints the processor
time in seconds, imports left out.
"""

# Dagster reads the annotations of assets at run time, so they are not postponed here.

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap

from seamless_assets.config.load import Settings, load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.nodes.checks import check_specs
from seamless_assets.defs.partitions import partitions_definition
from seamless_assets.defs.shards import shards_of


def bare_definitions(settings: Settings) -> dg.Definitions:
    """Bare multi-assets of the nodes of the settings, and a job of each."""
    names, made = ProjectNames(), []
    for shard in shards_of(settings, names):
        keys = [names.asset_key(node) for node in shard.nodes]

        @dg.multi_asset(
            name=shard.name,
            can_subset=True,
            backfill_policy=dg.BackfillPolicy.single_run(),
            partitions_def=partitions_definition(shard.unit, shard.start),
            specs=[dg.AssetSpec(key, group_name="bare", skippable=True) for key in keys],
            check_specs=[spec for key in keys for spec in check_specs(key)],
        )
        def bare(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
            """Say that all is there and passes, of each partition."""
            for key in sorted(context.selected_asset_keys):
                names = [spec.name for spec in check_specs(key)]
                checked = [dg.AssetCheckResult(passed=True, asset_key=key, check_name=name) for name in names]
                yield dg.MaterializeResult(asset_key=key, check_results=checked)

        made.append(bare)
    jobs = [dg.define_asset_job(f"job_{one.op.name}", dg.AssetSelection.assets(one)) for one in made]
    return dg.Definitions(assets=made, jobs=jobs, executor=dg.in_process_executor)


def load_seconds(file: Path, build: Callable[[Settings], dg.Definitions] = build_definitions) -> float:
    """Processor time that it takes to build the definitions of a file and to describe them."""
    settings = load_settings(file)
    began = time.process_time()
    RepositorySnap.from_def(build(settings).get_repository_def())
    return time.process_time() - began


def main() -> None:
    """Load, and say what it cost."""
    kind, file = sys.argv[1:]
    print(load_seconds(Path(file), bare_definitions if kind == "bare" else build_definitions))


if __name__ == "__main__":
    main()
