"""A project of one's own: the files that a folder needs, none of them written over another."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from seamless_assets.cli.project.dagster_home import INSTANCE, PLACES
from seamless_assets.errors import InvalidInput

TEMPLATE = "template"
IGNORED = ".gitignore"
IGNORE = """\
# What the pipeline and Dagster keep.
/data/

# Of Dagster's telemetry, empty where that is off, and of `dagster dev` without DAGSTER_HOME.
/logs/
/.logs_queue/
/.telemetry/
/.tmp_dagster_home_*/

# Secrets: seamless.yaml takes them from the environment, as ${NAME}.
.env
.env.*
!.env.example
*.pem
*.key

.venv/
__pycache__/
"""


def make_project(folder: Path) -> list[Path]:
    """Write the files of a project into `folder`; their paths. A .gitignore that is there stays as it is.

    Raises `InvalidInput` where one of them is there, or cannot be written.
    """
    parts = files("seamless_assets.cli.project") / TEMPLATE
    texts = {part.name: part.read_text(encoding="utf-8") for part in parts.iterdir() if part.is_file()}
    texts["dagster.yaml"] = PLACES + INSTANCE
    there = sorted(name for name in texts if (folder / name).exists())
    if there:
        raise InvalidInput(
            f"{folder} holds {', '.join(there)} already; name an empty folder, or move them away",
            value=str(folder),
        )
    if not (folder / IGNORED).exists():
        texts[IGNORED] = IGNORE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sorted(texts.items()):
            with (folder / name).open("x", encoding="utf-8") as file:
                file.writelines([text])
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written to: {error.strerror}", value=str(folder)) from error
    return [folder / name for name in sorted(texts)]
