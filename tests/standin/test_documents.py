"""The examples of docs/stand-in.md, run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from vsbatch_core.cli import parser

from ..helpers.processes import RunningServer, finished, posix, started

pytestmark = pytest.mark.slow  # a server and test runs of their own

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "stand-in.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
