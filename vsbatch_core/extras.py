"""The command that installs an optional extra, for the messages of what needs one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "vsbatch-core"


def pip_line(extra: str) -> str:
    """Return the command that installs an extra for this Python, beside the package as it was installed.

    No package index has the package yet, so the command names the folder that it was installed from.  Where that
    folder is not known, or is gone, the command is one to be run in the folder of a clone.
    """
    editable, folder = _installed_from()
    # Once an index has the package, this is [f"{_NAME}[{extra}]"], and nothing else is needed here.
    what = [*(["--editable"] if editable else []), f"{folder or '.'}[{extra}]"]
    line = shlex.join([sys.executable or "python", "-m", "pip", "install", *what])
    return line if folder else f"{line}, in the folder of a clone of {_NAME}"


def _installed_from() -> tuple[bool, str | None]:
    """Return whether the package is installed as editable, and from which folder, if that is still there."""
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415 - slow, and seldom needed

    try:
        recorded = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        recorded = {}
    url = urlsplit(recorded.get("url", ""))
    folder = url2pathname(url.path)
    if "dir_info" not in recorded or url.scheme != "file" or not Path(folder).is_dir():
        return False, None
    return bool(recorded["dir_info"].get("editable")), folder
