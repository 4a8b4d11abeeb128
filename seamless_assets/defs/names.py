"""What Dagster calls the parts of a project; projects of different names live side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dagster import AssetKey

from seamless_assets.config.load import NodeSettings
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ConfigError, InvalidInput

DEFAULT_NAME = "seamless"
POOL_PREFIX = "exchange_"
"""What the pool of an exchange begins with; the rest is its name."""
PUBLISHABLE, HELD, SETTLED, FRESH, STABLE = "publishable", "held", "settled", "fresh", "stable"
NODE_ID_METADATA = "seamless/node_id"
EXCHANGE_TAG, TIMEFRAME_TAG = NODE_TAGS = ("seamless/exchange", "seamless/timeframe")
"""Tags that the assets of nodes have."""
_WORD = re.compile(r"[A-Za-z0-9_]+")


def node_tags(node: NodeId) -> dict[str, str]:
    """What the asset of a node is tagged with."""
    return {EXCHANGE_TAG: node.exchange, TIMEFRAME_TAG: str(node.timeframe)}


@dataclass(frozen=True)
class ProjectNames:
    """The names of one project's definitions.

    `project` is the key of its resource, and what its jobs and steps begin with, unless it is the default.
    `key_prefix` stands before its asset keys. Raises `InvalidInput` for a name that Dagster does not take.
    """

    project: str = DEFAULT_NAME
    key_prefix: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in (self.project, *self.key_prefix):
            if not isinstance(part, str) or not _WORD.fullmatch(part):
                raise InvalidInput(
                    f"{part!r} cannot be a name in Dagster; use letters, digits and underscores", value=part
                )

    @property
    def io_manager(self) -> str:
        """The key of the IO manager that serves nodes as inputs."""
        return f"{self.project}_io_manager"

    def prefixed(self, word: str) -> str:
        """The name of a job, schedule or step that the default project calls `word`."""
        return word if self.project == DEFAULT_NAME else f"{self.project}_{word}"

    def asset_key(self, node: NodeId) -> AssetKey:
        """The key of a node: `ohlcv/binance/BTC_USDT_1m` behind the prefix."""
        return AssetKey([*self.key_prefix, *node.asset_key])


class NodesByKey:
    """The nodes of a project by their asset keys, whatever prefix stands before those.

    Raises `ConfigError` where two nodes have one key.
    """

    def __init__(self, members: Iterable[NodeSettings]) -> None:
        self._nodes: dict[tuple[str, ...], NodeId] = {}
        for member in members:
            other = self._nodes.setdefault(member.node.asset_key, member.node)
            if other is not member.node:
                key = "/".join(member.node.asset_key)
                raise ConfigError(
                    f"{member.node} and {other} have one asset key, {key}; remove one of them", problems=()
                )

    def is_declared(self, node: NodeId) -> bool:
        """Whether a node is one of them."""
        return self._nodes.get(node.asset_key) == node

    def find(self, key: AssetKey) -> NodeId | None:
        """The node of a key; None where it is none of them."""
        return self._nodes.get(tuple(key.path[-3:]))

    def node(self, key: AssetKey) -> NodeId:
        """The node of a key. Raises `InvalidInput`."""
        node = self.find(key)
        if node is None:
            raise InvalidInput(
                f"{key.to_user_string()} is no node of the settings; declare it in seamless.yaml, as the key "
                "of a node is ohlcv/<exchange>/<BTC_USDT_1m>",
                value=key.to_user_string(),
            )
        return node


def prefix_of(prefix: str | Sequence[str]) -> tuple[str, ...]:
    """A key prefix as Dagster takes it: one word, or several."""
    return (prefix,) if isinstance(prefix, str) else tuple(prefix)
