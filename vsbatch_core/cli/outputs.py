"""Files that a command writes besides what it prints: whether they can be written is found out first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from vsbatch_core.extras import pip_line
from vsbatch_core.scenarios.text import Refused, legible

PICTURES = (".png", ".pdf", ".svg")


def require_suffix(option: str, path: str, suffixes: tuple[str, ...]) -> None:
    """Raise ``Refused`` if the path has none of these suffixes."""
    if os.path.splitext(path)[1] not in suffixes:
        raise Refused(f"{option}: '{legible(path)}' does not end in {' or '.join(suffixes)}")


def require_picture(path: str) -> None:
    """Raise ``Refused`` if no picture can be drawn at the path of ``--plot``."""
    require_suffix("--plot", path, PICTURES)
    try:
        import matplotlib  # noqa: F401, ICN001, PLC0415 - an optional extra; it is only asked whether it is there
    except ImportError:
        raise Refused(f"--plot needs matplotlib: {pip_line('plot')}") from None
    require_writable(path)


def require_writable(path: str) -> None:
    """Raise ``Refused`` if the file cannot be written.  What is there stays, and nothing is left behind."""
    there = os.path.lexists(path)
    try:
        open(path, "ab").close()
        if not there:
            os.remove(path)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


def opened(path: str) -> TextIO:
    """Open the file to write text to it.  Raise ``Refused`` if that cannot be."""
    try:
        return open(path, "w", encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


def write(path: str, data: bytes) -> None:
    """Write the file.  Raise ``Refused`` if that cannot be."""
    try:
        Path(path).write_bytes(data)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


def unwritable(path: str, error: OSError | ValueError) -> Refused:
    """Return the refusal of a path that cannot be written; a null character in it is a ``ValueError``."""
    reason = error.strerror if isinstance(error, OSError) else error
    return Refused(f"cannot write '{legible(path)}': {reason}. Give a path that can be written")
