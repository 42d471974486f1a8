"""The machine, what is installed on it, and how busy it is."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.results import Machine

PACKAGES = (
    "vsbatch-core",
    "attrs",
    "sortedcontainers",
    "openai",
    "uvicorn",
    "simpy",
    "redis",
    "psycopg",
    "openai-responses",
    "ogx",
)


def machine() -> Machine:
    """Return what a reader has to know about the machine; not its name, and no path."""
    return Machine(
        cpu=cpu(),
        cores=cores(),
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={
            **{package: _version(package) for package in PACKAGES},
            "SQLite": sqlite3.sqlite_version,
            "redis-server": _redis(),
            "PostgreSQL": _postgres(),
        },
    )


def cpu() -> str:
    """Return the model of the processor, as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or "unknown processor"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float:
    """Return the load average over the last minute; -1 where the system keeps none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _redis() -> str:
    program = shutil.which("redis-server")
    if program is None:
        return ""
    returned = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    words = [word for word in returned.stdout.split() if word.startswith("v=")]
    return words[0].removeprefix("v=") if words else "unknown"


def _postgres() -> str:
    from tests.helpers.postgres import programs  # noqa: PLC0415 - pytest, which not all that measure need

    found: Path | None = programs()
    if found is None:
        return ""
    command = [str(found / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()[2]  # noqa: S603
