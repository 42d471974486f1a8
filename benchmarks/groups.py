"""The groups of works: each is a picture, and a name for ``--only``."""

from __future__ import annotations

GROUPED = {
    "pages": ("page",),
    "reads": ("walk", "retrieve", "json", "snapshot", "restore", "replay"),
    "http": ("dispatch", "client", "uvicorn"),
    "changes": ("complete", "create", "cancel", "delete-walk"),
    "simulator": ("simulate",),
}
"""By group, the first words of the names of its works.  Any other first word is a group of its own."""

_GROUPS = {word: name for name, words in GROUPED.items() for word in words}


def group(work: str) -> str:
    """Return the group of the work with this name."""
    word = work.partition(".")[0]
    return _GROUPS.get(word, word)
