"""Release by hand, rollback, withdrawal and unpinning as jobs of the UI, which ask for a reason."""

# Dagster reads the annotations of ops and config at run time, so they are not postponed here.

from collections.abc import Callable, Sequence

from dagster import AssetKey, Config, Failure, JobDefinition, OpExecutionContext, job, op
from pydantic import Field

from seamless_assets.core.calendar.partition import PartitionUnit
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import Release
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.defs.governing.events import events_of
from seamless_assets.defs.governing.report import report
from seamless_assets.defs.names import NodesByKey, ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import InvalidInput, SeamlessError
from seamless_assets.pipeline.connect import Seamless


class GoverningConfig(Config):
    """What each of the jobs asks for."""

    node: str = Field(description="The node's id, ohlcv:binance:BTC/USDT:1m, or its asset key.")
    reason: str = Field(description="Why; the release log keeps it.")


class ReleaseConfig(GoverningConfig):
    """What a release by hand asks for."""

    partition: str | None = Field(
        default=None, description="Only what waits inside it: 2025-01-31, 2025-01 or 2025."
    )
    fingerprint: str | None = Field(default=None, description="The artifact of this content.")
    force: bool = Field(default=False, description="Even what holds no bar at all.")


class RollbackConfig(GoverningConfig):
    """What a rollback asks for: one of `to` and `as_of`."""

    to: int | None = Field(default=None, description="The number of the release to go back to.")
    as_of: str | None = Field(default=None, description="Or an instant, 2025-01-31T12:00:00Z.")


class WithdrawConfig(GoverningConfig):
    """What a withdrawal asks for."""

    partition: str = Field(description="2025-01-31, 2025-01 or 2025.")


def build_governing(
    names: ProjectNames, by_key: NodesByKey, derived: Sequence[DerivedNode] = ()
) -> list[JobDefinition]:
    """The jobs `release_by_hand`, `rollback`, `withdraw` and `unpin`, over all nodes."""
    nodes = GovernedNodes(names, by_key, derived)

    def governed(
        context: OpExecutionContext,
        config: GoverningConfig,
        act: Callable[[Seamless, NodeId], Release],
    ) -> None:
        resource: SeamlessResource = getattr(context.resources, names.project)
        try:
            node = nodes.node(config.node)
            entry = act(resource.pipeline, node)
        except SeamlessError as error:
            # What a person asks for wrongly is not to be tried again.
            raise Failure(str(error), allow_retries=False) from error
        context.log.info(f"{node}: release {entry.seq}, {entry.as_of}, {entry.dataset_fingerprint}")
        try:
            events = list(events_of(resource.pipeline, nodes.key(node), node, entry, nodes.unit(node)))
        except SeamlessError as error:
            made = (
                f"release {entry.seq} of {node} is made and readers find it; its pages could not be written"
            )
            raise Failure(f"{made}: {error}", allow_retries=False) from error
        report(context.instance, events, log_event=context.log_event)

    resources = {names.project}

    @op(name=names.prefixed("release_by_hand_op"), required_resource_keys=resources)
    def release_op(context: OpExecutionContext, config: ReleaseConfig) -> None:
        governed(
            context,
            config,
            lambda pipeline, node: pipeline.release(
                node,
                reason=config.reason,
                partition=config.partition,
                fingerprint=config.fingerprint,
                force=config.force,
            ),
        )

    @op(name=names.prefixed("rollback_op"), required_resource_keys=resources)
    def rollback_op(context: OpExecutionContext, config: RollbackConfig) -> None:
        governed(
            context,
            config,
            lambda pipeline, node: pipeline.rollback(
                node, reason=config.reason, to=config.to, as_of=config.as_of
            ),
        )

    @op(name=names.prefixed("withdraw_op"), required_resource_keys=resources)
    def withdraw_op(context: OpExecutionContext, config: WithdrawConfig) -> None:
        governed(
            context,
            config,
            lambda pipeline, node: pipeline.withdraw(node, config.partition, reason=config.reason),
        )

    @op(name=names.prefixed("unpin_op"), required_resource_keys=resources)
    def unpin_op(context: OpExecutionContext, config: GoverningConfig) -> None:
        governed(context, config, lambda pipeline, node: pipeline.unpin(node, reason=config.reason))

    @job(
        name=names.prefixed("release_by_hand"),
        description="Release what waits for it of a node, whatever its checks said.",
    )
    def release_by_hand() -> None:
        release_op()

    @job(
        name=names.prefixed("rollback"),
        description="Put in force again what was so at an earlier release of a node, and pin it.",
    )
    def rollback() -> None:
        rollback_op()

    @job(
        name=names.prefixed("withdraw"),
        description="Take a partition of a node out of force until it is released by hand.",
    )
    def withdraw() -> None:
        withdraw_op()

    @job(
        name=names.prefixed("unpin"),
        description="Let releases change again what rollbacks and withdrawals of a node hold.",
    )
    def unpin() -> None:
        unpin_op()

    return [release_by_hand, rollback, withdraw, unpin]


class GovernedNodes:
    """The nodes that people govern, by their ids and by the keys of their assets."""

    def __init__(self, names: ProjectNames, by_key: NodesByKey, derived: Sequence[DerivedNode]) -> None:
        self._names, self._by_key = names, by_key
        self._derived = {one.node: one for one in derived}
        self._keys = {one.key: one.node for one in derived}

    def node(self, text: str) -> NodeId:
        """The node of an id or of a key. Raises `InvalidInput`."""
        if ":" not in text and "/" in text:
            key = AssetKey(text.split("/"))
            return self._keys.get(key) or self._by_key.node(key)
        node = NodeId.parse(text)
        if node in self._derived or self._by_key.is_declared(node):
            return node
        raise InvalidInput(f"{node} is no node of the settings; declare it in seamless.yaml", value=text)

    def key(self, node: NodeId) -> AssetKey:
        """The key of its asset."""
        derived = self._derived.get(node)
        return derived.key if derived else self._names.asset_key(node)

    def unit(self, node: NodeId) -> PartitionUnit | None:
        """The unit of a derived node's partitions; None where the settings say it."""
        derived = self._derived.get(node)
        return derived.unit if derived else None
