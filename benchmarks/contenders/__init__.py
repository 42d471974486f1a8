"""Who is measured: the engine, what people would use instead, and the floor."""

from benchmarks.contenders.base import Contender, Missing
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.ogx_list import Ogx
from benchmarks.contenders.openai_mock import OpenAIResponses
from benchmarks.contenders.ours import Ours
from benchmarks.contenders.positional import Positional
from benchmarks.contenders.redis_server import Redis
from benchmarks.contenders.sorted_list import SortedOnEveryPage
from benchmarks.contenders.sqlite import Sqlite, SqliteBare

CONTENDERS: tuple[type[Contender], ...] = (
    Ours,
    Floor,
    Sqlite,
    SqliteBare,
    Positional,
    SortedOnEveryPage,
    Redis,
    OpenAIResponses,
    Ogx,
)
"""In the order in which they are printed."""

OTHERS = {
    "constant": "a constant body",
    "json-dumps": "json.dumps of fresh dicts",
    "undeleted": "ours, none deleted",
    "longest": "ours, the longest call",
    "collector": "the longest wait for the collector",
    "json-loads": "json.loads of snapshot format 2",
    "resident": "ours, resident set",
    "steps": "ours, step by step",
    "simpy-file": "SimPy, a process for each file",
    "simpy-worker": "SimPy, a process for each worker",
    "naive": "naive tables",
    "naive-many": "naive tables, many a transaction",
    "naive-once": "naive tables, a function",
    "fsync": "fsync",
    "json-columns": "json.loads of today's snapshot",
    "memory": "ours, in memory",
    "select": "SELECT of one row",
    "reader": "ours, a page",
    "median": "ours, the median command",
    "one-by-one": "ours, one by one",
    "queue": "SKIP LOCKED, no counts",
    "select-1": "SELECT 1",
}
"""Who takes part in single works."""

TITLES = {**{kind.key: kind.title for kind in CONTENDERS}, **OTHERS}

__all__ = ["CONTENDERS", "TITLES", "Contender", "Floor", "Missing", "OpenAIResponses", "Ours"]
