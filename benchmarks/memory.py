"""Peak resident set for each attachment: ``python -m benchmarks.memory N``, in a process of its own."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from benchmarks.worlds import BATCH, file_ids
from vsbatch_core import Engine


def peak() -> int:
    """The peak resident set of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux goes on from the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(n: int) -> float:
    """Attach ``n`` files in one store, complete each; bytes for each, its id and all indexes included."""
    engine = Engine()
    store_id = engine.vector_stores.create(name="memory").id
    before = peak()
    for first in range(0, n, BATCH):
        ids = file_ids(min(BATCH, n - first), f"file-{first:07x}-"[:13])
        engine.vector_stores.file_batches.create(store_id, file_ids=ids)
        for i, file_id in enumerate(ids):
            engine.ingest.complete(store_id, file_id, usage_bytes=1000 + first + i)
    return (peak() - before) / n


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
