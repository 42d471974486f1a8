"""The files of a directory, as batches to be attached: what ``vsbatch ingest`` does, and a scenario can."""

from __future__ import annotations

import os
import stat

from vsbatch_core.cli import report
from vsbatch_core.cli.progress import Show
from vsbatch_core.scenarios.files import Found, Skipped, walk
from vsbatch_core.scenarios.text import Refused, legible


def find(path: str, *, hidden: bool, show: Show) -> tuple[list[Found], list[Skipped]]:
    """The files below ``path``, and what was left out.  Raise ``Refused`` if there is no file."""
    name = f"'{legible(path)}'"
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, ValueError):  # ValueError: a null character, which no path has
        raise Refused(f"there is no {name}: give a directory") from None
    except OSError as error:
        raise Refused(f"cannot look at {name}: {error.strerror}. Give a directory that can be read") from None
    if not stat.S_ISDIR(mode):
        raise Refused(f"{name} is not a directory: give the directory that holds the files")
    found: list[Found] = []
    skipped: list[Skipped] = []
    for item in walk(path, hidden=hidden):
        if isinstance(item, Found):
            found.append(item)
            show("finding files", len(found), None)
        else:
            skipped.append(item)
    if not found and skipped and skipped[0].path == ".":
        raise Refused(f"cannot read {name}: {skipped[0].reason}. Give a directory that can be read")
    if not found:
        raise Refused(f"{name} holds no file{report.left_out(skipped)}; give a directory that does")
    return found, skipped
