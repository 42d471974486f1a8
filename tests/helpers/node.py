"""The official Node client, which drives a server by the scenarios of tests/cli/node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCENARIOS = Path(__file__).parent.parent / "cli" / "node" / "scenarios.cjs"
MODULES = "VSBATCH_NODE_MODULES"


def require_node() -> None:
    """Skip the test where the client is not installed."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not os.environ.get(MODULES):
        pytest.skip(f"{MODULES} does not say where 'npm install openai' was done")


def node_scenario(url: str, name: str, *given: object, key: str = "none-needed", **options: object) -> Any:
    """Run a scenario with options of the client; return what the client saw."""
    environment = {
        **os.environ,
        **{name: str(value) for name, value in options.items()},
        "NODE_PATH": os.environ[MODULES],
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": key,
    }
    command = ["node", str(SCENARIOS), name, *map(str, given)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)
