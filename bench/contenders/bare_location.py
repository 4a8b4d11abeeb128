"""What a webserver or a daemon loads beside ours: bare assets of the file that `BARE_ASSETS` names."""

import json
import os
from pathlib import Path

from bench.contenders.dagster import bare_definitions

defs = bare_definitions(json.loads(Path(os.environ["BARE_ASSETS"]).read_text()))
