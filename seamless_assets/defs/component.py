"""The nodes of a seamless.yaml, or of all symbols that match, in a project of Dagster's components."""

# Dagster reads the annotations of components at run time, so they are not postponed here.

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from dagster import Component, ComponentLoadContext, Definitions, Model, Resolvable, StateBackedComponent
from dagster.components import (
    DefsStateConfig,
    DefsStateConfigArgs,
    ResolvedDefsStateConfig,
    Scaffolder,
    ScaffoldRequest,
    scaffold_with,
)
from dagster.components.component_scaffolding import scaffold_component
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType
from pydantic import BaseModel, Field, PrivateAttr

from seamless_assets.config.load import SMALLEST_YAML, load_settings
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import DEFAULT_NAME
from seamless_assets.errors import InvalidInput
from seamless_assets.pipeline.connect import connect

FILE = "seamless.yaml"
_LOCAL = DefsStateConfigArgs(
    management_type=DefsStateManagementType.LOCAL_FILESYSTEM,
    # Definitions ask no exchange; who wants the list anew says so.
    refresh_if_dev=False,
)


class SeamlessScaffolder(Scaffolder[BaseModel]):
    """Writes a defs.yaml, and a small seamless.yaml beside it where there is none."""

    def scaffold(self, request: ScaffoldRequest[BaseModel]) -> None:
        if request.scaffold_format != "yaml":
            raise InvalidInput("a SeamlessComponent is written as YAML; leave --format out")
        folder = request.target_path.parent if request.append else request.target_path
        scaffold_component(request, {"config": FILE})
        if not (folder / FILE).exists():
            (folder / FILE).write_text(SMALLEST_YAML, encoding="utf-8")


@scaffold_with(SeamlessScaffolder)
class SeamlessComponent(Component, Model, Resolvable):
    """The nodes of a seamless.yaml: assets, checks, jobs, schedules, sensors and resources.

    Raises `ConfigError` with every problem of the file, each with its line.
    """

    config: str = Field(
        default=FILE,
        description="The seamless.yaml; a relative path starts at the folder of this component.",
        examples=[FILE],
    )
    name: str = Field(
        default=DEFAULT_NAME,
        description="What its resources, jobs and steps are named by, beside another seamless project.",
        examples=["research"],
    )
    key_prefix: str | list[str] = Field(
        default_factory=list, description="What its asset keys begin with.", examples=["research"]
    )

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """The definitions of the file. Raises `ConfigError`, `InvalidInput`."""
        settings = load_settings(Path(context.path) / self.config)
        return build_definitions(settings, name=self.name, key_prefix=self.key_prefix)


class SeamlessMarketsComponent(StateBackedComponent, Model, Resolvable):
    """The nodes of a seamless.yaml, and of all symbols of one of its exchanges that match.

    Its state is the exchange's list of symbols, asked for by `dg utils refresh-defs-state` and by nothing
    else; the definitions are built of the file and that list. Timeframes and start are those of the exchange
    in the file. Before the first refresh there are the nodes of the file alone.
    """

    exchange: str = Field(description="An exchange of the seamless.yaml.", examples=["binance"])
    match: list[str] = Field(
        description="Patterns of symbols, of which one has to match.", examples=[["*/USDT", "BTC/*"]]
    )
    exclude: list[str] = Field(
        default_factory=list, description="Patterns of symbols to leave out.", examples=[["*UP/USDT"]]
    )
    max_symbols: int = Field(
        default=1_000, gt=0, description="More than so many that match are refused.", examples=[1_000]
    )
    config: str = Field(
        default=FILE,
        description="The seamless.yaml; a relative path starts at the folder of this component.",
        examples=[FILE],
    )
    name: str = Field(
        default=DEFAULT_NAME,
        description="What its resources, jobs and steps are named by, beside another seamless project.",
        examples=["research"],
    )
    key_prefix: str | list[str] = Field(
        default_factory=list, description="What its asset keys begin with.", examples=["research"]
    )
    defs_state: ResolvedDefsStateConfig = _LOCAL
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        """The component of a defs.yaml; its state is asked for with the file beside that."""
        loaded = super().load(attributes, context)
        loaded._folder = Path(context.path)
        return loaded

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Where the list of symbols is kept, and by which key."""
        key = f"{type(self).__name__}[{self.name}/{self.exchange}]"
        return DefsStateConfig.from_args(self.defs_state, default_key=key)

    def write_state_to_path(self, state_path: Path) -> None:
        """Ask the exchange which symbols it lists. Raises `ConfigError`, `ExchangeError`."""
        with connect(load_settings(self._folder / self.config)) as pipeline:
            source = pipeline.aio.ports.source
            symbols = pipeline.aio.portal.run(source.list_symbols(self.exchange))
        state_path.parent.mkdir(parents=True, exist_ok=True)
        state_path.write_text(json.dumps({"exchange": self.exchange, "symbols": symbols}), encoding="utf-8")

    def build_defs_from_state(self, context: ComponentLoadContext, state_path: Path | None) -> Definitions:
        """The definitions of the file, and of the symbols of the state that match.

        Raises `ConfigError`, and `InvalidInput` where the state is none, nothing matches, or too much does.
        """
        settings = load_settings(Path(context.path) / self.config)
        matching = [] if state_path is None else self._matching(state_path)
        widened = settings.with_symbols(self.exchange, matching)
        return build_definitions(widened, name=self.name, key_prefix=self.key_prefix)

    def _matching(self, state_path: Path) -> list[str]:
        found = [
            symbol
            for symbol in read_symbols(state_path, self.exchange)
            if any(fnmatchcase(symbol, pattern) for pattern in self.match)
            and not any(fnmatchcase(symbol, pattern) for pattern in self.exclude)
        ]
        patterns = ", ".join(self.match)
        if not found:
            raise InvalidInput(
                f"no symbol of {self.exchange} matches {patterns}; symbols are written like BTC/USDT, swaps "
                "like BTC/USDT:USDT",
                value=patterns,
            )
        if len(found) > self.max_symbols:
            raise InvalidInput(
                f"{len(found)} symbols of {self.exchange} match {patterns}, and max_symbols is "
                f"{self.max_symbols}; name less, or raise it",
                value=patterns,
            )
        return found


def read_symbols(path: Path, exchange: str) -> list[str]:
    """The symbols of a state. Raises `InvalidInput` where it is none, or that of another exchange."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        symbols = [NodeId(exchange, symbol, Timeframe("1m")).symbol for symbol in state["symbols"]]
        is_own = state["exchange"] == exchange
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} holds no list of symbols ({error}); run `dg utils refresh-defs-state`", value=str(path)
        ) from error
    if not is_own:
        raise InvalidInput(
            f"{path} holds the symbols of {state['exchange']}, not of {exchange}; run "
            "`dg utils refresh-defs-state`",
            value=str(path),
        )
    return symbols
