"""Every line of the bench with its peer and its goal; nothing else decides what is good enough.

Less is better throughout: "at least three times as fast" reads as a goal of a third. `Line` says what a goal
is held against.
"""

from __future__ import annotations

from bench.line import Line

FASTER_3X, RATE_067 = 1 / 3, 1 / 0.67
ARROW_3X, LINEAR, CONSTANT = 3.0, 1.1, 0.2
OF_RESULT, OF_INPUT = "Arrow size of the result", "Arrow size of the input"
FEWEST = "the fewest requests"
ITS_REQUESTS = "what the budget takes for its requests"

BARS = (
    Line("bars.conform-pandas", "conform a million clean bars, pandas", "pandera", 1.5),
    Line("bars.conform-arrow", "conform a million clean bars, Arrow", "pandera", 1.5),
    Line("bars.conform-dirty", "conform a million bars in ms, shuffled, repeated, gapped", "pandera", 4.0),
    Line("bars.conform-nan", "the same with NaN prices", "pandera", 4.0),
    Line("bars.fingerprint-pandas", "fingerprint a million bars, pandas", "SHA-256 of the columns", 1.3),
    Line("bars.fingerprint-arrow", "fingerprint a million bars, Arrow", "SHA-256 of the columns", 1.3),
)
ARTIFACTS = (
    Line("artifacts.publish", "publish a month of minutes", "pyarrow and SHA-256", 1.5),
    Line("artifacts.first-year", "read a year of days for the first time", "pyarrow, one file", 2.0),
    Line("artifacts.bare-year", "read, hash and decode its files, in two threads", "pyarrow, one file"),
    Line("artifacts.again-pandas", "read the year again, to pandas", "pyarrow, one file", 0.15),
    Line("artifacts.again-arrow", "read the year again, as Arrow", "pyarrow, one file", 0.15),
    Line("artifacts.compacted-year", "read it compacted to months", "pyarrow, one file"),
    Line("artifacts.log-opened", "resolve an as_of in a log of 10,000, newly opened", None, 10.0, "s"),
    Line("artifacts.as-of", "resolve an as_of in a log of 10,000", None, 5.0),
)
HOT = (
    Line("hot.sqlite-write", "SQLite: write a million bars", "bare sqlite3", 1.15),
    Line("hot.sqlite-read", "SQLite: read a million bars", "bare sqlite3", 1.15),
    Line("hot.sqlite-days", "SQLite: 20 single days out of ten years", "bare sqlite3", 1.15),
    Line("hot.sqlite-coverage", "SQLite: coverage of ten years", "bare sqlite3", 1.15),
    Line("hot.questdb-write", "QuestDB: write a million bars", "bare QuestDB client", 1.15),
    Line("hot.questdb-read", "QuestDB: read a million bars", "bare QuestDB client", 1.15),
    Line("hot.questdb-days", "QuestDB: 20 single days out of ten years", "bare QuestDB client", 1.15),
    Line("hot.questdb-coverage", "QuestDB: coverage of ten years", "bare QuestDB client", 1.15),
    Line("hot.arcticdb-write", "SQLite: write a million bars", "ArcticDB"),
    Line("hot.arcticdb-read", "SQLite: read a million bars", "ArcticDB"),
    Line("hot.arcticdb-days", "SQLite: 20 single days out of ten years", "ArcticDB"),
    Line("hot.arcticdb-coverage", "SQLite: coverage of ten years", "ArcticDB"),
)
READS = (
    Line("reads.day-arrow", "a warm day, to Arrow", "ArcticDB", 0.05),
    Line("reads.day-pandas", "a warm day, to pandas", "ArcticDB", 0.15),
    Line("reads.year-arrow", "a warm year, to Arrow", "ArcticDB", 0.05),
    Line("reads.year-pandas", "a warm year, to pandas", "ArcticDB", 0.3),
    Line("reads.held", "a read that is held", "a warm day of ours", 2.0),
    Line("reads.refused", "a read that is refused", "a warm day of ours", 2.0),
    Line("reads.crowd", "a read of 200 readers at once over 50 nodes", "ArcticDB", FASTER_3X),
    Line("reads.new-arrow", "first read of a new process, to Arrow (CPU)", "bare pyarrow", 1.3),
    Line("reads.new-pandas", "first read of a new process, to pandas (CPU)", "bare pyarrow"),
    Line("reads.new-duckdb", "a year of days, new process, to Arrow (CPU)", "DuckDB on its files"),
    Line("reads.new-polars", "a year of days, new process, to Arrow (CPU)", "polars on its files"),
    Line("reads.import", "import (CPU)", "import pandas", 1.25),
    Line("reads.late-exchange", "returns after its deadline, the exchange hangs", None),
    Line("reads.late-live", "returns after its deadline, the newest bars hang", None),
    Line("reads.late-leases", "returns after its deadline, the lease store hangs", None),
    Line("reads.late-redis", "returns after its deadline, Redis hangs with leases and budget", None),
    Line("reads.late-questdb", "returns after its deadline, QuestDB hangs", None),
)
PANEL = (
    Line("panel.close", "100 nodes x a month of minutes, close", "ArcticDB, joined by pandas", 0.5),
    Line("panel.listed", "the same of nodes that begin on different days", "ArcticDB, joined by pandas", 0.5),
    Line("panel.fields", "the same with five fields", "ArcticDB, joined by pandas", 0.5),
)
FETCHING = (
    Line("fetching.freqtrade", "download 120 days of minutes", "freqtrade", FASTER_3X, "s"),
    Line("fetching.freqtrade-unpaced", "download 120 days of minutes", "freqtrade, pacing off", None, "s"),
    Line("fetching.ccxt", "download 120 days of minutes", "bare ccxt loop", None, "s"),
    Line("fetching.requests-100-days", "requests of 100 days of minutes", FEWEST, 1.05, "requests"),
    Line("fetching.requests-300-days", "requests of 300 days of minutes", FEWEST, 1.05, "requests"),
    Line("fetching.budget", "800 days under a budget that binds", FEWEST, 1.05, "s"),
)
DAGSTER = (
    Line("dagster.load-1000", "load 1,000 nodes (CPU)", "bare Dagster", 1.3, "s"),
    Line("dagster.load-5000", "load 5,000 nodes (CPU)", "bare Dagster", 1.3, "s"),
    Line("dagster.webserver-5000", "webserver ready with 5,000 nodes (CPU)", "bare Dagster", 1.3, "s"),
    Line("dagster.one-of-5000", "materialize one asset of 5,000 (CPU)", "one of 10", 1.5, "s"),
    Line(
        "dagster.daemon-of-5000", "the same, launched in the UI, by the daemon (CPU)", "one of 10", 1.5, "s"
    ),
    Line("dagster.run", "a run of a day of 1m, by the daemon (CPU)", "bare asset", None, "s"),
    Line(
        "dagster.range-30x30",
        "30 nodes x 30 days of 1m, by the daemon (CPU)",
        "bare assets",
        None,
        "s",
    ),
    Line("dagster.celery-4", "a run, of 24 by 4 warm Celery workers", "default launcher", 0.2, "s"),
)
LIVE = (
    Line("live.polling-1", "a bar of 1 node, polled (CPU)", "bare polling loop"),
    Line("live.polling-100", "a bar of 100 nodes, polled (CPU)", "bare polling loop"),
    Line("live.polling-1000", "a bar of 1,000 nodes, polled (CPU)", "bare polling loop"),
    Line("live.polling-delay-1", "p99 of 1 node from close to event, polled", "bare polling loop", 3.0, "s"),
    Line("live.polling-delay-100", "the same of 100 nodes", "bare polling loop", 3.0, "s"),
    Line("live.polling-delay-1000", "the same of 1,000 nodes", "bare polling loop", 3.0, "s"),
    Line("live.stream-1", "a bar of 1 node, streamed (CPU)", "bare watch loop"),
    Line("live.stream-100", "a bar of 100 nodes, streamed (CPU)", "bare watch loop"),
    Line("live.stream-1000", "a bar of 1,000 nodes, streamed (CPU)", "bare watch loop"),
    Line("live.stream-delay-1", "p99 of 1 node from close to event, streamed", "bare watch loop", 3.0, "s"),
    Line("live.stream-delay-100", "the same of 100 nodes", "bare watch loop", 3.0, "s"),
    Line("live.stream-delay-1000", "the same of 1,000 nodes", "bare watch loop", 3.0, "s"),
    Line("live.polling-many", "requests of 50 subscribers of 20 nodes", "one subscriber", 1.05, "requests"),
    Line("live.stream-many", "the same, streamed", "one subscriber", 1.05, "requests"),
    Line("live.socket-1", "p99 of 1 node from its closing message to the reader", "bare ccxt.pro loop", 3.0),
    Line("live.socket-100", "p99 of 100 nodes that close at once", "bare ccxt.pro loop", 3.0),
    Line("live.socket-1000", "p99 of 1,000 nodes that close at once", "bare ccxt.pro loop", 3.0),
    Line("live.stored-1", "the same of 1 node, stored before it is told", "bare ccxt.pro loop"),
    Line("live.stored-100", "the same of 100 nodes, stored before they are told", "bare ccxt.pro loop"),
    Line("live.stored-1000", "the same of 1,000 nodes, stored before they are told", "bare ccxt.pro loop"),
)
MIRROR = (
    Line("mirror.short-log", "mirror a release to Iceberg, log of 10", "the release itself", 0.5),
    Line("mirror.long-log", "mirror a release to Iceberg, log of 5,000", "the release itself", 0.5),
)
SERVICE = (
    Line("service.day-as-of", "a day as of a release, a request", "bare FastAPI route", RATE_067),
    Line("service.day-newest", "the newest day, a request", "bare FastAPI route", RATE_067),
    Line("service.year", "a year in Arrow", "the bytes from a file", 2.0),
    Line("service.candles-page", "a bot's page of 1,000 candles of history", "a static JSON file", 2.0),
    Line("service.candles-newest", "the newest 1,000 candles, 8 bots at once", "a static JSON file", 2.0),
    Line("service.candles-newest-1", "the same, one bot", "a static JSON file", 2.0),
    Line("service.candles-memory", "growth of memory over 1,500 different pages", None, 16.0, "MiB"),
    Line("service.fleet", "a request of 200 clients, each reading 50 nodes", None),
)
WORKERS = (
    Line("workers.budget-100-days", "100 days, 1 process, a budget that binds", ITS_REQUESTS, 1.05, "s"),
    Line("workers.budget-300-days", "300 days, 1 process, a budget that binds", ITS_REQUESTS, 1.05, "s"),
    Line(
        "workers.budget-2",
        "100 days of each of 8 nodes, 2 processes, the same budget",
        ITS_REQUESTS,
        1.05,
        "s",
    ),
    Line(
        "workers.budget-4",
        "100 days of each of 8 nodes, 4 processes, the same budget",
        ITS_REQUESTS,
        1.05,
        "s",
    ),
    Line(
        "workers.budget-8",
        "100 days of each of 8 nodes, 8 processes, the same budget",
        ITS_REQUESTS,
        1.05,
        "s",
    ),
    Line("workers.requests-8", "100 days of each of 8 nodes, 8 processes", FEWEST, 1.05, "requests"),
    Line("workers.free-2", "400 days of 8 nodes, 2 processes, no budget", "1 process", None, "s"),
    Line("workers.free-4", "400 days of 8 nodes, 4 processes, no budget", "1 process", None, "s"),
    Line("workers.free-8", "400 days of 8 nodes, 8 processes, no budget", "1 process", None, "s"),
)
MEMORY = (
    Line("memory.hot-read", "SQLite: read ten years", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.hot-write", "SQLite: write ten years", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.questdb-read", "QuestDB: read ten years", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.questdb-write", "QuestDB: write ten years", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.read-arrow", "read ten released years, to Arrow", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.read-pandas", "read ten released years, to pandas", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.read-polars", "read ten released years, to polars", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.panel", "a panel of five nodes, two years", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.conform", "conform ten clean years", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.conform-dirty", "conform ten years, shuffled and gapped", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.fingerprint", "fingerprint ten years", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.export", "export ten years to CSV", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.ingest", "import two years of Parquet, and release them", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.verify", "prove every file of ten years", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.replay", "the events of two years", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.compact", "merge the days of ten years into months", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.materialize", "fetch a year, and release it", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.derive", "make hours of ten years of minutes", OF_INPUT, ARROW_3X, "MiB"),
    Line("memory.serve", "a server's answer of ten years, in Arrow", OF_RESULT, ARROW_3X, "MiB"),
    Line("memory.mirror", "mirror ten years to Iceberg", OF_INPUT, ARROW_3X, "MiB"),
)
GROWTH = (
    Line("growth.bars-conform", "conform 10,000 to a million bars", None, LINEAR, "exponent"),
    Line("growth.bars-conform-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.bars-fingerprint", "fingerprint 10,000 to a million bars", None, LINEAR, "exponent"),
    Line("growth.bars-write", "SQLite: write 10,000 to a million bars", None, LINEAR, "exponent"),
    Line("growth.bars-write-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.bars-read", "SQLite: read 10,000 to a million bars", None, LINEAR, "exponent"),
    Line("growth.bars-read-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.days-read", "read 36, 365, 3,650 released days", None, LINEAR, "exponent"),
    Line("growth.days-read-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.days-one-new", "one day of as many, store opened again", None, CONSTANT, "exponent"),
    Line("growth.days-one-new-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.days-one-warm", "one day of as many, warm", None, CONSTANT, "exponent"),
    Line("growth.days-one-hot", "one day of as many, from SQLite", None, CONSTANT, "exponent"),
    Line("growth.releases-opened", "open a log of 100 to 10,000 releases", None, LINEAR, "exponent"),
    Line("growth.releases-opened-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.releases-as-of", "an as_of among as many", None, CONSTANT, "exponent"),
    Line("growth.releases-as-of-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.gaps-coverage", "coverage of a year with 500 to 50,000 gaps", None, LINEAR, "exponent"),
    Line("growth.gaps-read", "read a year with as many gaps", None, LINEAR, "exponent"),
    Line("growth.nodes-panel", "a panel of 10, 100, 1,000 nodes", None, LINEAR, "exponent"),
    Line("growth.nodes-panel-memory", "the memory of it", None, LINEAR, "exponent"),
    Line("growth.nodes-one", "read one of 50, 500, 5,000 nodes", None, CONSTANT, "exponent"),
    Line("growth.nodes-dagster", "load 50, 500, 5,000 nodes in Dagster", None, LINEAR, "exponent"),
    Line("growth.partitions-materialize", "materialize 3, 30, 300 partitions", None, LINEAR, "exponent"),
    Line("growth.readers-day", "10, 100, 1,000 readers at once", None, LINEAR, "exponent"),
    Line("growth.workers-leases", "10, 100, 1,000 workers lease a chunk", None, LINEAR, "exponent"),
    Line("growth.followed-nodes", "follow 10, 100, 1,000 nodes by streams", None, LINEAR, "exponent"),
    Line("growth.followed-nodes-memory", "the memory of it", None, LINEAR, "exponent"),
)
LINES = (
    *BARS,
    *ARTIFACTS,
    *HOT,
    *READS,
    *PANEL,
    *FETCHING,
    *DAGSTER,
    *LIVE,
    *MIRROR,
    *SERVICE,
    *WORKERS,
    *MEMORY,
    *GROWTH,
)
