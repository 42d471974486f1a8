"""The files of a directory: how they are found, what they are called, and what is to become of each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from vsbatch_core.model import VectorStoreFile
from vsbatch_core.scenarios.text import well_formed
from vsbatch_core.simulation import Completed, Failed, Outcome

SUPPORTED = frozenset(
    (
        *(".c", ".cpp", ".cs", ".css", ".doc", ".docx", ".go", ".html", ".java", ".js", ".json"),
        *(".md", ".pdf", ".php", ".pptx", ".py", ".rb", ".sh", ".tex", ".ts", ".txt"),
    )
)
"""The suffixes that OpenAI's file search takes (documented), in lower case."""

MAX_BYTES = 512 * 2**20
"""The largest file that is taken: 512 MB (documented), read as 2**20 bytes each (choice)."""

TOO_LARGE = "The file could not be parsed because it is too large."
"""What the API says of a larger one (recorded)."""

OVERHEAD = 0.5
"""Seconds that a worker spends on any file, be it only to refuse it (choice: nobody has published it)."""

BYTES_PER_SECOND = 1_000_000
"""How fast a worker processes what it does not refuse (choice: nobody has published it)."""

HIDDEN_DIRECTORY = "hidden directory"
LINKED_DIRECTORY = "symbolic link to a directory"
SPECIAL_FILE = "special file"
"""Why something that can be read is left out; a special file is a pipe, a socket or a device."""

_PATH_CHARACTERS = 512


class Found(NamedTuple):
    """A file: its path below the directory, with ``/``, and its size in bytes."""

    path: str
    size: int

    @property
    def id(self) -> str:
        """The file's id: the same for the same path, different for different ones (96 bits of its SHA-256)."""
        return f"file-{sha256(self.path.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"

    @property
    def attributes(self) -> dict[str, str | int]:
        """What the attachment says of the file: its path, of which the end is kept if it is too long."""
        path = well_formed(self.path)
        if len(path) > _PATH_CHARACTERS:
            path = "…" + path[1 - _PATH_CHARACTERS :]
        return {"path": path, "bytes": self.size}


class Skipped(NamedTuple):
    """Something that was not ingested, and why; ``unreadable`` if the system refused to say what it is."""

    path: str
    reason: str
    unreadable: bool = False


def walk(root: str, *, hidden: bool = False) -> Iterator[Found | Skipped]:
    """All that is below ``root``: a directory's files first, then its directories, each sorted by bytes.

    Symbolic links to files count as files, those to directories are not followed.  Directories whose names
    begin with a dot are skipped unless ``hidden``.  Nothing is opened but directories.
    """
    folders = [("", root)]
    while folders:
        relative, folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield Skipped(relative or ".", _said(error), unreadable=True)
            continue
        inner = []
        for entry in ordered:
            path = relative + entry.name
            try:
                if not entry.is_dir():
                    yield _file(path, entry)
                elif entry.is_symlink():
                    yield Skipped(path, LINKED_DIRECTORY)
                elif entry.name.startswith(".") and not hidden:
                    yield Skipped(path + "/", HIDDEN_DIRECTORY)
                else:
                    inner.append((path + "/", entry.path))
            except OSError as error:
                yield Skipped(path, _said(error), unreadable=True)
        folders.extend(reversed(inner))


def _file(path: str, entry: os.DirEntry[str]) -> Found | Skipped:
    seen = entry.stat()
    if not stat.S_ISREG(seen.st_mode):
        return Skipped(path, SPECIAL_FILE)
    if not os.access(entry.path, os.R_OK):
        return Skipped(path, "Permission denied", unreadable=True)
    return Found(path, seen.st_size)


def _said(error: OSError) -> str:
    return error.strerror or type(error).__name__


def ingested(file: VectorStoreFile) -> Outcome:
    """The same for a file that was attached with the attributes of a ``Found``, or with any others."""
    path, size = file.attributes.get("path", file.id), file.attributes.get("bytes", 0)
    return outcome(Found(str(path), int(size) if isinstance(size, (int, float)) else 0))


def outcome(file: Found) -> Outcome:
    """What becomes of the file: its suffix is looked at first, then its size (choice)."""
    if os.path.splitext(file.path)[1].lower() not in SUPPORTED:
        return Failed("unsupported_file", after=OVERHEAD)
    if not file.size:
        return Failed("invalid_file", after=OVERHEAD)
    if file.size > MAX_BYTES:
        return Failed("invalid_file", after=OVERHEAD, message=TOO_LARGE)
    return Completed(after=OVERHEAD + file.size / BYTES_PER_SECOND, usage_bytes=file.size)
