"""Progress on stderr: by rich where it is installed (the extra ``cli``), else a plain line, else nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Show = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and of how much, if that is known."""

_WIDTH = 30
_EVERY = 100
"""A bar is drawn anew at each hundredth of the way, or each hundredth item if the way is not known."""


@contextmanager
def progress(stream: TextIO) -> Iterator[Show]:
    """Show progress on the stream while the context lasts; nothing if it is no terminal."""
    if not stream.isatty():
        yield lambda _title, _done, _total: None
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, that may be missing
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn  # noqa: PLC0415
    except ImportError:
        yield from _plain(stream)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(file=stream)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(title: str, done: int, total: int | None) -> None:
            if _due(done, total):
                if title not in tasks:
                    tasks[title] = bars.add_task(title, total=total)
                bars.update(tasks[title], completed=done, total=total)

        yield show


def _plain(stream: TextIO) -> Iterator[Show]:
    shown = ""

    def show(title: str, done: int, total: int | None) -> None:
        nonlocal shown
        if _due(done, total):
            before, shown = shown, _line(title, done, total)
            stream.write(f"\r{shown.ljust(len(before))}")
            stream.flush()

    try:
        yield show
    finally:
        stream.write("\n" if shown else "")


def _due(done: int, total: int | None) -> bool:
    return done == total or done % (_EVERY if total is None else max(1, total // _EVERY)) == 0


def _line(title: str, done: int, total: int | None) -> str:
    if not total:
        return f"{title}: {done:,}"
    return f"{title}: [{'#' * (_WIDTH * done // total):-<{_WIDTH}}] {done:,}/{total:,}"
