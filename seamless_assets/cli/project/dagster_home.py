"""Where Dagster keeps what it knows of a project."""

from __future__ import annotations

from pathlib import Path

from seamless_assets.config.load import Settings, environment_of

PLACES = """\
# Everything Dagster keeps lies below data/dagster; start its commands from this folder.
storage:
  sqlite:
    base_dir: data/dagster

local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: data/dagster

compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir: data/dagster/logs

"""
"""Where a dagster.yaml in a project's folder keeps records; without it they lie beside the file."""
INSTANCE = """\
# One pool per exchange; a run holds its place for as long as it lasts.
concurrency:
  pools:
    granularity: run
    default_limit: 4

# A step asks again by its own policy; a run is retried only when its worker died.
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false

# A run whose process ended with the machine counts as started until this ends it, and holds its place.
# It ends every run that takes longer; one that may has the tag `dagster/max_runtime_seconds`.
run_monitoring:
  enabled: true
  max_runtime_seconds: 86400

# What the pipeline logs stands in the log of the run that it happened in.
python_logs:
  managed_python_loggers: [seamless_assets]
  python_log_level: INFO

telemetry:
  enabled: false

# No invitation to subscribe in front of the assets.
nux:
  enabled: false
"""
"""How Dagster runs a project that says nothing of it."""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The environment of Dagster's programs: they find the settings, and `DAGSTER_HOME` where none is set.

    That is the project's folder where it has a dagster.yaml, else data/dagster below it, with one of ours.
    """
    environment = environment_of(settings)
    if not environment.get("DAGSTER_HOME"):
        environment["DAGSTER_HOME"] = str(_home(settings))
    return environment


def known_home(settings: Settings) -> Path | None:
    """The `DAGSTER_HOME` of a project, where there is an instance; None where Dagster never ran."""
    home = environment_of(settings).get("DAGSTER_HOME")
    if home:
        return Path(home)
    folders = (settings.base, settings.base / "data" / "dagster")
    return next((folder for folder in folders if (folder / "dagster.yaml").exists()), None)


def _home(settings: Settings) -> Path:
    if (settings.base / "dagster.yaml").exists():
        return settings.base
    home = settings.base / "data" / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    instance = home / "dagster.yaml"
    if not instance.exists():
        instance.write_text(INSTANCE, encoding="utf-8")
    return home
