"""CPU time of a request to ``vsbatch serve``, with uvloop and httptools and without them.

``python -m benchmarks.server_cpu`` runs both servers at once and measures them in turns, so that whatever else
the machine does affects both alike.  It needs Linux, which counts the CPU time of another process in nanoseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles

from benchmarks.fixtures import file_ids
from benchmarks.http import BURST, CONNECTIONS, HOST, Load, target

FAST = ("uvloop", "httptools")
FILES = 1_000
BURSTS = 5
"""Bursts of requests in a round of one server."""

SERVE = "from vsbatch_core.cli import main; sys.exit(main(['serve', '--port', '0']))"


@contextmanager
def serving(hidden: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Run ``vsbatch serve`` where these packages cannot be imported; yield its process id and its port."""
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden!r})); {SERVE}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        assert process.stdout is not None
        try:
            line = process.stdout.readline().decode()
            if not line:
                raise RuntimeError(f"vsbatch serve did not start: exit status {process.wait()}")
            yield process.pid, int(line.rsplit(":", 1)[1].split("/")[0])
        finally:
            process.terminate()


def load_on(port: int, what: str, loop: asyncio.AbstractEventLoop) -> Load:
    """Connect to the server, for a page or a batch of a store with ``FILES`` completed files."""
    import openai  # noqa: PLC0415 - an optional extra

    with openai.OpenAI(base_url=f"http://{HOST}:{port}/v1", api_key="none-needed", max_retries=0) as sdk:
        store = sdk.vector_stores.create()
        ids = file_ids(FILES)
        batch = sdk.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
        path = target(what, store.id, batch.id, ids[FILES // 2])
        body = sdk.get(path.removeprefix("/v1"), cast_to=str)
    return Load(loop, port, path, body.encode())


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the main thread of a process, which is the only one that serves."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the CPU time of a request to each server and their ratio; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server_cpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="rounds of each server (default 30)")
    parser.add_argument(
        "--what", default="page-20", help="batch, or page-N for a page of N files (default page-20)"
    )
    arguments = parser.parse_args(argv)
    absent = [name for name in FAST if find_spec(name) is None]
    if absent:
        print(f"{' and '.join(absent)} not installed: there is nothing to compare", file=sys.stderr)
        return 2
    servers: dict[str, Sequence[str]] = {"with": (), "without": FAST}
    spent: dict[str, list[float]] = {name: [] for name in servers}
    with ExitStack() as stack:
        loop = stack.enter_context(asyncio.Runner()).get_loop()
        loads = {}
        for name, hidden in servers.items():
            pid, port = stack.enter_context(serving(hidden))
            loads[name] = pid, load_on(port, arguments.what, loop)
            stack.callback(loads[name][1].close)
        for _ in range(arguments.rounds + 1):
            for name, (pid, load) in loads.items():
                before = cpu_seconds(pid)
                for _ in range(BURSTS):
                    load()
                spent[name].append((cpu_seconds(pid) - before) / (BURSTS * CONNECTIONS * BURST))
    # The first round of each is for warming up.
    measured = {name: [1e6 * value for value in values[1:]] for name, values in spent.items()}
    for name, values in measured.items():
        low, _, high = quantiles(values, n=4)
        print(f"{name:>8} {' and '.join(FAST)}: {median(values):.0f} µs a request ({low:.0f} to {high:.0f})")
    ratios = [fast / slow for fast, slow in zip(measured["with"], measured["without"], strict=True)]
    print(f"ratio: {median(ratios):.2f} (median of the rounds); in brackets: quartiles")
    return 0


if __name__ == "__main__":
    sys.exit(main())
