"""`SeamlessComponent`: the nodes of a seamless.yaml in a project of Dagster's components."""

# Dagster reads the annotations of components at run time, so they are not postponed here.

from pathlib import Path

from dagster import Component, ComponentLoadContext, Definitions, Model, Resolvable
from dagster.components import Scaffolder, ScaffoldRequest, scaffold_with
from dagster.components.component_scaffolding import scaffold_component
from pydantic import BaseModel, Field

from seamless_assets.config.load import SMALLEST_YAML, load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import DEFAULT_NAME
from seamless_assets.errors import InvalidInput

FILE = "seamless.yaml"


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
