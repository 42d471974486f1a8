"""The pip line that installs an optional extra, for the messages of what needs one."""

from __future__ import annotations

import json
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "vsbatch-core"


def pip_line(extra: str) -> str:
    """Return the command that installs an extra beside the package as it was installed.

    No package index has the package yet, so the line names the folder that it was installed from.  Where that is
    not known, as with a wheel that was moved or a package that was never installed, the line is one to be run in
    the folder of the clone.
    """
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415 - slow, and seldom needed

    try:
        source = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        source = {}
    parts = urlsplit(source.get("url", ""))
    if parts.scheme != "file" or "dir_info" not in source:
        return f"pip install '.[{extra}]', in the folder of your clone of {_NAME}"
    editable = "--editable " if source["dir_info"].get("editable") else ""
    return f"pip install {editable}'{url2pathname(parts.path)}[{extra}]'"
