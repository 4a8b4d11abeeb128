"""Build the documentation's site: the pages of docs/, with the references that are made of the code.

    .venv/bin/python ops/site/build.py            # into build/site/html, strictly: a warning is an error
    .venv/bin/python ops/site/build.py --serve    # and serve it at http://127.0.0.1:8000
    .venv/bin/python ops/site/build.py --into DIR

It needs the extra `docs`, and no network. Search works where the site is served, by this or any other server:
browsers let no page that was opened as a file read the index.
"""

from __future__ import annotations

import argparse
import http.server
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands_page
import metrics_page
import notebooks
import pictures
import python_pages
import settings_page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FROM_THE_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md")
PORT = 8000
EXAMPLE = re.compile(r"^\[`[^`]+`\]\((?P<file>examples/\S+)\)$", re.MULTILINE)
LANGUAGES = {".py": "python", ".yaml": "yaml"}


def main() -> int:
    """Build, and serve where that is asked for; the exit status is the builder's."""
    parser = argparse.ArgumentParser(description="Build the documentation's site.")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "site", help="the folder to build in")
    parser.add_argument("--serve", action="store_true", help=f"serve it at http://127.0.0.1:{PORT}")
    arguments = parser.parse_args()
    status = build(arguments.into)
    if status == 0 and arguments.serve:
        serve(arguments.into / "html")
    return status


def build(folder: Path) -> int:
    """Lay all pages into `folder`/pages and build `folder`/html of them."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_pages(folder / "pages")
    shutil.copytree(HERE / "theme", folder / "theme")
    config = (HERE / "mkdocs.yml").read_text(encoding="utf-8")
    config += unlisted(folder / "pages", config)
    (folder / "mkdocs.yml").write_text(config.replace("$ROOT", str(ROOT)), encoding="utf-8")
    program = Path(sys.executable).with_name("zensical")
    return subprocess.run([program, "build", "--strict"], cwd=folder, check=False).returncode


def unlisted(pages: Path, config: str) -> str:
    """The navigation of pages that the configuration does not name: they stand at its end."""
    every = (str(page.relative_to(pages)) for page in sorted(pages.rglob("*.md")))
    left = [name for name in every if f": {name}\n" not in config]
    return "".join(["  - More:\n", *(f"    - {name}\n" for name in left)]) if left else ""


def lay_pages(pages: Path) -> None:
    """What is written by hand, and beside it what follows from the code."""
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FROM_THE_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8")
        (pages / name.lower()).write_text(text.replace("](docs/", "]("), encoding="utf-8")
    for page in pages.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(
            re.sub(r"\]\(\.\./([A-Z]+\.md)", lambda name: f"]({name[1].lower()}", text), encoding="utf-8"
        )
    examples = pages / "examples.md"
    examples.write_text(
        EXAMPLE.sub(partial(with_code, pages), examples.read_text(encoding="utf-8")), encoding="utf-8"
    )
    reference = {
        "settings.md": settings_page.page(),
        "commands.md": commands_page.page(),
        "metrics.md": metrics_page.page(),
        **python_pages.pages(),
    }
    (pages / "reference").mkdir(exist_ok=True)
    for name, text in reference.items():
        (pages / "reference" / name).write_text(text, encoding="utf-8")
    (pages / "images" / "hero.svg").write_text(pictures.hero(), encoding="utf-8")
    for source in (pages / "examples").glob("*.py"):
        notebook = notebooks.notebook(source.read_text(encoding="utf-8"))
        if notebook:
            source.with_suffix(".ipynb").write_text(notebook, encoding="utf-8")


def with_code(pages: Path, link: re.Match[str]) -> str:
    """A link to a file that stands by itself, and what the file holds."""
    code = (pages / link["file"]).read_text(encoding="utf-8")
    return f"{link[0]}\n```{LANGUAGES[Path(link['file']).suffix]}\n{code}```"


def serve(folder: Path) -> None:
    """Serve a built site on this machine until Ctrl-C."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler) as server:
        print(f"http://127.0.0.1:{PORT}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    sys.exit(main())
