"""Many nodes in Dagster beside bare assets, in one run.

    python bench/dagster_speed.py [--nodes 1000 5000] [--rounds 3]

A code location of so many nodes is built and described as the webserver loads it, beside bare multi-assets
with the same keys, checks and partitions. Then one asset is materialized with 10 nodes declared and with the
most, from an exchange of this machine. Each measurement is a process of its own, all of which take turns;
printed are medians of the CPU seconds of a process and its children, which other work on the machine changes
little. Exits with 1 where a code location takes more than 1.3 x bare assets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from seamless_assets.sandbox.server import Sandbox  # noqa: E402

GOAL = 1.3
FEW = 10
LOAD = """
import sys, time
import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.nodes.checks import check_specs
from seamless_assets.defs.partitions import partitions_definition
from seamless_assets.defs.shards import shards_of

def bare(settings):
    names, made = ProjectNames(), []
    for shard in shards_of(settings, names):
        keys = [names.asset_key(node) for node in shard.nodes]
        @dg.multi_asset(
            name=shard.name, can_subset=True, partitions_def=partitions_definition(shard.unit, shard.start),
            specs=[dg.AssetSpec(key, group_name="bare", skippable=True) for key in keys],
            check_specs=[spec for key in keys for spec in check_specs(key)],
        )
        def nothing(): ...
        made.append(nothing)
    jobs = [dg.define_asset_job(f"job_{one.op.name}", dg.AssetSelection.assets(one)) for one in made]
    return dg.Definitions(assets=made, jobs=jobs)

settings = load_settings("seamless.yaml")
begun = time.process_time()
build = bare if sys.argv[1] == "bare" else build_definitions
RepositorySnap.from_def(build(settings).get_repository_def())
print(time.process_time() - begun)
"""


def project(folder: Path, nodes: int, url: str) -> Path:
    """A folder with the seamless.yaml of so many nodes, and its `DAGSTER_HOME`."""
    made = folder / str(nodes)
    (made / "home").mkdir(parents=True)
    (made / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    symbols = json.dumps(["BTC/USDT", *(f"COIN{number}/USDT" for number in range(1, nodes))])
    (made / "seamless.yaml").write_text(
        "seamless:\n  artifact: {object_store_uri: ./artifacts}\n"
        "  hot_store: {dsn: sqlite:///./hot.sqlite}\n  state_dir: ./state\n"
        f"exchanges:\n  binance: {{base_url: '{url}', symbols: {symbols}, start: 2025-01-01}}\n"
    )
    return made


def load_seconds(folder: Path, kind: str) -> float:
    """CPU seconds that a code location takes, of our nodes or of bare assets."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, kind], cwd=folder, check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def run_seconds(folder: Path, partition: str) -> float:
    """CPU seconds of `dagster asset materialize` over one asset, imports and children included."""
    before = os.times()
    subprocess.run(
        [
            str(Path(sys.executable).with_name("dagster")),
            "asset",
            "materialize",
            "-m",
            "seamless_assets.definitions",
            "--select",
            "key:ohlcv/binance/BTC_USDT_1m",
            "--partition",
            partition,
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        env={
            "PATH": os.defpath,
            "HOME": str(folder),
            "DAGSTER_HOME": str(folder / "home"),
            "SEAMLESS_CONFIG": str(folder / "seamless.yaml"),
        },
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """Measure, print, and say whether the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1_000, 5_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    is_met = True
    with tempfile.TemporaryDirectory() as place, Sandbox().running() as exchange:
        folders = {nodes: project(Path(place), nodes, exchange.url) for nodes in {FEW, *options.nodes}}
        for nodes in options.nodes:
            taken: dict[str, list[float]] = {"bare": [], "ours": []}
            for _ in range(options.rounds):
                for kind, seconds in taken.items():
                    seconds.append(load_seconds(folders[nodes], kind))
            bare, ours = (statistics.median(taken[kind]) for kind in ("bare", "ours"))
            is_met = is_met and ours <= GOAL * bare
            print(f"load {nodes}: bare {bare:.2f} s, ours {ours:.2f} s, {ours / bare:.2f} x")
        runs = {
            nodes: statistics.median(
                run_seconds(folders[nodes], f"2025-01-{day + 1:02}") for day in range(options.rounds)
            )
            for nodes in (FEW, max(options.nodes))
        }
        few, many = runs[FEW], runs[max(options.nodes)]
        print(f"one asset of {FEW}: {few:.2f} s, of {max(options.nodes)}: {many:.2f} s, {many / few:.2f} x")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
