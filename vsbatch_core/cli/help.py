"""What argparse prints: help at most 80 columns wide, and narrower where the terminal is; errors in one line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, NoReturn

from vsbatch_core.scenarios.text import Refused, legible

WIDTH = 80

_BLOCKS = re.compile(r"\n\s*\n")
_ENTRY = re.compile(r"  \S.*?\s{2,}(?=\S)")
"""What stands before the text of an entry of a list: two spaces, a term, and two or more spaces."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wrap paragraphs, and the entries of lists, to the width of the terminal.

    In a text that is given to ``argparse`` a blank line ends a paragraph.  A line that begins with two spaces is
    an entry of a list, or a command; lines that are indented further belong to the entry before them.
    """

    def __init__(self, prog: str, **options: Any) -> None:
        # argparse leaves two columns free, so that the last is not wrapped by a terminal.
        super().__init__(prog, **{"width": min(WIDTH, get_terminal_size().columns) - 2, **options})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = _BLOCKS.split(text.strip("\n"))
        return "\n\n".join("\n".join(_filled(block, max(width, 20), indent)) for block in blocks)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated options, and raises ``Refused`` where the arguments are wrong."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise ``Refused`` with what is wrong, and where the arguments are described."""
        raise Refused(f"{legible(message)}. See '{self.prog} --help'")


def _filled(block: str, width: int, indent: str) -> Iterator[str]:
    for line in _joined(block):
        if not line.startswith("  "):
            yield from wrap(line, width, initial_indent=indent, subsequent_indent=indent)
            continue
        entry = _ENTRY.match(line)
        hanging = " " * (len(entry[0]) if entry is not None else 6)
        if entry is None:
            yield from wrap(line, width, subsequent_indent=hanging)
        else:
            # The gap between a term and its text must survive the wrapping.
            first, *more = wrap(line[len(entry[0]) :], max(width - len(hanging), 20))
            yield entry[0] + first
            yield from (hanging + part for part in more)


def _joined(block: str) -> Iterator[str]:
    """The paragraphs and the entries of a block, each as one line."""
    held: list[str] = []
    for line in block.splitlines():
        continued = bool(held) and (
            line.startswith("   ") or not (line.startswith("  ") or held[0].startswith("  "))
        )
        if held and not continued:
            yield " ".join(held)
            held = []
        held.append(line.strip() if continued else line.rstrip())
    yield " ".join(held)
