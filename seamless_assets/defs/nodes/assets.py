"""Nodes as partitioned assets: one step per exchange, timeframe and shard, one result per node.

Inside a step the nodes run side by side and fail on their own: a bad symbol never stops the others.
The blocking check belongs to the same step (write, audit, publish); a partition that fails it is not
materialized. An exchange that gives no answer is no verdict on bars: it fails the step, which is retried.
"""

# Dagster reads the annotations of assets at run time, so they are not postponed here.

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    Backoff,
    Failure,
    Jitter,
    MaterializeResult,
    Nothing,
    OpDefinition,
    Out,
    RetryPolicy,
    TableColumn,
    TableSchema,
    TimeWindowPartitionsDefinition,
    op,
)

from seamless_assets.config.load import NodeSettings, Settings
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.node import NodeId
from seamless_assets.defs.inputs.instructions import read_instructions
from seamless_assets.defs.names import NODE_ID_METADATA, POOL_PREFIX, NodesByKey, ProjectNames, node_tags
from seamless_assets.defs.nodes.checks import check_specs, run_checks
from seamless_assets.defs.nodes.results import NodeEvents, progress
from seamless_assets.defs.nodes.step import NodeOutcome, materialize_nodes
from seamless_assets.defs.partitions import partitions_definition, window_of_partitions
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.defs.shards import Shard, shards_of
from seamless_assets.errors import ExchangeUnavailable, InvalidInput
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.wiring.exchanges import LearnedMarket, learned_markets

SCHEMA = {
    "dagster/column_schema": TableSchema(
        [
            TableColumn("ts", "int64", "The bar's open, in epoch seconds UTC."),
            TableColumn("open", "float64", "The first price of the bar."),
            TableColumn("high", "float64", "The highest price of the bar."),
            TableColumn("low", "float64", "The lowest price of the bar."),
            TableColumn("close", "float64", "The last price of the bar."),
            TableColumn("volume", "float64", "What was traded in the bar; a manifest says in which unit."),
        ]
    )
}
RETRIES = RetryPolicy(max_retries=2, delay=5, backoff=Backoff.EXPONENTIAL, jitter=Jitter.FULL)


def build_assets(
    settings: Settings, names: ProjectNames | None = None, shards: Sequence[Shard] | None = None
) -> list[AssetsDefinition]:
    """All declared nodes as assets, or those of `shards`; asks no exchange.

    Raises `ConfigError` where two have one key.
    """
    called, by_key = names or ProjectNames(), NodesByKey(settings.nodes)
    chosen = list(shards_of(settings, called) if shards is None else shards)
    learned = learned_markets(settings, [node for shard in chosen for node in shard.nodes])
    unknown = LearnedMarket()
    steps: dict[str, OpDefinition] = {}
    made = []
    for shard in chosen:
        step = steps.get(shard.step) or steps.setdefault(shard.step, _step(called, by_key, shard))
        markets = [learned.get(node, unknown) for node in shard.nodes]
        made.append(_shard_asset(called, shard, step, settings.seamless.conformance.version, markets))
    return made


def _step(names: ProjectNames, by_key: NodesByKey, shard: Shard) -> OpDefinition:
    """The step of all shards of one width: its outputs are numbered, so that thousands of nodes share it."""
    places = range(len(shard.members))
    bars = {_output(place): Out(is_required=False, io_manager_key=names.io_manager) for place in places}
    checks = {
        name: Out(Nothing, is_required=False)
        for place, node in enumerate(shard.nodes)
        for name in _checks_by_output(names.asset_key(node), place)
    }

    @op(
        name=shard.step,
        out={**bars, **checks},
        retry_policy=RETRIES,
        pool=f"{POOL_PREFIX}{shard.exchange}",
        required_resource_keys={names.project},
    )
    def materialize_shard(
        context: AssetExecutionContext,
    ) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
        yield from materialize_selected(context, names, by_key.node)

    return materialize_shard


