"""The IO manager: assets take released bars of a node as a plain input.

What an input holds follows its type: `pandas.DataFrame` (the default), `pyarrow.Table`,
`polars.DataFrame` or `ReadResult`. When and how it is read comes from the input's metadata, else from the
run's tags, both named `seamless/as_of`, `seamless/dataset_fingerprint`, `seamless/domain`,
`seamless/world_id`, `seamless/start` and `seamless/end`. The window is `start` to `end` where told, else
the partitions of the run, else all that is released.
"""

from typing import Any

import pyarrow as pa
from dagster import (
    InitResourceContext,
    InputContext,
    IOManager,
    IOManagerDefinition,
    OutputContext,
    io_manager,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.window import window_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.defs.names import DEFAULT_NAME, NodesByKey
from seamless_assets.defs.partitions import window_of_partitions
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.connect import Seamless

PREFIX = "seamless/"
_PARTITIONED = frozenset({PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG})
"""Tags of a run over partitions; other runs take all that is released."""


def seamless_io_manager(resource_key: str = DEFAULT_NAME) -> IOManagerDefinition:
    """The IO manager over the pipeline of a resource, which a run opens once for all that use it."""

    @io_manager(
        required_resource_keys={resource_key},
        description="Serves released bars of nodes to downstream assets.",
    )
    def serve(context: InitResourceContext) -> SeamlessIOManager:
        return SeamlessIOManager(getattr(context.resources, resource_key))

    return serve


class SeamlessIOManager(IOManager):
    """Serves released bars to downstream assets."""

    def __init__(self, resource: SeamlessResource) -> None:
        self._resource = resource
        self._by_key = NodesByKey(resource.settings.nodes)

    def load_input(self, context: InputContext) -> Any:
        """Released bars of the upstream node, in the form of the input's type."""
        pipeline = self._resource.pipeline
        node = self._by_key.node(context.asset_key)
        told = _instructions(context)
        reading = ComputeContext(
            world_id=str(told.get("world_id", "default")),
            domain=told.get("domain", "backtest"),
            as_of=told.get("as_of"),
            dataset_fingerprint=told.get("dataset_fingerprint"),
        )
        window = _window(pipeline, node, context, told)
        # Without an as_of a run takes the newest release; its metadata says which.
        is_bound = reading.as_of or reading.dataset_fingerprint or "domain" in told
        bound = reading if is_bound else None
        result = pipeline.read(node, *window, context=bound)
        read = result.metadata
        context.log.info(f"{node}: {read.rows} bars as of {read.as_of}, {read.dataset_fingerprint}")
        return _shaped(result, context)

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Nodes publish themselves; anything else belongs to another IO manager."""
        raise InvalidInput(
            f"{context.asset_key.to_user_string()} cannot be written by the seamless IO manager, which "
            "serves released bars as inputs; give this asset an io_manager_key of its own"
        )


def _instructions(context: InputContext) -> dict[str, Any]:
    """What metadata and tags say, by name without prefix; epoch seconds in words become numbers."""
    told = {**context.step_context.run_tags, **(context.definition_metadata or {})}
    plain = {name: getattr(value, "value", value) for name, value in told.items()}
    return {
        name.removeprefix(PREFIX): int(value) if isinstance(value, str) and value.isdecimal() else value
        for name, value in plain.items()
    }


def _window(pipeline: Seamless, node: NodeId, context: InputContext, told: dict[str, Any]) -> Segment:
    if "start" in told and "end" in told:
        return window_of(told["start"], told["end"])
    if told.keys() & _PARTITIONED and context.has_asset_partitions:
        return window_of_partitions(context.asset_partitions_time_window)
    return pipeline.released_window(
        node, told.get("as_of"), dataset_fingerprint=told.get("dataset_fingerprint")
    )


def _shaped(result: ReadResult, context: InputContext) -> Any:
    wanted = context.dagster_type.typing_type
    if wanted is ReadResult:
        return result
    if wanted is pa.Table:
        return result.to_arrow()
    if getattr(wanted, "__module__", "").partition(".")[0] == "polars":
        return result.to_polars()
    return result.to_pandas()