def _shard_asset(
    names: ProjectNames,
    shard: Shard,
    step: OpDefinition,
    conformance: str,
    markets: Sequence[LearnedMarket],
) -> AssetsDefinition:
    partitions, places = partitions_definition(shard.unit, shard.start), list(enumerate(shard.members))
    keys = {_output(place): names.asset_key(member.node) for place, member in places}
    return AssetsDefinition(
        node_def=step,
        keys_by_output_name=keys,
        specs=[
            _spec(names, member, conformance, partitions, market)
            for (_, member), market in zip(places, markets, strict=True)
        ],
        check_specs_by_output_name={
            name: spec
            for place, member in places
            for name, spec in _checks_by_output(names.asset_key(member.node), place).items()
        },
        can_subset=True,
        backfill_policy=BackfillPolicy.single_run(),
    )


def _output(place: int) -> str:
    return f"node_{place}"


def _checks_by_output(key: AssetKey, place: int) -> dict[str, AssetCheckSpec]:
    return {f"{_output(place)}_{spec.name}": spec for spec in check_specs(key)}


def materialize_selected(
    context: AssetExecutionContext, names: ProjectNames, node_of: Callable[[AssetKey], NodeId]
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Materialize what a run selected of a step, and judge what is selected of checks alone."""
    resource: SeamlessResource = getattr(context.resources, names.project)
    pipeline = resource.pipeline
    _refuse_unknown_tags(context)
    selected = context.selected_asset_keys
    alone = [check for check in context.selected_asset_check_keys if check.asset_key not in selected]
    yield from run_checks(pipeline, node_of, alone)
    if selected:
        yield from _materialize(context, pipeline, {node_of(key): key for key in sorted(selected)})


def _refuse_unknown_tags(context: AssetExecutionContext) -> None:
    """Tags under our prefix are for the inputs of a run; one that means nothing fails all of it."""
    try:
        read_instructions({}, context.run.tags)
    except InvalidInput as error:
        raise Failure(f"a tag of the run: {error}", allow_retries=False) from error


def _materialize(
    context: AssetExecutionContext, pipeline: Seamless, keys: Mapping[NodeId, AssetKey]
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Materialize nodes and tell of each; raises `ExchangeUnavailable` in the end where one had no answer."""
    window = window_of_partitions(context.partition_time_window)
    events = NodeEvents(context, pipeline, len(keys))
    unanswered: list[tuple[NodeId, ExchangeUnavailable]] = []
    for news in materialize_nodes(pipeline, list(keys), window, context.run.run_id):
        if not isinstance(news, NodeOutcome):
            context.log.info(progress(*news))
            continue
        yield from events.of_node(keys[news.node], news)
        if news.away:
            unanswered.append((news.node, news.away))
    if unanswered:
        first = unanswered[0][1]
        nodes = ", ".join(str(node) for node, _ in unanswered)
        raise ExchangeUnavailable(f"no answer for {nodes}: {first}", **first.facts) from first


def description_of(node: NodeId, market: LearnedMarket) -> str:
    """What a node is, and what was learned of its market by now."""
    volume = f" Volume counts {market.volume}." if market.volume else ""
    listed = f" Its first bar ever opens {seconds_text(market.listed)}." if market.listed is not None else ""
    return f"Candles of {node.symbol} on {node.exchange}, {node.timeframe} each.{volume}{listed}"


def _spec(
    names: ProjectNames,
    member: NodeSettings,
    conformance: str,
    partitions: TimeWindowPartitionsDefinition,
    market: LearnedMarket,
) -> AssetSpec:
    node, exchange = member.node, member.exchange
    return AssetSpec(
        names.asset_key(node),
        group_name=exchange.group or node.exchange,
        kinds={"ccxt", "parquet"},
        skippable=True,
        partitions_def=partitions,
        description=description_of(node, market),
        # What bars mean changes with the rules that they are conformed by, and with nothing else.
        code_version=conformance,
        owners=exchange.owners,
        metadata={NODE_ID_METADATA: str(node), **SCHEMA},
        tags={**exchange.tags, **node_tags(node)},
    ).with_io_manager_key(names.io_manager)
